"""TensorRT engines as a person reads them: one row for each recipe and GPU target, and what none of them showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.records import Verdict
from report.text import DASH, number
from trt.records import Compilation, Engine


@dataclass(frozen=True)
class EngineRow:
    """One engine, or the reason why there is none."""

    recipe: str
    target: str
    capability: str
    verdict: Verdict
    status: str
    measured: str  # of an engine that was compiled: whether its recipe was measured here
    built_by: str
    plan_mib: str
    matmuls: str
    attention: str
    memory: str
    why: str | None
    not_int8: list[str]


VERDICTS: dict[str, Verdict] = {"compiled": "pass", "refused": "fail", "not_compiled_here": "inconclusive"}


def rows(compilations: Sequence[Compilation], measured: Sequence[str]) -> list[EngineRow]:
    """Every engine of every recipe, in the order of params; `measured` names the recipes that evaluate measured."""
    return [_row(made.variant, engine, made.variant in measured) for made in compilations for engine in made.engines]


def profiles(compilations: Sequence[Compilation]) -> list[str]:
    """What the engines were built for, each once."""
    built = [
        f"{'; '.join(made.profiles)}; workspace {number(made.workspace_mib)} MiB."
        for made in compilations
        if made.engines
    ]
    return list(dict.fromkeys(built))


def _row(recipe: str, engine: Engine, measured: bool) -> EngineRow:
    layers, memory = engine.layers, engine.memory
    missed = bool(layers and layers.not_int8)
    return EngineRow(
        recipe=recipe,
        target=engine.target,
        capability=engine.compute_capability,
        verdict="fail" if missed else VERDICTS[engine.status],
        status=engine.status.replace("_", " "),
        measured="" if engine.status != "compiled" else "measured" if measured else "not measured here",
        built_by=f"{engine.library} {engine.library_version}" if engine.library else DASH,
        plan_mib=number(engine.plan_mib, 1),
        matmuls=", ".join(f"{count} {kind}" for kind, count in layers.matmuls.items()) if layers else DASH,
        attention=f"{layers.attention_fused} of {layers.attention}" if layers else DASH,
        memory=f"{number(memory.total_mib)} of {number(memory.target_mib)}",
        why=engine.why,
        not_int8=layers.not_int8 if layers else [],
    )


def notes(compilations: Sequence[Compilation], measured: Sequence[str]) -> list[str]:
    """Sentences for "what was not measured": engines of recipes that are not in `measured` were never executed."""
    found = []
    for made in compilations:
        targets = [engine.target for engine in made.engines if engine.status == "compiled"]
        if targets and made.variant not in measured:
            found.append(
                f"Engines of {made.variant} for {', '.join(targets)}: compiled and inspected, not measured here; "
                "their contract test runs on a supported card by `make test-gpu`."
            )
        found += [f"Engines of {made.variant}: {made.failed}."] if made.failed else []
        missing = [engine for engine in made.engines if engine.status != "compiled"]
        found += [f"Engine of {made.variant} for {one.target}: {one.why}." for one in missing]
    return found

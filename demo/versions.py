"""What a demo rolls out: today's champion, a version that is good, and one that turns bad once it is live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core import paths
from core.errors import DataError
from models import manifest
from registry import runs, store
from rehearsal import local_target
from rollout.aliases import APPROVED, CHAMPION
from rollout.targets import Version
from runtimes import echo, faulty
from selection.records import Decision

FIRST = "fp32"  # the original, as champion until today
PASSED = {"validation_status": "passed"}


@dataclass(frozen=True)
class Entry:
    """One version of the demo's registry."""

    version: Version
    name: str
    what: str  # in a few words, for the screen and the registry
    evidence: Mapping[str, str]  # tags
    fault: Path | None = None  # it misbehaves from the moment that this file exists


def shipped(folder: Path, model_name: str) -> list[Entry]:
    """From what `make repro` left: the original, the variant that it chose, and that one with a fault.

    Raises DataError when there is nothing yet.
    """
    if not paths.DECISION.exists() or not paths.VARIANTS.is_dir():
        raise DataError("no variants yet: run `make repro` first (or `make demo ARGS=--echo`, which needs no model)")
    decision = Decision.read(paths.DECISION)
    if decision.variant is None:
        raise DataError("`make repro` found no variant that passes, so there is nothing to roll out")
    was = _other(decision.variant)
    fault, spoilt = folder / "fault", folder / "versions" / f"{decision.variant}-spoilt"
    how = echo.Behaviour(garbage_share=1, after_file=str(fault))
    faulty.write(spoilt, paths.VARIANTS / decision.variant, paths.MODEL, spoilt.name, how)
    evidence = runs.verdict_tags([gate for gate in decision.gates if gate.variant == decision.variant])
    made = [
        (was, paths.VARIANTS / was, "today's champion", PASSED, None),
        (decision.variant, paths.VARIANTS / decision.variant, "what `make repro` chose", evidence, None),
        (spoilt.name, spoilt, "made to answer wrongly once it is live", evidence, fault),
    ]
    return [
        Entry(Version(model_name, number, manifest.digest(path), path.resolve()), own, what, tags, fault)
        for number, (own, path, what, tags, fault) in enumerate(made, 1)
    ]


def _other(chosen: str) -> str:
    """Another variant of the same runtime, `FIRST` before others; the chosen one if there is none."""
    runtime = manifest.read(paths.VARIANTS / chosen).runtime
    names = sorted(path.parent.name for path in paths.VARIANTS.glob(f"*/{manifest.NAME}"))
    known = [name for name in names if manifest.read(paths.VARIANTS / name).runtime == runtime and name != chosen]
    return min(known, key=lambda name: name != FIRST, default=chosen)


def echoes(folder: Path) -> list[Entry]:
    """Three versions without a model, that answer with the question."""
    fault = folder / "fault"
    how: list[dict[str, Any]] = [{}, {}, {"empty_share": 0.5, "after_file": str(fault)}]
    made = [local_target.version(folder / "versions", number, step_ms=3, **one) for number, one in enumerate(how, 1)]
    whats = ("today's champion", "a new version", "made to answer with nothing, half the time, once it is live")
    return [
        Entry(version, f"echo-{version.model_version}", what, PASSED, fault if version is made[-1] else None)
        for version, what in zip(made, whats, strict=True)
    ]


def register(entries: Sequence[Entry]) -> None:
    """Make them versions 1, 2, 3 of an empty registry, the first one champion and the second one candidate."""
    client = store.connect()
    experiment = store.experiment(client)
    name = entries[0].version.model_name
    with store.faults():
        client.create_registered_model(name)
        for entry in entries:
            run = client.create_run(experiment, run_name=entry.name)
            client.log_artifacts(run.info.run_id, str(entry.version.folder), "variant")
            client.set_terminated(run.info.run_id)
            tags = {"variant": entry.name, "manifest_sha256": entry.version.digest, **entry.evidence}
            client.create_model_version(
                name, run.info.artifact_uri, run_id=run.info.run_id, tags=tags, description=entry.what
            )
        client.set_registered_model_alias(name, CHAMPION, "1")
        client.set_registered_model_alias(name, store.CANDIDATE, "2")


def approve(entry: Entry) -> None:
    """What the click in MLflow's UI does."""
    with store.faults():
        store.connect().set_registered_model_alias(
            entry.version.model_name, APPROVED, str(entry.version.model_version)
        )

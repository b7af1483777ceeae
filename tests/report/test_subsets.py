"""Any subset of the shipped recipes, each measured, failed, away or broken: select and report say so of every one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import params, paths
from models import manifest
from selection.params import SelectSettings
from selection.records import Decision
from stages import confirm, report, select
from tests.report import fixtures, project

SHIPPED: dict[str, Any] = yaml.safe_load((project.ROOT / params.PARAMS_FILE).read_text())["recipes"]
SEEDS = (0, 1, 2, 6)  # of 6: the recipe that sizes are compared with has failed
FATES = ("measured", "measured", "failed in quantize", "failed in evaluate", "failed in benchmark", "not here")
WHY = {
    "failed in quantize": "quantize failed: ExportError: wrong",
    "failed in evaluate": "evaluate failed: RuntimeFault: it broke",
    "failed in benchmark": "benchmark failed: OutOfMemory: no room",
    "not here": "no such GPU",
}


def leave(name: str, fate: str, model: Path) -> None:
    """What the stages before select leave of recipe `name`."""
    shape, recipe = random.Random(name).choice(list(fixtures.SHAPES)), SHIPPED[name]
    folder, digest = paths.VARIANTS / name, manifest.NO_VERSION
    if fate == "failed in quantize":
        failed = manifest.Failure(
            variant=name, quantizer=recipe["quantizer"], error="ExportError", message="ExportError: wrong"
        )
        failed.save(folder / manifest.FAILED)
    else:
        folder.mkdir(parents=True)
        made = params.load(SelectSettings).recipe(name)
        manifest.write(folder, variant=name, recipe=made, model_folder=model, facts={})
        digest = manifest.digest(folder)
    about = {"variant": name, "manifest_sha256": digest, "runtime": recipe["runtime"]}
    status = "not_measured_here" if fate == "not here" else "failed"
    away: dict[str, Any] = {"status": status, "why_not_measured": WHY.get(fate)}
    evaluation = fixtures.evaluation(shape).model_copy(update=about | {"verdict": "pass", "alpha": 0.02})
    if fate not in ("measured", "failed in benchmark"):
        verdict = "inconclusive" if fate == "not here" else "fail"
        nothing: dict[str, Any] = {"delta_points": None, "looks": [], "metrics": [], "by_task": [], "items": 0}
        nothing |= {"accuracy_variant": None, "accuracy_reference": None, "flip_examples": [], "reason": WHY[fate]}
        evaluation = evaluation.model_copy(update=away | nothing | {"verdict": verdict})
    benchmark = fixtures.benchmark(shape).model_copy(update=about)
    if fate not in ("measured", "failed in evaluate"):
        nothing = {"workloads": [], "load_ms": None, "peak_rss_mib": None, "baseline_peak_rss_mib": None}
        nothing |= {"artifact_mib": 0.0} if fate == "failed in quantize" else {}
        benchmark = benchmark.model_copy(update=away | nothing)
    evaluation.save(paths.EVALUATION / f"{name}.json")
    benchmark.save(paths.BENCHMARK / f"{name}.json")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_subset_of_recipes_is_selected_from_and_reported(
    seed: int, tmp_path: Path, tiny_qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    luck = random.Random(seed)
    chosen = luck.sample(list(SHIPPED), luck.randint(1, len(SHIPPED)))
    fates = {name: luck.choice(FATES) for name in chosen}
    raw = yaml.safe_load((project.ROOT / params.PARAMS_FILE).read_text())
    raw["recipes"] = {name: SHIPPED[name] for name in chosen}
    raw["select"] |= {"compare_with": luck.choice([None, *chosen]), "objective": luck.choice(["throughput", "size"])}
    raw["select"]["max_size_ratio"] = luck.choice([None, 99.0]) if raw["select"]["compare_with"] else None
    raw["evaluate"] |= {"many_recipes": "share_alpha", "alpha": 0.02 * len(chosen), "alpha_shares": len(chosen)}
    params.PARAMS_FILE.write_text(yaml.safe_dump(raw, sort_keys=False))
    for name, fate in fates.items():
        leave(name, fate, tiny_qwen2)
    monkeypatch.setattr("sys.argv", ["confirm"])
    confirm.main()
    select.main()
    report.main()

    decision = Decision.read(paths.DECISION)
    summary, html = ((paths.REPORTS / file).read_text() for file in ("summary.md", "index.html"))
    columns = next(line for line in summary.splitlines() if line.startswith("| |")).replace("*", "").split(" | ")
    columns = [cell.strip(" |") for cell in columns]
    passed = {name for name, _ in decision.ranking}
    assert passed <= {name for name, fate in fates.items() if fate == "measured"}
    assert (decision.variant is None) == (not passed)
    reference = raw["select"]["compare_with"]
    if raw["select"]["max_size_ratio"] is None or fates[reference] != "failed in quantize":
        assert passed == {name for name, fate in fates.items() if fate == "measured"}
    for name, fate in fates.items():
        own = {gate.gate: gate for gate in decision.gates if gate.variant == name}
        if fate.startswith("failed"):
            gate = {"quantize": "integrity", "evaluate": "drift", "benchmark": "benchmark"}[fate.split()[-1]]
            assert (own[gate].verdict, own[gate].why) == ("fail", WHY[fate])
            assert f"Failed: {name} – {WHY[fate]}" in summary
            assert f"<strong>{name}</strong>: {WHY[fate]}." in html
            assert f"not measured here: {WHY[fate]}" not in html
        assert (name in columns) == (fate not in ("failed in quantize", "not here"))
        assert (len(own) == 1) == (fate == "failed in quantize")

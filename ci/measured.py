"""A recipe's stages on the runner that it needs, and their way from there to the report.

    python -m ci.measured measure fp8     evaluate@fp8 and benchmark@fp8, and what they need
    python -m ci.measured confirm         the winner on fresh items, where ASSAY_RUNNER is its recipe's runner
    python -m ci.measured collect         what the jobs of all recipes measured, into dvc.lock

To DVC "not measured here", which a machine without the right GPU writes, is a result like any other: it comes back
from dvc.lock and the run-cache, also to a machine that could measure. So `measure` looks at the records: what was not
measured comes from an earlier pipeline's job of this recipe, or is measured now. It leaves its entries of dvc.lock in
artifacts/locks/, from which `collect` takes exactly what this recipe's own runner measured. When dvc.lock from the
job `report` is committed, everybody has it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from core import cli, params, paths
from core.errors import AssayError, ConfigError
from core.files import write_text
from core.progress import say

LOCK = Path("dvc.lock")
LOCKS = paths.ARTIFACTS / "locks"
EARLIER = paths.CACHE / "locks"  # from earlier pipelines, through GitLab's cache
RECORDS = {"evaluate": paths.EVALUATION, "benchmark": paths.BENCHMARK}  # stage → folder of its records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("measure").add_argument("recipe")
    verbs.add_parser("confirm")
    verbs.add_parser("collect")
    given = parser.parse_args()
    if given.verb == "measure":
        measure(given.recipe)
    elif given.verb == "confirm":
        confirm(os.environ.get("ASSAY_RUNNER", ""))
    else:
        collect()


def measure(recipe: str) -> None:
    """Reproduce, measure what another machine could not, share it, and keep its entries of dvc.lock."""
    _run("ci/repro-shared", f"compile@{recipe}", *(f"{stage}@{recipe}" for stage in RECORDS))
    if missing := _unmeasured(recipe):
        _restore(EARLIER / f"{recipe}.yaml", missing)
    if missing := _unmeasured(recipe):
        say(f"no machine has measured {', '.join(missing)} yet: measuring here")
        _run("dvc", "repro", "--force", "--single-item", *missing)
        _run("dvc", "push", "--run-cache", *missing)
    entries = {name: entry for name, entry in _stages(LOCK).items() if name.endswith(f"@{recipe}")}
    for folder in (LOCKS, EARLIER):
        write_text(folder / f"{recipe}.yaml", yaml.safe_dump({"stages": entries}, sort_keys=False))


def confirm(runner: str) -> None:
    """Reproduce `confirm` where this `runner` is the winner's, and keep its entry of dvc.lock."""
    from ci.params import CiSettings
    from evaluation.params import EvaluateParams
    from selection import evidence, ranking
    from selection.params import SelectSettings

    class Settings(CiSettings, SelectSettings):
        evaluate: EvaluateParams

    settings = params.load(Settings)
    _run("dvc", "pull", "--allow-missing", *(f"{stage}@{name}" for stage in RECORDS for name in settings.recipes))
    _run("dvc", "pull", "--allow-missing", *(f"quantize@{name}" for name in settings.recipes))
    winner = ranking.to_confirm(evidence.gather(settings), settings.select, settings.evaluate)
    theirs = settings.runner(winner.variant or next(iter(settings.recipes)))
    if runner != theirs:
        say(f"confirm: {winner.variant or 'nothing to confirm'}: left to runner '{theirs}', this one is '{runner}'")
        return
    _run("ci/repro-shared", "confirm")
    if winner.variant and json.loads(paths.CONFIRMATION.read_text())["evaluation"]["status"] != "measured":
        _run("dvc", "repro", "--force", "--single-item", "confirm")
        _run("dvc", "push", "--run-cache", "confirm")
    entry = {"confirm": _stages(LOCK)["confirm"]}
    write_text(LOCKS / "confirm.yaml", yaml.safe_dump({"stages": entry}, sort_keys=False))


def collect() -> None:
    """Merge every recipe's entries into dvc.lock. Raises ConfigError when no job left any."""
    found = sorted(LOCKS.glob("*.yaml"))
    if not found:
        raise ConfigError(f"{LOCKS} is empty: the jobs `recipe` leave their results' entries there as artifacts")
    _merge_into_lock({name: entry for file in found for name, entry in _stages(file).items()})


def _unmeasured(recipe: str) -> list[str]:
    """The stages of a recipe whose record says that this machine could not measure, or that measuring failed."""
    records = {f"{stage}@{recipe}": folder / f"{recipe}.json" for stage, folder in RECORDS.items()}
    return [name for name, file in records.items() if json.loads(file.read_text())["status"] != "measured"]


def _restore(earlier: Path, names: list[str]) -> None:
    """Those entries of `earlier` with the same code, data and params as in dvc.lock, and their results."""
    now, then = _stages(LOCK), _stages(earlier)
    same = {name: then[name] for name in names if name in then and _inputs(then[name]) == _inputs(now[name])}
    if same:
        _merge_into_lock(same)
        _run("dvc", "pull", "--force", "--allow-missing", *same)


def _inputs(entry: dict[str, Any]) -> dict[str, Any]:
    """What decides an entry's result: all but the result."""
    return {key: value for key, value in entry.items() if key != "outs"}


def _merge_into_lock(entries: dict[str, Any]) -> None:
    write_text(LOCK, yaml.safe_dump({"schema": "2.0", "stages": _stages(LOCK) | entries}, sort_keys=False))


def _stages(lock: Path) -> dict[str, Any]:
    """The entries by stage; empty before there is a file."""
    found: dict[str, Any] = yaml.safe_load(lock.read_text())["stages"] if lock.exists() else {}
    return found


def _run(*command: str) -> None:
    code = subprocess.run(command, check=False).returncode
    if code:
        raise AssayError(f"`{' '.join(command)}` ended with {code}: see above")


if __name__ == "__main__":
    cli.run(main)

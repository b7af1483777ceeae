"""Register the chosen variant in MLflow with its evidence, and point alias `candidate` at it.

    python -m stages.register

Logs one run for each variant; the same manifest always is the same version, whose tags then name the latest evidence.
Exits with code 3 when `select` found no variant that passes. Reads the decision and all it rests on; writes
artifacts/registration.json.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.records import Benchmark
from core import cli, params, paths
from core.errors import DataError, IntegrityError, NoVariantPassed, RegistryError
from core.progress import say
from evaluation.records import Evaluation
from models import manifest
from registry import provenance, runs, store
from registry.records import Registration
from registry.runs import Settings
from selection.ranking import stopped_by
from selection.records import Decision

REPORT = (paths.REPORTS / "index.html", paths.REPORTS / "summary.md")


def main() -> None:
    settings, decision = params.load(Settings), Decision.read(paths.DECISION)
    if decision.variant is None:
        raise NoVariantPassed(_nothing_passed(settings, decision))
    folder = paths.VARIANTS / decision.variant
    manifest.verify(folder)
    digest = manifest.digest(folder)
    if digest != decision.manifest_sha256:
        raise IntegrityError(
            f"{folder} is manifest {digest[:12]}, but the decision is about {str(decision.manifest_sha256)[:12]}: "
            "run `dvc repro` to decide anew"
        )
    missing = [str(path) for path in REPORT if not path.exists()]
    if missing:
        raise DataError(f"{', '.join(missing)} not found: run `python -m stages.report` first")

    client = store.connect()
    run_id, tags = _log_runs(client, settings, decision)[decision.variant]
    with store.faults():
        for path in REPORT:
            client.log_artifact(run_id, str(path), "report")
    config = {"threads": settings.machine.threads, "max_tokens": settings.generation.max_tokens}
    name = settings.model.name
    version = store.register(client, name, folder, run_id, tags, config, decision.sentence)
    Registration(
        model_name=name,
        model_version=version.number,
        variant=decision.variant,
        manifest_sha256=digest,
        run_id=version.run_id,
        alias=store.CANDIDATE,
        created=version.created,
    ).save(paths.REGISTRATION)
    verb = "registered" if version.created else "already registered"
    say(f"register: {decision.variant} is {verb}, models:/{name}@{store.CANDIDATE} is version {version.number}")


def _log_runs(client: Any, settings: Settings, decision: Decision) -> dict[str, tuple[str, dict[str, str]]]:
    """Log every variant's run, and bring the tags of versions that exist up to date: variant → run id, tags.

    A version that passed once and fails now must not go on saying that it passed.
    """
    experiment_id = store.experiment(client)
    found = provenance.read()
    origin = {
        "git_commit": found.git_commit or "none",
        "git_dirty": "unknown" if found.git_dirty is None else str(found.git_dirty).lower(),
        "dvc_lock_sha256": found.dvc_lock_sha256 or "none",
    }
    logged = {}
    for name in settings.recipes:
        evaluation = Evaluation.read_if_exists(paths.EVALUATION / f"{name}.json")
        benchmark = Benchmark.read_if_exists(paths.BENCHMARK / f"{name}.json")
        gates = [gate for gate in decision.gates if gate.variant == name]
        own = {**origin, **runs.verdict_tags(gates), "variant": name, "runtime": settings.recipe(name).runtime}
        try:
            digest = manifest.digest(paths.VARIANTS / name)
        except IntegrityError:  # the integrity gate has stopped this variant, and its run says so
            digest = manifest.NO_VERSION
        run_tags = {**own, **runs.failure_tag(evaluation, benchmark), "manifest_sha256": digest}
        run_id = runs.log(client, experiment_id, settings, name, evaluation, benchmark, run_tags)
        logged[name] = (run_id, {**own, "evidence_run_id": run_id})
        store.refresh(client, settings.model.name, digest, logged[name][1])
    return logged


def _nothing_passed(settings: Settings, decision: Decision) -> str:
    """Log to MLflow which variants were stopped, without registering any; returns the message that says so."""
    message = f"nothing is registered, no variant passed every gate. {stopped_by(decision.gates)}"
    try:
        _log_runs(store.connect(), settings, decision)
    except RegistryError as error:
        return f"{message} (and the verdicts did not reach the registry: {error})"
    return message


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)

"""The main job: `python -m pipelines.repro` runs every stage that changed, and ends with one line of JSON on stdout.

    {"decision": "Serve ...", "variant": "...", "model_version": 1, "manifest_sha256": "...",
     "report": "reports/index.html", "wall_s": 412.0}

Progress goes to stderr. A recipe that fails is listed as failed and the others go on; with --strict it ends the run
before anything is selected. The exit code is that of the stage that failed; 3 means that no variant passed every
gate, and then the line is printed too, with null for variant, version and manifest.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.records import Benchmark
from core import cli, paths
from core.errors import AssayError, NoVariantPassed
from core.progress import say
from evaluation.records import Evaluation
from models import manifest
from models.params import Recipes
from pipelines import params, workspace
from registry.records import Registration
from selection.records import Decision
from trt.records import Compilation

GRACE_S = 10.0  # for a stage to remove what it has half written
OF_ONE_RECIPE = ("quantize", "compile", "evaluate", "benchmark")  # stages
OF_THE_MACHINE = ("MemoryError", "OutOfMemory", "ResourceError", "RuntimeFault")  # may be over when it runs again
SIGNALLED = 128  # a shell's exit code for death by signal n is 128 + n


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--force", action="store_true", help="run every stage, changed or not")
    parser.add_argument("--strict", action="store_true", help="a recipe that fails ends the run")
    parser.add_argument("--params", type=Path, metavar="params.NAME.yaml", help="run it in workspaces/NAME")
    asked = parser.parse_args()
    folder = workspace.enter(asked.params) if asked.params else Path()
    settings = params.load()  # a mistake in params.yaml is better told before any work
    start = time.monotonic()
    channel = _divert_stdout()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # stages say `python`
    repo = _repository()
    signal.signal(signal.SIGTERM, _end_with_children)
    if asked.strict:
        os.environ[cli.STRICT] = "1"
    code = 0 if asked.force else _try_again(repo, settings)
    if code == 0 and asked.strict:
        code = _only_sound(repo, settings, force=asked.force)
    if code == 0:
        code = reproduce(repo, force=asked.force and not asked.strict)
    if code == 0 and not _is_registered():
        say("the registry no longer has the version that was registered: registering it again")
        code = reproduce(repo, targets="register", single_item=True, force=True)
    if code in (0, NoVariantPassed.exit_code):
        line = json.dumps(_result(folder, registered=code == 0, wall_s=round(time.monotonic() - start, 1)))
        os.write(channel, f"{line}\n".encode())
    return code


def reproduce(repo: Any, **options: Any) -> int:
    """`dvc repro` in this process, so that stages keep the terminal; returns the failing stage's exit code, or 0."""
    from dvc.exceptions import DvcException

    try:
        repo.reproduce(**options)
    except DvcException as error:
        code = exit_code(error)
        cause = f"{error.__cause__}" if error.__cause__ else f"{error}"
        print(f"error: {error.args[0] if error.args else error}: {cause}", file=sys.stderr)
        return code
    return 0


def _failed(settings: Recipes) -> dict[str, str]:
    """The stages that recorded a failure, and why: `quantize failed: ExportError: ...`."""
    found: dict[str, str] = {}
    for name in settings.recipes:
        if failure := manifest.failure(paths.VARIANTS / name):
            found[f"quantize@{name}"] = failure.reason
            continue  # the later stages' records repeat it
        records = {
            "evaluate": Evaluation.read_if_exists(paths.EVALUATION / f"{name}.json"),
            "benchmark": Benchmark.read_if_exists(paths.BENCHMARK / f"{name}.json"),
        }
        for stage, record in records.items():
            if record and record.status == "failed":
                found[f"{stage}@{name}"] = str(record.why_not_measured)
        compiled = Compilation.read_if_exists(paths.ENGINES / name / "compile.json")
        if compiled and compiled.failed:
            found[f"compile@{name}"] = compiled.failed
    return found


def _try_again(repo: Any, settings: Recipes) -> int:
    """Run stages again that the machine may have stopped: to DVC a recorded failure is a result like any other."""
    for stage, why in _failed(settings).items():
        if why.split(": ")[1] not in OF_THE_MACHINE:  # the error's kind, by core.errors.one_line
            continue
        say(f"trying {stage} again: {why}")
        code = reproduce(repo, targets=stage)  # what it needs may have changed, and it with that
        if code == 0 and stage in _failed(settings):
            code = reproduce(repo, targets=stage, single_item=True, force=True)
        if code:
            return code
    return 0


def _only_sound(repo: Any, settings: Recipes, *, force: bool) -> int:
    """Run every recipe's own stages; 1 where one has failed, now or in an earlier run that was not strict."""
    code = reproduce(repo, targets=list(OF_ONE_RECIPE), force=force)
    if code == 0 and (failed := _failed(settings)):
        stage, why = next(iter(failed.items()))
        print(f"error: {stage}: {why}", file=sys.stderr)
        return 1
    return code


def exit_code(error: BaseException) -> int:
    """The status that DVC says a command exited with, looked for down the chain of causes; 1 where it says none."""
    link: BaseException | None = error
    while link is not None:
        if found := re.search(r"exited with (-?\d+)$", str(link)):
            status = int(found[1])
            return SIGNALLED - status if status < 0 else status
        link = link.__cause__
    return 1


def _end_with_children(number: int, _frame: object) -> NoReturn:
    """SIGTERM to the running stage and all that it started, SIGKILL to what is left after `GRACE_S`."""
    import psutil

    running = psutil.Process().children(recursive=True)
    for kill in (False, True):
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill() if kill else process.terminate()
        _, running = psutil.wait_procs(running, timeout=GRACE_S)
    sys.exit(SIGNALLED + number)


def _divert_stdout() -> int:
    """Send what stages and DVC print to stderr; returns the descriptor of the real stdout, for the result alone."""
    sys.stdout.flush()
    channel = os.dup(1)
    os.dup2(2, 1)
    return channel


def _repository() -> Any:
    """The DVC repository in this folder; made if there is none yet."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        return Repo() if Path(".dvc").is_dir() else Repo.init(no_scm=not Path(".git").exists())
    except DvcException as error:
        raise AssayError(f"DVC cannot open this project: {error}") from error


def _is_registered() -> bool:
    """Whether the store still has the version: DVC remembers having registered it even when mlflow.db is gone."""
    from registry import store

    done = Registration.read(paths.REGISTRATION)
    found = store.find(store.connect(), done.model_name, done.manifest_sha256)
    return found is not None and int(found.version) == done.model_version


def _result(folder: Path, registered: bool, wall_s: float) -> dict[str, Any]:
    decision = Decision.read(paths.DECISION)
    return {
        "decision": decision.sentence,
        "variant": decision.variant,
        "model_version": Registration.read(paths.REGISTRATION).model_version if registered else None,
        "manifest_sha256": decision.manifest_sha256,
        "report": str(folder / paths.REPORTS / "index.html"),
        "wall_s": wall_s,
    }


if __name__ == "__main__":
    cli.run(main)

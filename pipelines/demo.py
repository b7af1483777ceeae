"""Watch an approval become live traffic, and a bad version go back by itself: `python -m pipelines.demo`.

    --headless --auto     nobody is needed; the last line of stdout is one JSON object
    --echo                versions without a model: works before `make repro`

Starts MLflow, Envoy, today's champion and steady users on free ports, all in a scratch folder. You set alias
`approved` in MLflow's UI (or --auto does), and the version is rolled out. Then a version is approved that was made to
misbehave once it is live. Ctrl-C ends everything at any moment.

Exit code 0: nothing was lost, the good version is live, the bad one was rolled back, and the record's chain holds.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from core import cli, params
from core.errors import ConfigError
from core.progress import say
from demo import gitlab_stand_in, sandbox, startup, versions
from demo.scenario import Scenario, holds
from demo.view import View, line, ui
from demo.watch import Watch
from rehearsal.processes import ends_with_owner
from rehearsal.traffic import LoadProfile, Traffic
from rollout import questions
from rollout.params import RolloutSettings
from rollout.record import RolloutRecord
from rollout.targets import local

USERS = {False: 8.0, True: 40.0}  # requests a second: of a real model, of echoes
QUESTIONS = 200
AFTER_ECHO = "`make repro`, then `make demo`: the same on the model that ships"
AFTER = "reports/index.html shows what was measured before the approval, docs/rollout.md how a rollout decides"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headless", action="store_true", help="no live view: lines on stderr, JSON on stdout")
    parser.add_argument("--auto", action="store_true", help="set the alias without a click")
    parser.add_argument("--echo", action="store_true", help="versions without a model")
    parser.add_argument("--folder", type=Path, help="keep everything there (default: a temporary folder)")
    given = parser.parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        with _folder(given.folder) as folder:
            return _run(folder, given)
    except KeyboardInterrupt:
        say("stopped: everything that the demo started has ended")
        return 130


def _run(folder: Path, given: argparse.Namespace) -> int:
    entries = (
        versions.echoes(folder) if given.echo else versions.shipped(folder, params.load(RolloutSettings).model.name)
    )
    where = sandbox.make(folder)
    sandbox.environment(where)
    with ends_with_owner(where.tags):
        began_s = time.monotonic()
        startup.start(where, entries)
        target, record = local.connect(where.settings), RolloutRecord(where.settings.rollout.record)
        profile = LoadProfile(
            target.gateway.url,
            USERS[given.echo],
            check=False,
            questions=() if given.echo else tuple(one.question for one in questions.items(where.settings, QUESTIONS)),
            max_tokens=where.settings.generation.max_tokens,
        )
        watch = Watch(target, record, Traffic(profile).start(), entries)
        with gitlab_stand_in.running(where) as runner, _shown(View(where, watch, runner), given.headless) as show:
            watch.start()
            scenario = Scenario(entries, watch, runner, show, ui(where), given.auto)
            scenario.run()
            watch.traffic.stop()
            watch.stop()
            found = scenario.figures() | {"wall_s": round(time.monotonic() - began_s, 1)}
            if not given.headless and not given.auto:
                show(f"{_sentence(found)}. MLflow stays up until Ctrl-C")
                _wait()
    after = AFTER_ECHO if given.echo else AFTER
    print(json.dumps(found) if given.headless else f"{_sentence(found)}\nNext: {after}", flush=True)
    return 0 if holds(found, entries[1], entries[2]) else 1


@contextmanager
def _shown(view: View, headless: bool) -> Iterator[Any]:
    """The live view, or lines; yields how to say what comes next."""
    if headless or not sys.stdout.isatty():
        view.watch.on_transition = lambda event: say(line(event, view.watch.entries).plain)
        yield say
        return
    from rich.live import Live

    def show(text: str) -> None:
        view.say = text

    with Live(view, refresh_per_second=4, screen=False):
        yield show


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        if any(given.iterdir()):
            raise ConfigError(f"--folder {given} is not empty: a demo begins with an empty one")
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="assay-demo-") as name:
        yield Path(name).resolve()


def _sentence(found: dict[str, Any]) -> str:
    ends = ", ".join(f"version {one['version']} {one['state']}" for one in found["rollouts"])
    times = [
        f"first answer of version {one['version']}: {one['approval_to_first_answer_s']} s after its approval, "
        f"{one['analysis_aside_s']} s without the analysis"
        for one in found["rollouts"][:1]
        if "analysis_aside_s" in one
    ]
    chain = "whole" if found["chain_ok"] else "NOT whole"
    requests = f"{found['requests']:,} requests, {found['lost']} lost"
    return "; ".join([ends, requests, *times, f"the record's chain is {chain}"])


def _wait() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    cli.run(main)

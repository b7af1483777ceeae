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
from demo import approval, pipeline, place, registry_server, versions
from demo.place import Place
from demo.story import Story, holds
from demo.versions import Entry
from demo.view import View, line, ui
from demo.watch import Watch
from rehearsal import caretaker
from rehearsal.traffic import Plan, Traffic
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
    where = place.make(folder)
    place.environment(where)
    with caretaker.of(where.tags):
        began_s = time.monotonic()
        _start(where, entries)
        target, record = local.connect(where.settings), RolloutRecord(where.settings.rollout.record)
        asked = () if given.echo else tuple(item.question for item in questions.items(where.settings, QUESTIONS))
        tokens = where.settings.generation.max_tokens
        plan = Plan(target.gateway.url, USERS[given.echo], check=False, questions=asked, max_tokens=tokens)
        watch = Watch(target, record, Traffic(plan).start(), entries)
        with pipeline.running(where) as runner, _shown(View(where, watch, runner), given.headless) as tell:
            watch.start()
            story = Story(entries, watch, runner, tell, ui(where), given.auto)
            story.tell()
            watch.traffic.stop()
            watch.stop()
            found = story.figures() | {"wall_s": round(time.monotonic() - began_s, 1)}
            if not given.headless and not given.auto:
                tell(f"{_sentence(found)}. MLflow stays up until Ctrl-C")
                _wait()
    after = AFTER_ECHO if given.echo else AFTER
    print(json.dumps(found) if given.headless else f"{_sentence(found)}\nNext: {after}", flush=True)
    return 0 if holds(found, entries[1], entries[2]) else 1


def _start(where: Place, entries: list[Entry]) -> None:
    """MLflow and the champion's slot load at the same time."""
    say("starting MLflow, Envoy and the champion")
    server = registry_server.start(where)
    failed: list[BaseException] = []

    def champion() -> None:
        try:
            local.up(where.settings, entries[0].version)
        except BaseException as error:  # raised below, in the thread that is waited for
            failed.append(error)

    thread = threading.Thread(target=champion, name="champion", daemon=True)
    thread.start()
    registry_server.wait(where, server)
    relay = approval.start(where)
    versions.register(entries)
    approval.connect(where, relay)
    thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _shown(view: View, headless: bool) -> Iterator[Any]:
    """The live view, or lines; yields how to say what comes next."""
    if headless or not sys.stdout.isatty():
        view.watch.tell = lambda event: say(line(event, view.watch.entries).plain)
        yield say
        return
    from rich.live import Live

    def tell(text: str) -> None:
        view.say = text

    with Live(view, refresh_per_second=4, screen=False):
        yield tell


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
    asked = f"{found['requests']:,} requests, {found['lost']} lost"
    return "; ".join([ends, asked, *times, f"the record's chain is {chain}"])


def _wait() -> None:
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return


def _stop(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    cli.run(main)

"""`promote` killed (SIGKILL) at every moment, on real processes behind a real Envoy, while users ask all the time.

The moments are those of test_killed.py: before and after every transition, and before, within and after every effect.
Then `promote --resume` takes the rollout up. A few moments run in `make test`; all of them (half an hour) with

    python -m pytest -m slow tests/rollout/test_killed_local.py -s
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from host import daemon
from pipelines import promote
from rehearsal import local_target
from rehearsal.traffic import LoadProfile, Traffic
from rollout import questions
from rollout.controller import Controller
from rollout.params import RolloutSettings
from rollout.record import Rollout, RolloutRecord
from rollout.session import EXIT_CODES, Session
from rollout.states import State
from rollout.targets import Version, local, other
from tests.parts.memory_registry import MemoryRegistry
from tests.rollout.stage import WHO, analysed

PHASE: dict[str, Any] = {"interval_s": 0.4, "count": 2, "min_requests": 4, "suite_items": 1, "inconclusive_limit": 1}
CONDITIONS = {"errors": "error_rate <= 0.05", "empty": "empty_rate <= 0.05", "smoke": "answered_share >= 1"}
PER_S = 50.0
ENDS = (State.SUCCEEDED, State.ABORTED, State.ROLLED_BACK)
SCENARIOS: dict[str, tuple[State, dict[str, Any]]] = {  # how an undisturbed rollout ends; how version 2 misbehaves
    "good": (State.SUCCEEDED, {}),
    "degrades after the switch": (State.ROLLED_BACK, {"empty_share": 0.5}),
    "errors in the preview": (State.ABORTED, {"error_share": 0.5}),
}
SOME = ("half:start", "before:Promoting", "half:switch", "after:PostPromotionAnalysis", "half:set_champion")

Hook = Callable[[str], None]


@dataclass
class Kept(Session):
    """A session whose controller has a hook, and that knows when version 2 is live: its fault begins then."""

    hook: Hook = lambda moment: None
    fault: Path = Path("none")

    def controller(self) -> Controller:
        return Controller(
            self.record, self.target, self.registry, self.settings, self.who, self.ask, self.report, self.hook
        )

    def report(self, rollout: Rollout) -> None:
        if rollout.state is State.POST_PROMOTION_ANALYSIS:
            self.fault.touch()


@dataclass
class Stage:
    """One gateway and two versions; every promote goes to the version that is not live."""

    root: Path
    settings: RolloutSettings
    target: local.LocalTarget
    versions: dict[int, Version]
    killed: list[tuple[float, str]] = field(default_factory=list)

    def session(self, hook: Hook = lambda moment: None) -> Kept:
        known: Any = {number: (one.folder, one.digest, "pass") for number, one in self.versions.items()}
        return Kept(
            settings=self.settings,
            record=RolloutRecord(self.settings.rollout.record),
            target=local.connect(self.settings),
            registry=MemoryRegistry(self.root / "registry.json", known),
            who=WHO,
            ask=questions.asker(self.settings),
            print=lambda line: None,
            hook=hook,
            fault=self.root / "fault",
        )

    def promote_and_die(self, dies: Callable[[int, str], bool]) -> bool:
        """In a child that kills itself when `dies(number, name)` of a moment holds; False when none did."""
        (self.root / "fault").unlink(missing_ok=True)
        wanted = 3 - (self.session().registry.alias("champion") or 2)
        child = os.fork()
        if child == 0:
            moments: list[str] = []

            def hook(moment: str) -> None:
                moments.append(moment)
                if dies(len(moments) - 1, moment):
                    (self.root / "moment").write_text(moment)
                    os.kill(os.getpid(), signal.SIGKILL)

            code = 99
            try:
                code = promote.main(["--version", str(wanted), "--yes"], lambda options: self.session(hook))
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            self.killed.append((time.time(), (self.root / "moment").read_text()))
            return True
        assert os.WEXITSTATUS(status) in {EXIT_CODES[state] for state in ENDS}, "it ended by itself, but not well"
        return False

    def resume(self) -> State:
        """What a person or `reconcile` does after a kill; a rollout that ended at the kill needs nothing."""
        session = self.session()
        if session.record.unfinished("production"):
            promote.main(["--resume", "--yes"], lambda options: session)
        ended = session.record.latest("production")
        assert ended is not None
        self.holds(session, ended)
        return ended.state

    def holds(self, session: Kept, ended: Rollout) -> None:
        when = f"killed at {self.killed[-1][1]}" if self.killed else "not killed"
        assert ended.state in ENDS, f"{when}: {ended.state}, {ended.why}"
        seen = self.target.observe()
        assert seen.live is not None, when
        live, beside = seen.slots[seen.live], seen.slots[other(seen.live)]
        plan = ended.plan
        true = plan.version if ended.state is State.SUCCEEDED else plan.from_version
        assert true is not None
        assert live.ready, when
        assert live.digest == true.digest, when
        assert session.registry.alias("champion") == true.model_version, when
        assert seen.mirrored is None, when
        assert beside.empty or ended.state is State.SUCCEEDED, f"{when}: the preview was left"
        expected = 2 if beside.empty else 3  # the gateway, the live slot, and the old one for an immediate rollback
        assert len(daemon.find_all(local.tags(self.settings))) == expected, when
        session.record.verify_chain()
        assert session.record.unfinished("production") is None, when
        session.record.close_file()


@contextmanager
def _stage(root: Path, how: dict[str, Any]) -> Iterator[Stage]:
    if "empty_share" in how:
        how = how | {"after_file": str(root / "fault")}
    versions = {1: local_target.version(root, 1), 2: local_target.version(root, 2, **how)}
    with local_target.stack(root / "s", serve={"max_queue": 1000}) as (settings, target):
        settings = analysed(settings, PHASE, CONDITIONS)
        own = {"record": root / "rollout.db", "environment": "production"}
        settings = settings.model_copy(update={"rollout": settings.rollout.model_copy(update=own)})
        local.up(settings, versions[1])
        found = Stage(root, settings, target, versions)
        found.session().registry.set_aliases(1, None)
        yield found
        tags = local.tags(settings)
    assert daemon.find_all(tags) == []


@contextmanager
def _users(url: str) -> Iterator[list[Any]]:
    """In a process of their own: this one forks, and must have no threads. The list is filled at the end."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_ask, args=(url, there), daemon=True)
    process.start()
    found: list[Any] = []
    here.recv()
    yield found
    here.send("stop")
    found += here.recv()
    process.join()


def _ask(url: str, pipe: Connection) -> None:
    traffic = Traffic(LoadProfile(url, PER_S, check=False)).start()
    pipe.send("started")
    pipe.recv()
    traffic.stop()
    pipe.send((len(traffic.requests), [(one.began, one.ended, one.lost) for one in traffic.lost]))


def _named(name: str) -> Callable[[int, str], bool]:
    return lambda number, moment: moment == name


def _numbered(at: int) -> Callable[[int, str], bool]:
    return lambda number, moment: number == at


def _nothing_lost(stage: Stage, users: list[Any]) -> int:
    asked, lost = users
    near = [(why, [moment for at, moment in stage.killed if at - 5 < began < at + 15]) for began, _, why in lost[:3]]
    assert lost == [], f"{len(lost)} of {asked} requests: {near}"
    assert asked > PER_S
    return int(asked)


def test_killed_at_some_moments_it_ends_well_after_a_restart(tmp_path: Path) -> None:
    with _stage(tmp_path, {}) as stage:
        with _users(stage.target.gateway.url) as users:
            for name in SOME:
                assert stage.promote_and_die(_named(name)), f"no moment {name}"
                assert stage.resume() is State.SUCCEEDED, stage.killed
        _nothing_lost(stage, users)
    assert [moment for _, moment in stage.killed] == list(SOME)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_moment_it_ends_well_after_a_restart(tmp_path: Path, scenario: str) -> None:
    undisturbed, how = SCENARIOS[scenario]
    ends: dict[State, int] = {}
    began_s, number = time.monotonic(), 0
    with _stage(tmp_path, how) as stage:
        with _users(stage.target.gateway.url) as users:
            while stage.promote_and_die(_numbered(number)):
                ended = stage.resume()
                ends[ended] = ends.get(ended, 0) + 1
                number += 1
            assert stage.resume() is undisturbed
        asked = _nothing_lost(stage, users)
    figures = {"kills": number, "ends": ends, "requests": asked, "lost": 0, "s": round(time.monotonic() - began_s)}
    print(json.dumps({"scenario": scenario} | figures))
    assert number > 25
    assert set(ends) <= {undisturbed, State.ABORTED, State.ROLLED_BACK}

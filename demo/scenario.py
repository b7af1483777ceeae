"""The order of things: an approval that succeeds, one that is rolled back, and what it all came to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core.errors import RolloutError
from demo.gitlab_stand_in import Pipeline, Runner
from demo.versions import Entry, approve
from demo.watch import Watch, state_of
from rollout.chain import Event
from rollout.states import TERMINAL, State

POLL_S = 0.2
PAUSE_S = 3.0  # so that a person sees the idle state before the next approval
SEEN_S = 1.5  # a pipeline's last event has been seen by then
END_S = 240.0  # of one rollout; its own deadlines come sooner

Say = Callable[[str], None]


@dataclass
class Scenario:
    """`entries`: champion, good, bad. With `auto` nobody has to click. `at` is where the UI shows the versions."""

    entries: list[Entry]
    watch: Watch
    runner: Runner
    say: Say
    at: str
    auto: bool
    approved_at: dict[int, float] = field(default_factory=dict)  # by this scenario; a click's is the trigger's time

    def run(self) -> None:
        """To its end. Raises RolloutError when a pipeline fails, or nothing comes of it in time (with `auto`)."""
        _, good, bad = self.entries
        self.say(f"version 1, {self.entries[0].name}, is live; users ask all the time")
        self._pause()
        if self.auto:
            self._approve(good)
        else:
            self.say(f"open {self.at}, choose version 2 ({good.name}) and add the alias `approved`")
        self._until_end(good)
        if self.watch.ended(bad) is None:
            self.say(f"next, version 3 gets approved: it is {bad.what}")
            self._pause()
            self._approve(bad)
            self._until_end(bad)

    def _approve(self, entry: Entry) -> None:
        self.say(f"alias `approved` is set on version {entry.version.model_version}: {entry.name}, {entry.what}")
        self.approved_at[entry.version.model_version] = time.time()
        approve(entry)

    def _pause(self) -> None:
        if not self.auto:
            time.sleep(PAUSE_S)

    def _until_end(self, entry: Entry) -> None:
        number = entry.version.model_version
        deadline_s = time.monotonic() + END_S
        reported, idle_s = 0, 0.0
        while (ended := self.watch.ended(entry)) is None:
            pipeline = self.runner.pipelines[-1] if self.runner.pipelines else None
            idle_s = idle_s + POLL_S if pipeline and pipeline.ended else 0.0
            if pipeline and pipeline.number > reported and idle_s > SEEN_S:
                reported = pipeline.number
                self._report_without_rollout(pipeline)
            if self.auto and time.monotonic() > deadline_s:
                raise RolloutError(f"version {number} is not rolled out after {END_S:.0f} s: see the logs (--folder)")
            time.sleep(POLL_S)
        self.say(f"version {number} ended {state_of(ended)}: {self.watch.cause(ended)}")

    def _report_without_rollout(self, pipeline: Pipeline) -> None:
        """A pipeline that ended without a rollout was refused, or is broken."""
        if any(
            event.model_version == pipeline.version and event.at > pipeline.triggered_at
            for event in self.watch.transitions
        ):
            return
        lines = self.runner.log(pipeline.number).splitlines()
        last = lines[-1] if lines else "its log is empty"
        what = f"pipeline {pipeline.number} for version {pipeline.version} failed: {last}"
        if self.auto:
            raise RolloutError(what)
        self.say(what)

    def figures(self) -> dict[str, Any]:
        """What the last line says."""
        ended = [event for event in self.watch.transitions if state_of(event) in TERMINAL]
        rollouts = [self._figures(event) for event in ended]
        bad = [one["version"] for one in rollouts if one["state"] == State.ROLLED_BACK]
        traffic = self.watch.traffic
        try:
            chain_ok = self.watch.record.verify_chain()[0] > 0
        except RolloutError as error:
            self.say(str(error))
            chain_ok = False
        return {
            "requests": len(traffic.requests),
            "lost": len(traffic.lost),
            "rollouts": rollouts,
            "rolled_back": bad,
            "chain_ok": chain_ok,
        }

    def _figures(self, event: Event) -> dict[str, Any]:
        entry = next(one for one in self.entries if one.version.digest == event.digest)
        found: dict[str, Any] = {
            "version": event.model_version,
            "name": entry.name,
            "state": str(state_of(event)),
            "why": self.watch.cause(event),
        }
        triggered = [
            pipeline.triggered_at for pipeline in self.runner.pipelines if pipeline.version == event.model_version
        ]
        triggered = [at for at in triggered if at < event.at]
        first = self.watch.first_answer(entry)
        if triggered and first is not None:
            approved_at = self.approved_at.get(entry.version.model_version, triggered[-1])
            whole_s = first - approved_at
            aside_s = whole_s - self.watch.analysis_s(event.rollout_id, first)
            found |= {"approval_to_first_answer_s": round(whole_s, 1), "analysis_aside_s": round(aside_s, 1)}
        return found


def holds(figures: dict[str, Any], good: Entry, bad: Entry) -> bool:
    """Whether it came out as promised: nothing lost, the good one live, the bad one rolled back, a whole chain."""
    succeeded = [one["version"] for one in figures["rollouts"] if one["state"] == State.SUCCEEDED]
    return (
        figures["lost"] == 0
        and figures["requests"] > 0
        and good.version.model_version in succeeded
        and bad.version.model_version in figures["rolled_back"]
        and figures["chain_ok"]
    )

"""What every rollout command opens: params, record, target, registry, and who is asking."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from core import params, plugins
from core.errors import RolloutError
from core.progress import say
from rollout import aliases, planning, questions
from rollout.aliases import APPROVED, CHAMPION, MlflowRegistry, Registry
from rollout.controller import Controller
from rollout.params import TARGETS, RolloutSettings
from rollout.questions import Ask
from rollout.record import Rollout, RolloutRecord, Who
from rollout.states import State, deadlines_s
from rollout.targets import Target

# A job that only looks at the exit code knows how it ended. 1 and 2 are core.errors' own.
EXIT_CODES = {State.SUCCEEDED: 0, State.ABORTED: 4, State.ROLLED_BACK: 5, State.HALTED: 6}


@dataclass
class Session:
    """The parts of one rollout command, and what a person or a job asks of them."""

    settings: RolloutSettings
    record: RolloutRecord
    target: Target
    registry: Registry
    who: Who
    ask: Ask
    as_json: bool = False
    print: Callable[[str], None] = field(default=lambda line: print(line, flush=True))

    @property
    def environment(self) -> str:
        """The environment that the lock and the events are for."""
        return self.settings.rollout.environment

    def controller(self) -> Controller:
        """A controller that reports every state in one line."""
        parts = (self.record, self.target, self.registry, self.settings, self.who, self.ask)
        return Controller(*parts, report=self.report)

    def report(self, rollout: Rollout) -> None:
        """One line: time, rollout, state, why; or the same as JSON."""
        version = rollout.plan.version
        if self.as_json:
            self.print(json.dumps(as_dict(rollout)))
        else:
            at = time.strftime("%H:%M:%S", time.localtime(rollout.entered_at))
            self.print(
                f"{at}  version {version.model_version} on {rollout.plan.slot}  {rollout.state:22} {rollout.why}"
            )

    def promote(self, number: int | None, digest: str | None, override: str | None, why: str) -> Rollout:
        """A new rollout of version `number`, or of the one with alias `approved`; refused when it is not manifest
        `digest`. Raises AlreadyLiveError when there is nothing to do."""
        name, registry = self.settings.model.name, self.registry
        champion = registry.alias(CHAMPION)
        if changed := aliases.report_manual_change(self.record, self.environment, name, champion, self.who):
            say(f"warning: {changed}")
        if number is None and (number := registry.alias(APPROVED)) is None:
            raise RolloutError(f"{name} has no version with alias '{APPROVED}': set it in MLflow, or give --version")
        found = registry.version(number)
        if digest and found.digest != digest:
            raise RolloutError(
                f"version {number} of {name} is manifest {found.digest[:12]}, but {digest[:12]} was approved: "
                "look at the version again before approving it"
            )
        ended = self.record.ended(self.environment)  # before planning: fetching the version's files may take minutes
        plan = planning.promote(name, number, registry, self.target, override)
        return self.record.create(self.environment, plan, self.who, override or why, time.time(), ended)

    def unfinished(self, digest: str | None) -> Rollout:
        """The rollout under way, refused when it is not for manifest `digest`. Raises AlreadyLiveError when there is
        none and `digest` is live and champion."""
        rollout = self.record.unfinished(self.environment)
        if rollout is None:
            if digest and (known := self.registry.by_digest(digest)) is not None:
                name, champion = self.settings.model.name, self.registry.alias(CHAMPION)
                planning.refuse_live(name, known, self.target.observe(), champion)
            raise RolloutError(f"nothing to resume: no rollout is unfinished in {self.environment}")
        version = rollout.plan.version
        if digest and version.digest != digest:
            raise RolloutError(
                f"rollout {rollout.id} under way is for version {version.model_version} ({version.digest[:12]}), not "
                f"for {digest[:12]}: it is left alone"
            )
        return rollout

    def cancel(self, rollout: Rollout, why: str) -> Rollout:
        """End the rollout under way, here or by watching the process that runs it; returns it as it ended."""
        self.record.ask(rollout, "cancel", self.who, why, time.time())
        limit_s = time.monotonic() + sum(deadlines_s(self.settings.rollout, rollout.plan).values())
        reported = rollout.state
        while time.monotonic() < limit_s:
            try:
                return self.controller().run(rollout)
            except RolloutError:  # another process runs it, and has seen the cancel
                time.sleep(self.settings.rollout.poll_s)
            rollout = self.record.get(rollout.id)
            if rollout.state is not reported:
                self.report(rollout)
                reported = rollout.state
            if rollout.finished:
                return rollout
        raise RolloutError(f"rollout {rollout.id} is still {rollout.state}: look at the process that runs it")

    def go_back(self, why: str) -> Rollout:
        """A new rollout to `previous`."""
        ended = self.record.ended(self.environment)
        plan = planning.rollback(self.settings.model.name, self.registry, self.target)
        return self.record.create(self.environment, plan, self.who, why, time.time(), ended)

    def finish(self, rollout: Rollout, until: State | None = None) -> int:
        """Run a rollout to its end (or to `until`) and return the exit code."""
        ended = self.controller().run(rollout, until)
        return EXIT_CODES.get(ended.state, 0)


def as_dict(rollout: Rollout) -> dict[str, Any]:
    """A rollout as machine-readable fields."""
    version, was = rollout.plan.version, rollout.plan.from_version
    return {
        "rollout": rollout.id,
        "environment": rollout.environment,
        "kind": rollout.plan.kind,
        "state": rollout.state,
        "why": rollout.why,
        "at": rollout.entered_at,
        "finished": rollout.finished,
        "model": version.model_name,
        "version": version.model_version,
        "digest": version.digest,
        "slot": rollout.plan.slot,
        "from_version": was.model_version if was else None,
    }


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with what every rollout command takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="a file in rollout/targets/ (default: rollout.target in params.yaml)")
    parser.add_argument("--environment", help="default: rollout.environment in params.yaml")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    return parser


def open_session(options: argparse.Namespace) -> Session:
    """Open the real parts that `options` and params.yaml name. The registry is MLFLOW_TRACKING_URI's."""
    settings = params.load(RolloutSettings)
    if options.environment:
        changed = settings.rollout.model_copy(update={"environment": options.environment})
        settings = settings.model_copy(update={"rollout": changed})
    module = plugins.load(TARGETS, options.target or settings.rollout.target)
    return Session(
        settings=settings,
        record=RolloutRecord(settings.rollout.record),
        target=module.connect(settings),
        registry=MlflowRegistry(settings.model.name),
        who=who(),
        ask=questions.asker(settings),
        as_json=options.json,
    )


def who() -> Who:
    """The person and the pipeline: GitLab's variables in a job, the login name elsewhere."""
    return Who(os.environ.get("GITLAB_USER_LOGIN") or getpass.getuser(), os.environ.get("CI_PIPELINE_URL"))

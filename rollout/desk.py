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
from rollout import questions
from rollout.aliases import MlflowRegistry, Registry
from rollout.controller import Controller
from rollout.params import RolloutSettings
from rollout.questions import Ask
from rollout.record import Rollout, RolloutRecord, Who
from rollout.states import State
from rollout.targets import Target

# A job that only looks at the exit code knows how it ended. 1 and 2 are core.errors' own.
EXIT_CODES = {State.SUCCEEDED: 0, State.ABORTED: 4, State.ROLLED_BACK: 5, State.HALTED: 6}


@dataclass
class Desk:
    """The parts of one rollout command."""

    settings: RolloutSettings
    record: RolloutRecord
    target: Target
    registry: Registry
    who: Who
    ask: Ask
    as_json: bool = False
    say: Callable[[str], None] = field(default=lambda line: print(line, flush=True))

    @property
    def environment(self) -> str:
        """The environment that the lock and the events are for."""
        return self.settings.rollout.environment

    def controller(self) -> Controller:
        """A controller that tells every state in one line."""
        return Controller(self.record, self.target, self.registry, self.settings, self.who, self.ask, tell=self.tell)

    def tell(self, rollout: Rollout) -> None:
        """One line: time, rollout, state, why; or the same as JSON."""
        version = rollout.plan.version
        if self.as_json:
            self.say(json.dumps(as_dict(rollout)))
        else:
            at = time.strftime("%H:%M:%S", time.localtime(rollout.entered_at))
            self.say(
                f"{at}  version {version.model_version} on {rollout.plan.slot}  {rollout.state:22} {rollout.why}"
            )

    def finish(self, rollout: Rollout, until: State | None = None) -> int:
        """Carry a rollout to its end (or to `until`) and return the exit code."""
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


def open_desk(options: argparse.Namespace) -> Desk:
    """Open the real parts that `options` and params.yaml name. The registry is MLFLOW_TRACKING_URI's."""
    settings = params.load(RolloutSettings)
    if options.environment:
        changed = settings.rollout.model_copy(update={"environment": options.environment})
        settings = settings.model_copy(update={"rollout": changed})
    module = plugins.load("rollout.targets", options.target or settings.rollout.target)
    return Desk(
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

"""Roll a registered version out: preview, analysis, approval, switch, watch, then `champion`. One line a state.

    python -m pipelines.promote                       the version with alias `approved`
    python -m pipelines.promote --version 7 --yes     without waiting for another approval
    python -m pipelines.promote --until AwaitingApproval     start the preview and analyse it, then leave
    python -m pipelines.promote --resume --yes        go on with the unfinished rollout, and approve it

Ends with 0 when the version is live and champion, also when it was so before, so that it is safe to call twice; 4
Aborted, 5 RolledBack, 6 Halted. --resume also follows a kill. With --digest, neither touches another version.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence

from core import cli
from core.errors import RolloutError
from core.progress import say
from rollout import hand, planning
from rollout.aliases import APPROVED, CHAMPION
from rollout.desk import EXIT_CODES, Desk, arguments, open_desk
from rollout.record import Rollout
from rollout.states import State


def main(argv: Sequence[str] | None = None, opened: Callable[[argparse.Namespace], Desk] = open_desk) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--version", type=int, help="number in the registry (default: alias `approved`)")
    parser.add_argument("--digest", help="of the manifest that was approved: refuse any other")
    parser.add_argument("--why", default="", help="recorded with the rollout")
    parser.add_argument("--yes", action="store_true", help="approve it: no wait in AwaitingApproval")
    parser.add_argument("--override", metavar="REASON", help="roll out without passing evidence; recorded")
    parser.add_argument("--until", type=State, choices=[State.AWAITING_APPROVAL], help="stop there and leave it")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished rollout")
    options = parser.parse_args(argv)
    desk = opened(options)
    try:
        rollout = _unfinished(desk, options) if options.resume else _new(desk, options)
    except planning.AlreadyLiveError as nothing:
        desk.say(json.dumps({"state": State.SUCCEEDED, "why": str(nothing)}) if options.json else str(nothing))
        return EXIT_CODES[State.SUCCEEDED]
    if options.yes and not rollout.finished:
        desk.record.ask(rollout, "approve", desk.who, options.why or "--yes", time.time())
    return desk.finish(rollout, options.until)


def _new(desk: Desk, options: argparse.Namespace) -> Rollout:
    name, registry = desk.settings.model.name, desk.registry
    if moved := hand.report(desk.record, desk.environment, name, registry.alias(CHAMPION), desk.who):
        say(f"warning: {moved}")
    number = options.version if options.version is not None else registry.alias(APPROVED)
    if number is None:
        raise RolloutError(f"{name} has no version with alias '{APPROVED}': set it in MLflow, or give --version")
    found = registry.version(number)
    if options.digest and found.digest != options.digest:
        raise RolloutError(
            f"version {number} of {name} is manifest {found.digest[:12]}, but {options.digest[:12]} was approved: "
            "look at the version again before approving it"
        )
    ended = desk.record.ended(desk.environment)  # before planning: fetching the version's files may take minutes
    plan = planning.promote(name, number, registry, desk.target, options.override)
    default = f"alias '{APPROVED}'" if options.version is None else f"version {number} was asked for"
    why = options.override or options.why or default
    return desk.record.create(desk.environment, plan, desk.who, why, time.time(), ended)


def _unfinished(desk: Desk, options: argparse.Namespace) -> Rollout:
    rollout = desk.record.unfinished(desk.environment)
    if rollout is None:
        if options.digest and (known := desk.registry.by_digest(options.digest)) is not None:
            name, champion = desk.settings.model.name, desk.registry.alias(CHAMPION)
            planning.refuse_live(name, known, desk.target.observe(), champion)
        raise RolloutError(f"nothing to resume: no rollout is unfinished in {desk.environment}")
    version = rollout.plan.version
    if options.digest and version.digest != options.digest:
        raise RolloutError(
            f"rollout {rollout.id} under way is for version {version.model_version} ({version.digest[:12]}), not for "
            f"{options.digest[:12]}: it is left alone"
        )
    return rollout


if __name__ == "__main__":
    cli.run(main)

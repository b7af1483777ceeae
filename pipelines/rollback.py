"""Go back: end the rollout under way, or return to `previous`, at once while its slot still runs.

    python -m pipelines.rollback --why "users complain"

Exit codes are those of `python -m pipelines.promote`; a rollout under way that ends Aborted or RolledBack gives 0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

from core import cli
from core.errors import RolloutError
from rollout import planning
from rollout.desk import EXIT_CODES, Desk, arguments, open_desk
from rollout.record import Rollout
from rollout.states import State, deadlines_s


def main(argv: Sequence[str] | None = None, opened: Callable[[argparse.Namespace], Desk] = open_desk) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--why", required=True, help="recorded")
    options = parser.parse_args(argv)
    desk = opened(options)
    if under_way := desk.record.unfinished(desk.environment):
        desk.record.ask(under_way, "cancel", desk.who, options.why, time.time())
        ended = _end(desk, under_way)
        if ended.state is not State.SUCCEEDED:
            return 0 if ended.state in (State.ABORTED, State.ROLLED_BACK) else EXIT_CODES[ended.state]
        # It was too far to be cancelled: now it is champion, and is rolled back like one.
    before = desk.record.ended(desk.environment)
    plan = planning.rollback(desk.settings.model.name, desk.registry, desk.target)
    return desk.finish(desk.record.create(desk.environment, plan, desk.who, options.why, time.time(), before))


def _end(desk: Desk, rollout: Rollout) -> Rollout:
    """Carry the cancelled rollout to its end, or watch the process that does."""
    limit = time.monotonic() + sum(deadlines_s(desk.settings.rollout).values())
    told = rollout.state
    while time.monotonic() < limit:
        try:
            return desk.controller().run(rollout)
        except RolloutError:  # another process has it in hand, and has seen the cancel
            time.sleep(desk.settings.rollout.poll_s)
        rollout = desk.record.get(rollout.id)
        if rollout.state is not told:
            desk.tell(rollout)
            told = rollout.state
        if rollout.finished:
            return rollout
    raise RolloutError(f"rollout {rollout.id} is still {rollout.state}: look at the process that carries it out")


if __name__ == "__main__":
    cli.run(main)

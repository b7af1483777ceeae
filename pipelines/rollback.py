"""Go back: end the rollout under way, or return to `previous`, at once while its slot still runs.

    python -m pipelines.rollback --why "users complain"

Exit codes are those of `python -m pipelines.promote`; a rollout under way that ends Aborted or RolledBack gives 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from core import cli
from rollout.session import EXIT_CODES, Session, arguments, open_session
from rollout.states import State


def main(argv: Sequence[str] | None = None, opened: Callable[[argparse.Namespace], Session] = open_session) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--why", required=True, help="recorded")
    options = parser.parse_args(argv)
    session = opened(options)
    if under_way := session.record.unfinished(session.environment):
        ended = session.cancel(under_way, options.why)
        if ended.state is not State.SUCCEEDED:
            return 0 if ended.state in (State.ABORTED, State.ROLLED_BACK) else EXIT_CODES[ended.state]
        # It was too far to be cancelled: now it is champion, and is rolled back like one.
    return session.finish(session.go_back(options.why))


if __name__ == "__main__":
    cli.run(main)

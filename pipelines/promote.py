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
from rollout.aliases import APPROVED
from rollout.planning import AlreadyLiveError
from rollout.session import EXIT_CODES, Session, arguments, open_session
from rollout.states import State


def main(argv: Sequence[str] | None = None, opened: Callable[[argparse.Namespace], Session] = open_session) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--version", type=int, help="number in the registry (default: alias `approved`)")
    parser.add_argument("--digest", help="of the manifest that was approved: refuse any other")
    parser.add_argument("--why", default="", help="recorded with the rollout")
    parser.add_argument("--yes", action="store_true", help="approve it: no wait in AwaitingApproval")
    parser.add_argument("--override", metavar="REASON", help="roll out without passing evidence; recorded")
    parser.add_argument("--until", type=State, choices=[State.AWAITING_APPROVAL], help="stop there and leave it")
    parser.add_argument("--resume", action="store_true", help="go on with the unfinished rollout")
    options = parser.parse_args(argv)
    session, default = opened(options), f"alias '{APPROVED}'"
    if options.version is not None:
        default = f"version {options.version} was asked for"
    try:
        if options.resume:
            rollout = session.unfinished(options.digest)
        else:
            rollout = session.promote(options.version, options.digest, options.override, options.why or default)
    except AlreadyLiveError as live:
        session.print(json.dumps({"state": State.SUCCEEDED, "why": str(live)}) if options.json else str(live))
        return EXIT_CODES[State.SUCCEEDED]
    if options.yes and not rollout.finished:
        session.record.ask(rollout, "approve", session.who, options.why or "--yes", time.time())
    return session.finish(rollout, options.until)


if __name__ == "__main__":
    cli.run(main)

"""Bring what is in line with what was approved. For a schedule (every few minutes); safe to run at any time.

    python -m pipelines.reconcile            one line for each thing that was looked at
    python -m pipelines.reconcile --dry      the same, without doing anything
    python -m pipelines.reconcile --json     one JSON object a line

- the gateway crashed while the live slot runs: started again, with the route that it had;
- the live slot crashed, and no rollout is under way: started again, with the version that it had;
- `champion` was changed manually: reported and recorded, never moved back;
- a rollout whose controller died: resumed here, as `promote --resume` would, up to a person's approval;
- an approval that no webhook brought (or GitLab did not take): its pipeline is triggered, once.

Ends with 1 when a person should look. What counts as one approval: approval/standing.py.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

from approval import gitlab, trigger
from approval.standing import Pipelines
from core import cli
from core.errors import AssayError
from rollout import repair
from rollout.repair import Finding
from rollout.session import Session, arguments, open_session


def main(
    argv: Sequence[str] | None = None,
    opened: Callable[[argparse.Namespace], Session] = open_session,
    pipelines: Callable[[], Pipelines] = gitlab.connect,
) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--dry", action="store_true", help="report only, change nothing")
    options = parser.parse_args(argv)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # report a dead registry, do not wait for it
    session, dry = opened(options), options.dry
    problems = 0
    for subject, look in (
        ("gateway", lambda: repair.gateway(session, dry)),
        ("slot", lambda: repair.live_slot(session, dry)),
        ("champion", lambda: repair.champion(session, dry)),
        ("rollout", lambda: repair.unfinished(session, dry)),
        ("approval", lambda: trigger.find_lost(session, pipelines, dry)),
    ):
        for found in _safely(subject, look):
            problems += found.problem
            line = f"{found.subject:9} {'problem: ' if found.problem else ''}{found.what}"
            session.print(json.dumps(asdict(found)) if options.json else line)
    return 1 if problems else 0


def _safely(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """A part that does not answer keeps no other from being put right."""
    try:
        yield from look()
    except AssayError as error:
        yield Finding(subject, str(error), problem=True)


if __name__ == "__main__":
    cli.run(main)

"""Bring what is in line with what was approved. For a schedule (every few minutes); safe to run at any time.

    python -m pipelines.reconcile            one line for each thing that was looked at
    python -m pipelines.reconcile --dry      the same, without doing anything
    python -m pipelines.reconcile --json     one JSON object a line

- the local gateway died while the live slot runs: started again, with the route that it had;
- the live slot's process died, and no rollout is under way: started again, with the version that it had;
- `champion` was moved by hand: told and recorded, never moved back;
- a rollout whose controller died: carried on here, as `promote --resume` would, up to a person's approval;
- an approval that no webhook brought (or GitLab did not take): its pipeline is triggered, once.

Ends with 1 when a person should look. What counts as one approval: rollout/approval.py.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from core import cli
from core.errors import AssayError
from rollout import approval, approval_trigger, gitlab, hand, locks
from rollout.aliases import CHAMPION
from rollout.approval import PIPELINE_S, Approval, Pipelines, Standing
from rollout.approval_record import ApprovalRecord
from rollout.desk import Desk, arguments, open_desk
from rollout.record import Rollout
from rollout.states import State, deadlines_s
from rollout.targets import Version
from rollout.targets.local import LocalTarget

QUIET_S = 30.0  # a rollout is only taken over when its record was silent for so long: its controller may just begin


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `problem`: a person should look."""

    subject: str  # gateway, slot, champion, rollout, approval
    what: str
    problem: bool = False
    pipeline_url: str | None = None


def main(
    argv: Sequence[str] | None = None,
    opened: Callable[[argparse.Namespace], Desk] = open_desk,
    pipelines: Callable[[], Pipelines] = gitlab.connect,
) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--dry", action="store_true", help="look and tell, do nothing")
    options = parser.parse_args(argv)
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"
    )  # a dead registry is a problem to tell, not to await
    desk = opened(options)
    record = ApprovalRecord(desk.record.path)
    problems = 0
    for subject, look in (
        ("gateway", lambda: _gateway(desk, options.dry)),
        ("slot", lambda: _slot(desk, options.dry)),
        ("champion", lambda: _champion(desk, options.dry)),
        ("rollout", lambda: _rollout(desk, options.dry)),
        ("approval", lambda: _approval(desk, record, pipelines, options.dry)),
    ):
        for found in _safely(subject, look):
            problems += found.problem
            line = f"{found.subject:9} {'problem: ' if found.problem else ''}{found.what}"
            desk.say(json.dumps(asdict(found)) if options.json else line)
    return 1 if problems else 0


def _safely(subject: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """One part that does not answer keeps no other from being mended."""
    try:
        yield from look()
    except AssayError as error:
        yield Finding(subject, str(error), problem=True)


def _gateway(desk: Desk, dry: bool) -> Iterator[Finding]:
    """A gateway without its slots was ended on purpose (`pipelines.gateway down`), and stays so."""
    seen, target = desk.target.observe(), desk.target
    if isinstance(target, LocalTarget) and seen.live is None and target.gateway.process is None:
        running = [slot for slot, state in seen.slots.items() if state.ready]
        if running and target.gateway.settings.routes_file.exists():
            if dry:
                yield Finding("gateway", f"does not run, though {running[0]} does: would be started", problem=True)
                return
            target.gateway.start()
            seen = target.observe()
            yield Finding("gateway", f"had ended; started again, {seen.live} is live (generation {seen.generation})")
    for problem in seen.problems:
        yield Finding("gateway", problem, problem=True)


def _slot(desk: Desk, dry: bool) -> Iterator[Finding]:
    """The live one. No rollout could mend it: there would be nothing to compare with, so it would be inconclusive."""
    seen, target = desk.target.observe(), desk.target
    if seen.live is None or seen.slots[seen.live].ready or desk.record.unfinished(desk.environment) is not None:
        return
    digest = target.slots[seen.live].crashed_digest() if isinstance(target, LocalTarget) else None
    if digest is None:
        yield Finding("slot", f"{seen.live} is live, but not ready: users get no answers", problem=True)
        return
    known = desk.registry.by_digest(digest)
    if known is None:
        yield Finding("slot", f"{seen.live} is live and ended; no version has manifest {digest[:12]}", problem=True)
        return
    name = f"{seen.live} is live and ended by itself"
    if dry:
        yield Finding("slot", f"{name}: version {known.number} would be started again", problem=True)
        return
    folder = desk.registry.folder(known)
    target.start(seen.live, Version(desk.settings.model.name, known.number, digest, folder))
    yield Finding("slot", f"{name}; version {known.number} was started again, look why it ended", problem=True)


def _champion(desk: Desk, dry: bool) -> Iterator[Finding]:
    found = desk.registry.alias(CHAMPION)
    if not dry:
        moved = hand.report(desk.record, desk.environment, desk.settings.model.name, found, desk.who)
        if moved:
            yield Finding(
                "champion", f"{moved}; put it back, or promote the version that should be live", problem=True
            )
        return
    wanted = hand.expected(desk.record, desk.environment)
    if wanted not in (None, found):
        yield Finding("champion", f"is version {found}, not version {wanted}: it was moved by hand", problem=True)


def _rollout(desk: Desk, dry: bool) -> Iterator[Finding]:
    """Carried on here, not by a pipeline: the record and the slots are here, and it must not wait for GitLab."""
    rollout = desk.record.unfinished(desk.environment)
    if rollout is None:
        return
    name = f"{rollout.id} of version {rollout.plan.version.model_version}"
    if locks.in_hand(desk.record, desk.environment):
        yield Finding("rollout", f"{name} is {rollout.state}, in another process's hands")
        return
    approved = desk.record.asked(rollout, "approve")
    waits = rollout.state is State.AWAITING_APPROVAL and not approved and not desk.record.asked(rollout, "cancel")
    ends_at = rollout.entered_at + deadlines_s(desk.settings.rollout)[rollout.state]
    now = time.time()
    if waits and now < ends_at:
        yield Finding("rollout", f"{name} awaits a person's approval for another {ends_at - now:.0f} s")
        return
    if now - _last_event_at(desk, rollout) < QUIET_S:
        yield Finding("rollout", f"{name} is {rollout.state}; nobody carries it on, but its record is fresh")
        return
    if dry:
        yield Finding("rollout", f"{name} is {rollout.state}, and nobody carries it on: would be", problem=True)
        return
    until = None if approved or waits else State.AWAITING_APPROVAL
    ended = desk.controller().run(rollout, until)
    what = f"{name} had no controller; carried on to {ended.state}: {ended.why}"
    yield Finding("rollout", what, problem=ended.state is State.HALTED)


def _approval(desk: Desk, record: ApprovalRecord, pipelines: Callable[[], Pipelines], dry: bool) -> Iterator[Finding]:
    name = desk.settings.model.name
    seen = approval.look(desk.registry, desk.environment, name, "reconcile", time.time())
    if dry:
        judged = record.judge(seen, record.newest_approval(desk.environment, name))
        if seen.approved is not None and judged.standing is Standing.WANTED:
            what = f"version {seen.approved.number} is approved and was not triggered: would be"
            yield Finding("approval", what, problem=True)
            return
        found = record.newest_approval(desk.environment, name)
    else:
        found = record.take(seen, desk.who)
        if found is not None and found.standing is Standing.WANTED:
            found = approval_trigger.carry(
                record, desk.registry, pipelines(), desk.environment, name, desk.who, "reconcile"
            )
    if found is not None and seen.approved is not None:
        yield _told(found, record.rollout_of(found), record.true_champion(seen))


def _told(found: Approval, rollout: Rollout | None, champion: int | None) -> Finding:
    """Where the approval stands. One that had its rollout and did not stay champion is over, and no problem."""
    version, late = f"version {found.model_version}", time.time() - found.changed_at > PIPELINE_S
    problem = False
    if champion == found.model_version:
        what = f"{version} is champion"
    elif rollout is not None and not rollout.finished:
        what = f"{version} is under way: {rollout.id} is {rollout.state}"
    elif rollout is not None:
        what = (
            f"{version} had its rollout, {rollout.id} ended {rollout.state}: {rollout.why}; approve it again to retry"
        )
    elif found.standing is Standing.TRIGGERED:
        problem = late
        what = f"{version}: {found.why}, no rollout began yet" + ("; look at the pipeline" if late else "")
    else:
        failed = found.standing is Standing.WANTED and found.attempts > 0 and not found.interrupted
        problem = failed or found.standing is Standing.REFUSED
        what = f"{version} is {found.standing}: {found.why}"
    return Finding("approval", what, problem, found.pipeline_url)


def _last_event_at(desk: Desk, rollout: Rollout) -> float:
    return max(event.at for event in desk.record.events("rollout_id = ?", rollout.id))


if __name__ == "__main__":
    cli.run(main)

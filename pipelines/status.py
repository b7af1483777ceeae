"""What is live, what is under way, and the record.

    python -m pipelines.status                   slots, route, aliases, the newest rollout
    python -m pipelines.status --history 7       everything that ever happened to version 7
    python -m pipelines.status --verify-chain    check the events; --head HASH: printed earlier, must still be there

Ends with 1 when the chain does not hold or `champion` was changed manually.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from core import cli
from core.errors import AssayError
from rollout import aliases
from rollout.aliases import APPROVED, CHAMPION, PREVIOUS
from rollout.chain import Event
from rollout.session import Session, arguments, as_dict, open_session


def main(argv: Sequence[str] | None = None, opened: Callable[[argparse.Namespace], Session] = open_session) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--history", type=int, metavar="VERSION")
    parser.add_argument("--verify-chain", action="store_true")
    parser.add_argument("--head", metavar="HASH", help="with --verify-chain: must be in the chain")
    options = parser.parse_args(argv)
    session = opened(options)
    if options.verify_chain:
        count, head = session.record.verify_chain(options.head)
        session.print(
            json.dumps({"events": count, "head": head}) if options.json else f"{count} events hold, head {head}"
        )
        return 0
    if options.history is not None:
        for event in session.record.history(session.settings.model.name, options.history):
            session.print(json.dumps(asdict(event)) if options.json else _line(event))
        return 0
    found = _status(session)
    session.print(json.dumps(found)) if options.json else _show(session, found)
    return 1 if found["problems"] else 0


def _status(session: Session) -> dict[str, Any]:
    """Everything in one object. A part that does not answer is a problem, not the end."""
    name, problems = session.settings.model.name, []
    numbers: dict[str, int | None] = {}
    live, generation, mirrored, slots = None, None, None, {}
    try:
        numbers = {alias: session.registry.alias(alias) for alias in (CHAMPION, PREVIOUS, APPROVED)}
        champion = numbers[CHAMPION]
        if changed := aliases.report_manual_change(session.record, session.environment, name, champion, session.who):
            problems.append(changed)
    except AssayError as error:
        problems.append(str(error))
    try:
        seen = session.target.observe()
        live, generation, mirrored = seen.live, seen.generation, seen.mirrored
        slots = {slot: asdict(state) for slot, state in seen.slots.items()}
        problems += seen.problems
    except AssayError as error:
        problems.append(str(error))
    latest = session.record.latest(session.environment)
    return {
        "environment": session.environment,
        "live": live,
        "generation": generation,
        "mirrored": mirrored,
        "slots": slots,
        "aliases": numbers,
        "rollout": as_dict(latest) if latest else None,
        "problems": problems,
    }


def _show(session: Session, found: dict[str, Any]) -> None:
    session.print(f"{found['environment']}: {found['live'] or 'no slot'} is live (generation {found['generation']})")
    for slot, state in found["slots"].items():
        what = f"{state['digest'][:12]} as {state['identity']}" if state["digest"] else state["identity"] or "empty"
        ready = "ready" if state["ready"] else "not ready"
        session.print(
            f"  {slot:6} {what}" + (f", {ready}, {state['active_requests']} open" if state["identity"] else "")
        )
    numbers = [f"{alias} {number or 'not set'}" for alias, number in found["aliases"].items()]
    session.print(f"  {', '.join(numbers) or 'no aliases'}")
    if rollout := found["rollout"]:
        session.print(f"  {rollout['rollout']}: version {rollout['version']} {rollout['state']}: {rollout['why']}")
    for problem in found["problems"]:
        session.print(f"  problem: {problem}")


def _line(event: Event) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(event.at))
    proof = "".join(
        f" [{word} {value}]"
        for word, value in (
            ("evidence", (event.evidence_sha256 or "")[:12]),
            ("pipeline", event.pipeline_url),
        )
        if value
    )
    return f"{at}Z  {event.seq:4}  {event.who:12} {event.what}: {event.why}{proof}"


if __name__ == "__main__":
    cli.run(main)

"""What is live, what is under way, and the record.

    python -m pipelines.status                   slots, route, aliases, the newest rollout
    python -m pipelines.status --history 7       everything that ever happened to version 7
    python -m pipelines.status --verify-chain    check the events; --head HASH: printed earlier, must still be there

Ends with 1 when the chain does not hold or `champion` was moved by hand.
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
from rollout import hand
from rollout.aliases import APPROVED, CHAMPION, PREVIOUS
from rollout.chain import Event
from rollout.desk import Desk, arguments, as_dict, open_desk


def main(argv: Sequence[str] | None = None, opened: Callable[[argparse.Namespace], Desk] = open_desk) -> int:
    parser = arguments(__doc__)
    parser.add_argument("--history", type=int, metavar="VERSION")
    parser.add_argument("--verify-chain", action="store_true")
    parser.add_argument("--head", metavar="HASH", help="with --verify-chain: must be in the chain")
    options = parser.parse_args(argv)
    desk = opened(options)
    if options.verify_chain:
        count, head = desk.record.verify_chain(options.head)
        desk.say(json.dumps({"events": count, "head": head}) if options.json else f"{count} events hold, head {head}")
        return 0
    if options.history is not None:
        for event in desk.record.history(desk.settings.model.name, options.history):
            desk.say(json.dumps(asdict(event)) if options.json else _line(event))
        return 0
    found = _status(desk)
    desk.say(json.dumps(found)) if options.json else _show(desk, found)
    return 1 if found["problems"] else 0


def _status(desk: Desk) -> dict[str, Any]:
    """Everything in one object. A part that does not answer is a problem, not the end."""
    name, problems = desk.settings.model.name, []
    aliases: dict[str, int | None] = {}
    live, generation, mirrored, slots = None, None, None, {}
    try:
        aliases = {alias: desk.registry.alias(alias) for alias in (CHAMPION, PREVIOUS, APPROVED)}
        if moved := hand.report(desk.record, desk.environment, name, aliases[CHAMPION], desk.who):
            problems.append(moved)
    except AssayError as error:
        problems.append(str(error))
    try:
        seen = desk.target.observe()
        live, generation, mirrored = seen.live, seen.generation, seen.mirrored
        slots = {slot: asdict(state) for slot, state in seen.slots.items()}
        problems += seen.problems
    except AssayError as error:
        problems.append(str(error))
    latest = desk.record.latest(desk.environment)
    return {
        "environment": desk.environment,
        "live": live,
        "generation": generation,
        "mirrored": mirrored,
        "slots": slots,
        "aliases": aliases,
        "rollout": as_dict(latest) if latest else None,
        "problems": problems,
    }


def _show(desk: Desk, found: dict[str, Any]) -> None:
    desk.say(f"{found['environment']}: {found['live'] or 'no slot'} is live (generation {found['generation']})")
    for slot, state in found["slots"].items():
        what = f"{state['digest'][:12]} as {state['identity']}" if state["digest"] else state["identity"] or "empty"
        ready = "ready" if state["ready"] else "not ready"
        desk.say(f"  {slot:6} {what}" + (f", {ready}, {state['active_requests']} open" if state["identity"] else ""))
    aliases = [f"{alias} {number or 'not set'}" for alias, number in found["aliases"].items()]
    desk.say(f"  {', '.join(aliases) or 'no aliases'}")
    if rollout := found["rollout"]:
        desk.say(f"  {rollout['rollout']}: version {rollout['version']} {rollout['state']}: {rollout['why']}")
    for problem in found["problems"]:
        desk.say(f"  problem: {problem}")


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

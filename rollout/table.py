"""Print the state machine's table as Markdown, for docs/rollout.md: `python -m rollout.table`.

A test holds the document to the code: it must contain this output, between two marks.
"""

from __future__ import annotations

from core import cli
from core.params import RolloutParams, load
from rollout import guards, machine
from rollout.states import State, deadlines_s

BEGIN, END = "<!-- rollout.table: begin -->", "<!-- rollout.table: end -->"


def markdown(settings: RolloutParams) -> str:
    """One row for each transition, in the order in which they are tried; deadlines as params set them."""
    limits = deadlines_s(settings)
    lines = ["| in | when | go to | meanwhile |", "|---|---|---|---|"]
    shown: set[State] = set()
    for row in machine.TABLE:
        first = row.state not in shown
        shown.add(row.state)
        effects = ", ".join(do.effect for do in machine.EFFECTS.get(row.state, ())) if first else ""
        when = (row.guard.__doc__ or "").strip()
        if row.guard is guards.overdue:
            when = f"{when} ({limits[row.state]:.0f} s)"
        lines.append(f"| {f'**{row.state}**' if first else ''} | {when} | {row.to} | {effects} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    print(markdown(load().rollout), end="")


if __name__ == "__main__":
    cli.run(main)

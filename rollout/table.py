"""Print the state machine's table as Markdown: `python -m rollout.table`; `--write` puts it into docs/rollout.md.

A test holds the document to the code: it must contain this output, between two marks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from core import cli, files
from core.errors import DataError
from core.params import load
from rollout import guards, machine
from rollout.params import RolloutParams, RolloutSettings
from rollout.states import State, deadlines_s

DOCUMENT = Path("docs/rollout.md")
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


def into(text: str, printed: str) -> str:
    """`text` with what stands between its marks replaced. Raises DataError when it has no marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise DataError(f"{DOCUMENT} lacks the marks {BEGIN} and {END}: put them where the table belongs")
    return f"{before}{BEGIN}\n{printed}{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"into {DOCUMENT}")
    printed = markdown(load(RolloutSettings).rollout)
    if parser.parse_args().write:
        files.write_text(DOCUMENT, into(DOCUMENT.read_text(), printed))
    else:
        print(printed, end="")


if __name__ == "__main__":
    cli.run(main)

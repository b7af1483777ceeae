"""How often each verdict is right, by simulation with fixed seeds: every file of drift/simulations/.

    python -m drift.simulate                      # --runs 4000, --only samples --only attempts

Prints each truth with its shares and their standard errors, and the items that it takes. A share beyond its limit by
more than three standard errors is marked, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import math
import time

from core import cli, plugins
from drift.simulations import Row

PACKAGE, RUNS = "drift.simulations", 2000


def table(rows: list[Row]) -> str:
    """The rows as a table in Markdown: each share in percent with its standard error and its limit."""
    names = list(dict.fromkeys(name for row in rows for name in row.shares))
    has_items = any(row.items_mean is not None for row in rows)
    heads = ["truth", *names, *(["items, mean", "items, p90"] if has_items else []), "runs"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = [row.truth, *(_share(row, name) for name in names)]
        if has_items:
            cells += ["" if count is None else f"{count:,.0f}" for count in (row.items_mean, row.items_p90)]
        lines.append([*cells, f"{row.runs:,}"])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _share(row: Row, name: str) -> str:
    if name not in row.shares:
        return ""
    share = row.shares[name]
    limits = [
        f"{sign} {100 * limits[name]:g}"
        for sign, limits in (("≤", row.at_most), ("≥", row.at_least))
        if name in limits
    ]
    limit = f" ({', '.join(limits)})" if limits else ""
    return f"{100 * share:.1f} ± {100 * math.sqrt(share * (1 - share) / row.runs):.1f}{limit}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated evaluations for each truth")
    parser.add_argument("--only", action="append", choices=plugins.known(PACKAGE), help="may be given several times")
    asked = parser.parse_args()
    broken = False
    for name in asked.only or plugins.known(PACKAGE):
        module, begun = plugins.load(PACKAGE, name), time.perf_counter()
        rows = module.measure(asked.runs)
        print(f"\n## {module.TITLE} ({name}, {time.perf_counter() - begun:.0f} s)\n{table(rows)}", flush=True)
        for sentence in (sentence for row in rows for sentence in row.broken()):
            print(f"BROKEN: {sentence}")
            broken = True
    return int(broken)


if __name__ == "__main__":
    cli.run(main)

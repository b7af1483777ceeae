"""Operating characteristics of the sequential test, by simulation with a fixed seed.

    python -m drift.simulate            # --runs 10000 takes half a minute; --budget 6000

Prints for each truth how often each verdict comes and how many items it takes, against a fixed sample with the same
error rates: a one-sided Tango score test whose size is planned, as a person would have to, for 1 % discordance.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from core import cli
from drift.sequential import Design, NonInferiority

DESIGN = Design(margin=0.005, alpha=0.05, budget=5120)
POWER, PLANNED_DISCORDANCE = 0.90, 0.01
CHUNK_ITEMS, RUNS, SEED = 256, 2000, 20261124


@dataclass(frozen=True)
class Truth:
    """What is true: shares of items that the variant loses and gains, and whether it counts in the stated mix."""

    name: str
    lost: float
    gained: float
    in_mix: bool = True


TRUTHS = (
    Truth("equal, 0.1 % differ", 0.0005, 0.0005),
    Truth("equal, 0.5 % differ", 0.0025, 0.0025),
    Truth("equal, 1 % differ", 0.0050, 0.0050),
    Truth("at the margin, 1 % differ", 0.0075, 0.0025),
    Truth("2 points worse", 0.0250, 0.0050),
    Truth("5 points worse", 0.0550, 0.0050),
    Truth("at the margin, 0.5 % differ", 0.0050, 0.0, in_mix=False),
    Truth("at the margin, 3 % differ", 0.0175, 0.0125, in_mix=False),
    Truth("equal, 3 % differ", 0.0150, 0.0150, in_mix=False),
    Truth("1 point worse", 0.0125, 0.0025, in_mix=False),
)


@dataclass(frozen=True)
class Outcome:
    """What one truth led to over `runs` runs: shares of verdicts, mean and 90th percentile of items spent."""

    truth: Truth
    passed: float
    failed: float
    mean_items: float
    p90_items: float


def simulate(truth: Truth, design: Design = DESIGN, runs: int = RUNS, chunk: int = CHUNK_ITEMS) -> Outcome:
    """Play the test as `evaluate` does: a look after every chunk, until decided, futile or out of budget."""
    rng = np.random.default_rng([SEED, int(1e6 * truth.lost), int(1e6 * truth.gained)])
    test = NonInferiority(design, runs)
    verdict, spent, running = np.zeros(runs, int), np.full(runs, design.budget), np.ones(runs, bool)
    for item in range(1, design.budget + 1):
        luck = rng.random(runs)
        test.step((luck > 1 - truth.gained).astype(float) - (luck < truth.lost))
        if item % chunk == 0 or item == design.budget:
            passed, failed = running & test.passed(), running & test.failed()
            stopped = passed | failed | (running & test.is_futile())
            verdict[passed], verdict[failed], spent[stopped] = 1, -1, item
            running &= ~stopped
            if not running.any():
                break
    share = [float((verdict == value).mean()) for value in (1, -1)]
    return Outcome(truth, share[0], share[1], float(spent.mean()), float(np.quantile(spent, 0.9)))


def fixed_items(design: Design = DESIGN) -> int:
    """Items of the one-sided Tango score test with error rate alpha at the margin and POWER when truly equal.

    Source: Liu, Hsueh, Hsieh & Chen, Statistics in Medicine 2002 (sample size by the restricted variance).
    """
    half = PLANNED_DISCORDANCE / 2
    at_margin = score_variance(half, half, -design.margin)
    needed = norm.ppf(1 - design.alpha) * math.sqrt(at_margin) + norm.ppf(POWER) * math.sqrt(PLANNED_DISCORDANCE)
    return math.ceil(float(needed / design.margin) ** 2)


def fixed_pass_share(truth: Truth, items: int, design: Design = DESIGN, runs: int = 20_000) -> float:
    """How often the fixed sample of `items` passes."""
    rng = np.random.default_rng(SEED)
    counts = rng.multinomial(items, [truth.lost, truth.gained, 1 - truth.lost - truth.gained], size=runs)
    z = score_z(counts[:, 1], counts[:, 0], items, -design.margin)
    return float((z > norm.ppf(1 - design.alpha)).mean())


def score_variance(gained: Any, lost: Any, delta: float) -> Any:
    """Variance of one difference when its mean is held at `delta`, by restricted maximum likelihood (Tango, eq. 5).

    `gained` and `lost` are shares of the items (scalars or arrays of one shape). Source: Tango, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 1998.
    """
    b = -gained - lost + (2 - gained + lost) * delta
    c = -lost * delta * (1 - delta)
    lost_at_delta = (np.sqrt(b * b - 8 * c) - b) / 4
    return np.maximum(2 * lost_at_delta + delta * (1 - delta), 0.0)


def score_z(gained: Any, lost: Any, items: int, delta: float) -> Any:
    """Tango's z for "the mean difference is `delta`"; large means it is higher. Counts, scalars or arrays."""
    variance = score_variance(gained / items, lost / items, delta)
    distance = (gained - lost) / items - delta
    return np.where(variance > 0, distance * np.sqrt(items) / np.sqrt(np.maximum(variance, 1e-300)), 0.0)


def mean_share(outcomes: list[Outcome], items: int) -> float:
    """Items spent over those of the fixed sample, averaged over the truths in the mix."""
    return float(np.mean([outcome.mean_items / items for outcome in outcomes if outcome.truth.in_mix]))


def table(outcomes: list[Outcome], items: int) -> str:
    """The table of the docs, as Markdown; truths outside the stated mix are marked."""
    lines = [
        "| truth | pass | fail | inconclusive | items, mean | items, p90 | of the fixed sample |",
        "|---|---|---|---|---|---|---|",
    ]
    for outcome in outcomes:
        name = outcome.truth.name + ("" if outcome.truth.in_mix else " (not in the mix)")
        open_share = 1 - outcome.passed - outcome.failed
        lines.append(
            f"| {name} | {outcome.passed:.1%} | {outcome.failed:.1%} | {open_share:.1%} "
            f"| {outcome.mean_items:.0f} | {outcome.p90_items:.0f} | {outcome.mean_items / items:.0%} |"
        )
    lines.append(f"| mean of the mix | | | | | | {mean_share(outcomes, items):.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="simulated evaluations for each truth")
    parser.add_argument("--budget", type=int, default=DESIGN.budget, help="items that may be spent")
    asked = parser.parse_args()
    design, runs = replace(DESIGN, budget=asked.budget), asked.runs
    items, error = fixed_items(design), 2 * math.sqrt(0.05 * 0.95 / runs)
    print(
        f"margin {100 * design.margin} points, alpha {design.alpha}, budget {design.budget} items, a look every "
        f"{CHUNK_ITEMS}, {runs} runs\n(5 % is known to +-{error:.1%}); the fixed sample has {items} items "
        "(planned for 1 % discordance, power 90 %)\n"
    )
    print(table([simulate(truth, design, runs) for truth in TRUTHS], items))


if __name__ == "__main__":
    cli.run(main)

"""What the simulations share: one truth played, as a row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from drift.power import Played, changes, play
from drift.sequential import Bools, Design, Floats, NonInferiority
from drift.simulations import Row

Limits = Mapping[str, float]

SEED = 20261124
NONE: Limits = {}
WRONG: Limits = {"passed": 0.05}
WRONG_AT_MARGIN: Limits = {"passed": 0.05, "failed": 0.05}  # there either verdict is wrong


def play_changes(
    truth: str, design: Design, runs: int, lost: float, gained: float, at_most: Limits = NONE, at_least: Limits = NONE
) -> Row:
    """A variant that loses and gains these shares of the items."""
    rng = np.random.default_rng([SEED, int(1e6 * lost), int(1e6 * gained)])
    draw = changes(rng, np.full(runs, lost), np.full(runs, gained), population=design.population)
    return row(truth, play(NonInferiority(design, runs), draw), at_most, at_least)


def play_items(design: Design, d: Floats, stop_futile: bool = True) -> Played:
    """Differences that are there already, shape (runs, items)."""
    return play(NonInferiority(design, len(d)), lambda item: d[:, item], stop_futile=stop_futile)


def row(truth: str, ended: Played, at_most: Limits = NONE, at_least: Limits = NONE) -> Row:
    """The three verdicts as shares, and the items spent."""
    shares = {"passed": float(ended.passed.mean()), "failed": float(ended.failed.mean())}
    shares["inconclusive"] = 1 - shares["passed"] - shares["failed"]
    p90 = float(np.quantile(ended.items, 0.9))
    return Row(truth, len(ended.passed), shares, float(ended.items.mean()), p90, at_most, at_least)


def passes(truth: str, passed: Bools, at_most: Limits = NONE) -> Row:
    """Only how often a variant at the margin gets through; shape (runs,)."""
    return Row(truth, len(passed), {"passed": float(passed.mean())}, at_most=at_most)

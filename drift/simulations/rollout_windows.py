"""The two analyses of a rollout with the conditions of params.yaml, through rollout.analysis itself.

Answers: the live slot and the version are asked the same questions; a version also differs by noise, anew in each
phase. Only a phase's last measurement is taken: what the bounds have refuted stays refuted. Latencies: requests are
log-normal, and the tokens of one request share its pace, so that they are no independent samples; they are read from
histograms with the server's own buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core import params
from drift.sequential import Floats
from drift.simulations import Row
from drift.simulations.parts import NONE, SEED, Limits
from rollout import analysis
from rollout.analysis import Answers, Figures
from rollout.params import AnalysisPhase
from rollout.targets import Sample
from serving.metrics import ITL_S, TTFT_S

TITLE = "Rollout windows as shipped: how often a version is stopped before the switch, and at all"
MOST_RUNS = 400  # a run asks 480 questions
EVEN, UNEVEN = (0.7, 0.7), (0.95, 0.3)  # accuracy in each of two tasks
TOKENS, PACE = 40, 0.2  # of an answer, and the spread of its pace (of the logarithm)
IDENTICAL, CAUGHT = {"stopped": 0.01}, {"stopped before": 0.80}
OLD_ANSWERS = {"answers": "right_share >= baseline_right_share - 0.25"}
OLD_TTFT = {"ttft": "ttft_p95_ms <= max(1.5 * baseline_ttft_p95_ms, 100)"}

Play = Callable[[np.random.Generator], tuple[bool, bool]]  # one rollout → stopped before the switch, at all


@dataclass(frozen=True)
class Version:
    """Shares of the questions that it loses and gains against the live slot, whose accuracy is `tasks`."""

    tasks: tuple[float, float]
    lost: float
    gained: float


def measure(runs: int) -> list[Row]:
    phases = params.raw(Path(__file__).parents[2] / "params.yaml")["rollout"]
    before, after = (AnalysisPhase.model_validate(phases[side]) for side in ("before", "after"))
    runs = min(runs, MOST_RUNS)

    def row(truth: str, play: Play, at_most: Limits = NONE, at_least: Limits = NONE) -> Row:
        rng = np.random.default_rng([SEED, len(truth)])
        early, stopped = np.mean([play(rng) for _ in range(runs)], axis=0)
        shares = {"stopped before": float(early), "stopped": float(stopped)}
        return Row(truth, runs, shares, at_most=at_most, at_least=at_least)

    def answers(tasks: tuple[float, float], lost: float, gained: float) -> Play:
        version = Version(tasks, lost, gained)
        return lambda rng: _asked(rng, before, after, version)

    def times(spread: float, requests: int, slowdown: float, phase: AnalysisPhase = before) -> Play:
        return lambda rng: (_timed(rng, phase, spread, requests, slowdown),) * 2

    few = after.model_copy(update={"suite_items": 8, "success_condition": OLD_ANSWERS})
    plain = before.model_copy(update={"success_condition": OLD_TTFT})
    return [
        row("identical, tasks in blocks, a prefix against the whole, unprotected", lambda rng: _prefix(rng, few)),
        row("identical, 1 % noise each way", answers(EVEN, 0.01, 0.01), IDENTICAL),
        row("identical, uneven tasks, 2 % noise each way", answers(UNEVEN, 0.02, 0.02), IDENTICAL),
        row("10 points worse, 1 % noise", answers(EVEN, 0.11, 0.01), NONE, CAUGHT),
        row("10 points worse, uneven tasks, 2 % noise", answers(UNEVEN, 0.12, 0.02), NONE, CAUGHT),
        row("as fast, 20 requests a window, their p95, unprotected", times(0.6, 20, 1, plain)),
        row("as fast, 20 requests a window", times(0.3, 20, 1), IDENTICAL),
        row("as fast, 20 requests a window, wide spread", times(0.6, 20, 1), IDENTICAL),
        row("first token twice as late, 20 requests a window", times(0.3, 20, 2), NONE, CAUGHT),
        row("first token twice as late, 20 requests a window, wide spread", times(0.6, 20, 2)),
        row("first token twice as late, 100 requests a window, wide spread", times(0.6, 100, 2), NONE, CAUGHT),
    ]


def _failed(phase: AnalysisPhase, own: Figures, baseline: Figures, names: Sequence[str]) -> bool:
    only = {name: phase.success_condition[name] for name in names if name in phase.success_condition}
    checks = analysis.measure(phase.model_copy(update={"success_condition": only}), 0.0, own, baseline).checks
    return any(check.outcome == "Failed" for check in checks.values())


def _asked(
    rng: np.random.Generator, before: AnalysisPhase, after: AnalysisPhase, version: Version
) -> tuple[bool, bool]:
    accuracy = rng.choice(version.tasks, before.suite_items * before.count)
    live = rng.random(len(accuracy)) < accuracy
    mean = np.mean(version.tasks)
    stopped = []
    for phase in (before, after):
        flips = rng.random(len(live)) < np.where(live, version.lost / mean, version.gained / (1 - mean))
        own, was = (
            Answers.of({str(at): bool(right) for at, right in enumerate(one)}) for one in (live ^ flips, live)
        )
        figures = analysis.shares(own) | analysis.paired(phase, own, was)
        stopped.append(_failed(phase, figures, analysis.shares(was), ["answers"]))
    return stopped[0], any(stopped)


def _prefix(rng: np.random.Generator, after: AnalysisPhase) -> tuple[bool, bool]:
    """As it was: the tasks one after the other, the answers so far against the old slot's whole share."""
    right = rng.random(after.suite_items * after.count) < np.repeat(
        UNEVEN[::-1], after.suite_items * after.count // 2
    )
    whole = analysis.shares(_counted(right))
    looks = (right[: after.suite_items * look] for look in range(1, after.count + 1))
    return False, any(_failed(after, analysis.shares(_counted(one)), whole, ["answers"]) for one in looks)


def _counted(right: np.ndarray) -> Answers:
    return Answers(asked=len(right), answered=len(right), right=int(right.sum()))


def _timed(rng: np.random.Generator, phase: AnalysisPhase, spread: float, requests: int, slowdown: float) -> bool:
    sides = []
    for factor in (slowdown, 1.0):  # of the first token alone: the others are many more samples
        ttft_s = 0.15 * factor * np.exp(spread * rng.standard_normal((phase.count, requests)))
        pace = PACE * rng.standard_normal((phase.count, requests, 1))
        itl_s = 0.03 * np.exp(pace + spread * rng.standard_normal((phase.count, requests, TOKENS)))
        samples = [Sample(0.0, "p", 0, ttft_ms={}, itl_ms={})]
        for look in range(1, phase.count + 1):
            ttft, itl = (_histogram(times[:look], bounds) for times, bounds in ((ttft_s, TTFT_S), (itl_s, ITL_S)))
            samples.append(Sample(float(look), "p", look * requests, ttft_ms=ttft, itl_ms=itl))
        sides.append(samples)

    def figures(samples: Sequence[Sample], look: int) -> Figures:
        bounds = analysis.p95_bounds(samples[0], samples[look], phase.count)
        return analysis.window(samples[look - 1], samples[look]) | bounds

    return any(
        _failed(phase, figures(sides[0], look), figures(sides[1], look), ["ttft", "itl"])
        for look in range(1, phase.count + 1)
    )


def _histogram(times_s: Floats, bounds_s: Sequence[float]) -> Mapping[float, int]:
    counts = np.searchsorted(np.sort(times_s, axis=None), bounds_s, side="right")
    return {1000 * bound: int(count) for bound, count in zip(bounds_s, counts, strict=True)} | {
        math.inf: times_s.size
    }

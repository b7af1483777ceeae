"""What an evaluation is asked, resolved from params once: margin, gates, decoding, and what it is a test of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import ConfigError
from drift import metrics
from drift.metrics import Chosen
from drift.sequential import Design
from evaluation.attempts import Ledger
from evaluation.decoding import Decoding, decoding_of
from evaluation.params import EvaluateParams, GenerationParams
from models.params import Recipe


@dataclass(frozen=True)
class EvaluationPlan:
    """The margin is in percentage points; `claim` names what is judged, whatever the items: see attempts.py."""

    name: str
    margin_points: float
    evaluate: EvaluateParams
    metrics: Chosen
    decoding: Decoding
    seed: int
    claim: str

    def design(self, budget: int, attempts: Ledger) -> Design:
        """Of the sequential test over `budget` items (clusters)."""
        samples = self.decoding.samples
        return Design(
            margin=self.margin_points / 100,
            alpha=self.evaluate.own_alpha,
            budget=budget,
            population=budget if self.evaluate.target == "benchmark" else None,
            earlier_budgets=attempts.earlier_budgets,
            earlier_wealth=attempts.attempt.earlier_wealth,
            expected_square=0.2 / samples if samples > 1 else 0.01,
        )


def make(
    name: str,
    recipe: Recipe,
    evaluate: EvaluateParams,
    generation: GenerationParams,
    seed: int,
    model_folder: Path,
    reference_sha256: str,
    purpose: Literal["evaluate", "confirm"],
) -> EvaluationPlan:
    """The plan for one recipe. Raises ConfigError for settings that do not go together.

    To confirm is to test accuracy alone, on other items: the other gates have judged, and each for itself.
    """
    sampled = decoding_of(generation, model_folder)
    decoding = Decoding(generation.max_tokens, evaluate.batch, evaluate.chunk_items, sampled, seed)
    if evaluate.target == "benchmark" and decoding.samples > 1:
        raise ConfigError(
            "params.yaml: evaluate.target is benchmark, which has no room for the luck of sampled answers: set it to "
            "population, or generation.decoding to greedy"
        )
    claim = {"purpose": purpose, "reference": reference_sha256, "quantizer": recipe.quantizer}
    claim |= {"runtime": recipe.runtime, "options": json.dumps(recipe.options, sort_keys=True)}
    return EvaluationPlan(
        name=name,
        margin_points=evaluate.margin_of(recipe),
        evaluate=evaluate,
        metrics=metrics.choose(evaluate.metrics, recipe.limits) if purpose == "evaluate" else {},
        decoding=decoding,
        seed=seed,
        claim=json.dumps(claim, sort_keys=True),
    )

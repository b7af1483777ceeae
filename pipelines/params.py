"""params.yaml as a whole. Loading checks everything that can be checked without touching a model."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import model_validator

import quantizers
import runtimes
from benchmarks.params import BenchmarkParams
from calibration.params import CalibrateParams
from ci.params import CiSettings
from core import params
from core.errors import ConfigError
from core.params import PARAMS_FILE
from data import splits
from drift import metrics
from evaluation.params import EvaluateParams
from rollout.params import RolloutSettings
from selection.params import SelectSettings
from trt.params import CompileParams


class Params(CiSettings, RolloutSettings, SelectSettings):
    """Every key that there is. A stage or a command that needs some of them has a type of its own for those."""

    calibrate: CalibrateParams
    compile: CompileParams = CompileParams()
    evaluate: EvaluateParams
    benchmark: BenchmarkParams

    @model_validator(mode="after")
    def _plugins_take_their_options(self) -> Self:
        """Each quantizer, runtime, suite and metric is asked; they raise ConfigError with the key."""
        for name, recipe in self.recipes.items():
            quantizers.options(name, recipe)
            runtimes.check_batch(recipe.runtime, self.evaluate.batch, "params.yaml: evaluate.batch")
            runtimes.check_batch(
                recipe.runtime, self.benchmark.batches[-1], "params.yaml: the last of benchmark.batches"
            )
            if quantizers.traits(recipe).compiled and self.generation.max_tokens >= self.compile.context_tokens:
                raise ConfigError(
                    f"params.yaml: recipes.{name}: compile.context_tokens is {self.compile.context_tokens}, which "
                    f"generation.max_tokens ({self.generation.max_tokens}) fills without a prompt: raise it"
                )
        splits.options(self.data)
        for recipe in self.recipes.values():
            metrics.choose(self.evaluate.metrics, recipe.limits)
        return self


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml; every problem is reported with its key, as one ConfigError."""
    return params.check(Params, params.raw(path), path)

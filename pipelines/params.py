"""params.yaml as a whole. Loading checks everything that can be checked without touching a model."""

from __future__ import annotations

from pathlib import Path

from benchmarks.params import BenchmarkParams
from calibration.params import CalibrateParams
from ci.params import CiSettings
from core import params
from core.params import PARAMS_FILE
from data.params import DataParams
from evaluation.params import EvaluateParams, GenerationParams
from host.params import MachineParams
from models.params import ModelParams
from rollout.params import RolloutSettings
from selection.params import SelectSettings
from trt.params import CompileParams


class Params(CiSettings, RolloutSettings, SelectSettings):
    """Every key that there is. A stage or a command that needs some of them has a type of its own for those."""

    seed: int
    model: ModelParams
    machine: MachineParams
    data: DataParams
    generation: GenerationParams
    calibrate: CalibrateParams
    compile: CompileParams = CompileParams()
    evaluate: EvaluateParams
    benchmark: BenchmarkParams


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml; every problem is reported with its key, as one ConfigError."""
    return params.check(Params, params.raw(path), path)

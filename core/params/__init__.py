"""params.yaml as typed objects, a file for each of its readers. `load()` reads and checks the whole."""

from __future__ import annotations

from core.params.file import PARAMS_FILE, Params, load
from core.params.recipes import CiParams, Recipe
from core.params.rollout import (
    AnalysisPhase,
    JwtParams,
    KubernetesParams,
    LocalParams,
    RateLimitParams,
    RolloutParams,
    RolloutTimeouts,
)
from core.params.section import Section
from core.params.stages import (
    BenchmarkParams,
    CalibrateParams,
    CompileParams,
    DataParams,
    EvaluateParams,
    GenerationParams,
    MachineParams,
    ModelParams,
    SelectParams,
    SloParams,
    SuiteParams,
    TargetParams,
)

__all__ = [
    "PARAMS_FILE",
    "AnalysisPhase",
    "BenchmarkParams",
    "CalibrateParams",
    "CiParams",
    "CompileParams",
    "DataParams",
    "EvaluateParams",
    "GenerationParams",
    "JwtParams",
    "KubernetesParams",
    "LocalParams",
    "MachineParams",
    "ModelParams",
    "Params",
    "RateLimitParams",
    "Recipe",
    "RolloutParams",
    "RolloutTimeouts",
    "Section",
    "SelectParams",
    "SloParams",
    "SuiteParams",
    "TargetParams",
    "load",
]

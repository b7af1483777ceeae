"""params.yaml as typed objects. Loading checks everything that can be checked without touching a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core import plugins
from core.errors import ConfigError, wrong_fields

PARAMS_FILE = Path("params.yaml")


class Section(BaseModel):
    """A part of params.yaml: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelParams(Section):
    source: str = Field(description="local folder, hub id, s3://bucket/prefix or models:/name@alias")
    revision: str | None = Field(default=None, description="full commit hash; required for a hub id")
    name: str = Field(default="assay", description="name in the MLflow registry")


class MachineParams(Section):
    threads: int = Field(default=2, ge=1, description="intra-op threads of every runtime")


class SuiteParams(Section):
    """One source of items. `kind` is a file in data/suites/; `options` is checked by that file's own model."""

    kind: str
    weight: float = Field(default=1.0, gt=0)
    options: dict[str, Any] = Field(default_factory=dict)


class DataParams(Section):
    train_items: int = Field(ge=10)
    calibration_share: float = Field(default=0.10, gt=0, lt=1, description="of the training items")
    evaluation_items: int = Field(ge=50, description="item budget of the sequential test")
    benchmark_items: int = Field(ge=1)
    suites: dict[str, SuiteParams]


class GenerationParams(Section):
    max_tokens: int = Field(ge=1, description="new tokens for each answer; the prompt is not counted")


class CalibrateParams(Section):
    prefill_items: int = Field(ge=1, description="calibration items run as whole sequences")
    decode_items: int = Field(ge=1, description="calibration items run token by token with a real KV cache")
    decode_steps: int = Field(ge=1)
    batch: int = Field(default=16, ge=1)
    sample_rows: int = Field(
        default=1024, ge=64, description="activation rows kept per matmul input, chosen uniformly"
    )


class TargetParams(Section):
    """A GPU that engines are compiled for. Memory is what nvidia-smi calls total."""

    compute_capability: str = Field(pattern=r"^\d+\.\d$")
    memory_mib: float = Field(gt=0)


class CompileParams(Section):
    """TensorRT engines: one for each of `recipes` and each of `targets`."""

    recipes: list[str] = Field(default_factory=list, description="those whose runtime is tensorrt")
    batches: list[int] = Field(default=[16], min_length=1, description="a profile ends at each of these sizes")
    prefill_tokens: int = Field(default=384, ge=1, description="longest prompt, or text to score")
    context_tokens: int = Field(default=512, ge=2, description="prompt and answer: the KV cache of each row")
    workspace_mib: int = Field(default=4096, ge=1, description="the builder's memory-pool limit")
    reserve_mib: float = Field(default=768, ge=0, description="what CUDA and torch take for themselves")
    targets: dict[str, TargetParams] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sizes_rise(self) -> Self:
        if self.batches != sorted(set(self.batches)) or self.batches[0] < 1:
            raise ValueError("batches must rise from at least 1")
        if self.prefill_tokens > self.context_tokens:
            raise ValueError("prefill_tokens must not exceed context_tokens")
        return self


class EvaluateParams(Section):
    chunk_items: int = Field(ge=1, description="items between two looks; also the unit of resuming")
    batch: int = Field(ge=1, le=32, description="onnxruntime-genai takes at most 32 sequences at once")
    alpha: float = Field(gt=0, lt=0.5, description="error rate of a wrong pass, and of a wrong fail")
    margin_points: float = Field(gt=0, description="largest accepted loss of accuracy, in percentage points")
    teacher_forced_items: int = Field(ge=1)


class BenchmarkParams(Section):
    batches: list[int]
    output_tokens: int = Field(ge=2)
    rounds: int = Field(ge=3, description="interleaved repetitions of each workload")
    warmup_rounds: int = Field(default=1, ge=1)


class SloParams(Section):
    ttft_p95_ms: float = Field(gt=0)
    itl_p95_ms: float = Field(gt=0)


class SelectParams(Section):
    objective: Literal["throughput", "latency", "size"]
    max_size_ratio: float | None = Field(default=None, gt=0, description="artifact size over fp32's")
    slo: SloParams


class Recipe(Section):
    """How to optimise. `quantizer` and `runtime` are file names; `options` is checked by the quantizer."""

    quantizer: str
    runtime: str = "ort"
    margin_points: float | None = Field(default=None, gt=0, description="overrides evaluate.margin_points")
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("quantizer")
    @classmethod
    def _quantizer_exists(cls, name: str) -> str:
        if name not in plugins.known("models.quantizers"):
            raise ValueError(f"no quantizer '{name}'; known: {', '.join(plugins.known('models.quantizers'))}")
        return name

    @field_validator("runtime")
    @classmethod
    def _runtime_exists(cls, name: str) -> str:
        if name not in plugins.known("models.runtimes"):
            raise ValueError(f"no runtime '{name}'; known: {', '.join(plugins.known('models.runtimes'))}")
        return name


class CiParams(Section):
    """What GitLab's jobs need to know of the recipes; ci/recipes.yml is made from it."""

    runners: dict[str, str] = Field(
        default_factory=dict, description="tag of the runner that a recipe needs, by its runtime; others run on `cpu`"
    )


class RolloutTimeouts(Section):
    """Deadlines of the rollout's waiting states, in seconds; an analysis phase has its own, `deadline_s`."""

    call_s: float = Field(default=10, gt=0, description="one call to a target; also how long a slot may be unready")
    answer_s: float = Field(default=60, gt=0, description="one answer to a question of a suite")
    verify_s: float = Field(default=600, gt=0, description="hashing every file again")
    ready_s: float = Field(default=300, gt=0, description="a slot from its start to ready")
    approval_s: float = Field(default=3600, gt=0)
    switch_s: float = Field(default=60, gt=0)
    drain_s: float = Field(default=120, gt=0, description="the old slot's open streams; then it is stopped")
    finish_s: float = Field(default=300, gt=0, description="drain, aliases and stop together; also of going back")


class AnalysisPhase(Section):
    """One side of the switch, in the words of Argo Rollouts. Conditions use the names of rollout/condition.py."""

    interval_s: float = Field(default=10, gt=0)
    count: int = Field(default=6, ge=1, description="measurements")
    failure_limit: int = Field(default=0, ge=0, description="failed measurements of one condition that are borne")
    inconclusive_limit: int = Field(default=1, ge=0)
    min_requests: int = Field(default=20, ge=1, description="in one interval; fewer are inconclusive")
    suite_items: int = Field(default=8, ge=0, description="verifiable questions asked at each measurement")
    success_condition: dict[str, str] = Field(min_length=1)

    @property
    def deadline_s(self) -> float:
        """Twice the planned length and a minute: asking the questions takes time too."""
        return 2 * self.interval_s * self.count + 60

    @model_validator(mode="after")
    def _some_must_succeed(self) -> Self:
        if self.failure_limit + self.inconclusive_limit >= self.count:
            raise ValueError("failure_limit + inconclusive_limit must be less than count, or nothing has to succeed")
        return self


class JwtParams(Section):
    """Who may pass the local gateway: bearers of a token that one of the keys has signed. Keys are public ones."""

    issuer: str = Field(min_length=1, description="claim `iss`")
    audiences: list[str] = Field(default_factory=list, description="claim `aud`: one of them; empty: any")
    jwks: Path = Field(description="JSON Web Key Set (RFC 7517), read when the gateway starts")


class RateLimitParams(Section):
    """A token bucket for each caller: the token's `sub` where there are tokens, the address elsewhere."""

    requests: int = Field(ge=1, description="in `per_s`, all at once if need be")
    per_s: int = Field(default=60, ge=1)
    callers: int = Field(default=10_000, ge=1, description="that are remembered at a time")


class LocalParams(Section):
    """The `local` target: Envoy and two server processes on this machine."""

    state: Path = Field(default=Path(".cache/assay/local"), description="routes, sockets, logs; one for each Envoy")
    host: str = Field(default="127.0.0.1", description="where the gateway listens; the slots stay on loopback")
    port: int = Field(default=8080, ge=1, le=65535)
    blue_port: int = Field(default=8081, ge=1, le=65535)
    green_port: int = Field(default=8082, ge=1, le=65535)
    gateway_threads: int = Field(default=1, ge=1)
    max_mirrored: int = Field(default=32, ge=1, description="copies under way at once; further ones are dropped")
    jwt: JwtParams | None = Field(default=None, description="none: everyone who reaches the gateway may ask")
    rate_limit: RateLimitParams | None = None
    serve: dict[str, str | int | float] = Field(
        default_factory=dict, description="options of pipelines.serve, e.g. max_batch: 16"
    )


class KubernetesParams(Section):
    """Where targets `kubernetes` and `argo` find things; the objects are in deploy/kubernetes/rollout/."""

    namespace: str = "assay"
    image: str = Field(
        default=f"assay/server@sha256:{64 * '0'}",
        pattern="@sha256:[0-9a-f]{64}$",
        description="the server's, by digest and never by tag: what CI's job `build` prints",
    )
    replicas: int = Field(default=1, ge=1)
    port: int = 8000
    claim: str = Field(default="assay-versions", description="volume claim with one folder for each digest")
    keep_s: int = Field(default=86400, ge=1, description="argo: how long the old slot stays for a rollback")
    prometheus: str = Field(default="http://prometheus.monitoring.svc:9090", description="argo's analysis asks it")
    slot_url: str = Field(default="http://assay-{slot}.{namespace}.svc:{port}", description="asked past the gateway")


class RolloutParams(Section):
    environment: str = "production"
    target: str = Field(default="local", description="a file in rollout/targets/")
    record: Path = Field(default=Path("rollout.db"), description="SQLite file with the hash-chained events")
    suite: str | None = Field(default=None, description="key in data.suites for questions; default: the first")
    mirror_percent: float = Field(default=100, gt=0, le=100, description="of users' requests, to the preview")
    poll_s: float = Field(default=0.5, gt=0)
    keep_previous: bool = Field(default=True, description="the old slot stays up, idle, for an immediate rollback")
    local: LocalParams = LocalParams()
    timeouts: RolloutTimeouts = RolloutTimeouts()
    kubernetes: KubernetesParams = KubernetesParams()
    before: AnalysisPhase
    after: AnalysisPhase


class Params(Section):
    seed: int
    model: ModelParams
    machine: MachineParams
    data: DataParams
    generation: GenerationParams
    calibrate: CalibrateParams
    compile: CompileParams = CompileParams()
    evaluate: EvaluateParams
    benchmark: BenchmarkParams
    select: SelectParams
    rollout: RolloutParams
    ci: CiParams = CiParams()
    recipes: dict[str, Recipe]

    @field_validator("recipes")
    @classmethod
    def _names_are_path_safe(cls, recipes: dict[str, Recipe]) -> dict[str, Recipe]:
        if not recipes:
            raise ValueError("at least one recipe is needed")
        for name in recipes:
            if not name.replace("-", "").isalnum():
                raise ValueError(
                    f"recipe name '{name}': letters, digits and hyphens only (DVC reads a dot as a path)"
                )
        return recipes

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`; raises ConfigError naming the known ones."""
        if name not in self.recipes:
            raise ConfigError(f"params.yaml has no recipe '{name}'; known: {', '.join(self.recipes)}")
        return self.recipes[name]

    def runner(self, recipe_name: str) -> str:
        """The tag of the GitLab runner that makes and measures a recipe."""
        return self.ci.runners.get(self.recipe(recipe_name).runtime, "cpu")

    def margin_points(self, recipe_name: str) -> float:
        """The drift margin that holds for a recipe, in percentage points."""
        return self.recipe(recipe_name).margin_points or self.evaluate.margin_points


def load(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml; every problem is reported with its key, as one ConfigError."""
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path} not found: run from the project's root") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: {wrong_fields(error)}") from error

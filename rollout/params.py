"""What params.yaml says of a rollout: its deadlines, its analysis and its targets."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from core.params import Section
from data.params import DataParams
from evaluation.params import GenerationParams
from gateway.params import JwtParams, RateLimitParams
from host.params import MachineParams
from models.params import ModelParams


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


class RolloutSettings(Section):
    """What a rollout reads of params.yaml."""

    seed: int
    model: ModelParams
    machine: MachineParams
    data: DataParams
    generation: GenerationParams
    rollout: RolloutParams

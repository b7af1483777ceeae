"""The records that cross stages, in one place. Units are in the names; every estimate carries its count."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from core import files
from core.errors import DataError

Verdict = Literal["pass", "fail", "inconclusive"]
VariantName = str


class Record(BaseModel):
    """A file that one stage writes and another reads: JSON, atomic, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def save(self, path: Path) -> None:
        files.write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            return cls.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise DataError(f"{path} not found: run the stage that writes it (`dvc repro`)") from None
        except ValueError as error:
            raise DataError(f"{path} is not a {cls.__name__}: {error}") from error


class Item(Record):
    """One task for the model. `answer` is what the scorer of data/suites/<kind>.py checks a reply against."""

    id: str
    suite: str  # the suite's key in params
    task: str
    question: str
    answer: str
    solution: str | None = None  # worked text that ends in the answer, where the suite has one
    kind: str = "problems"  # file in data/suites/ that made the item and scores replies to it
    metadata: str | None = None  # JSON that this kind's scorer needs besides the answer


class Interval(Record):
    """An estimate with its uncertainty and the count it rests on."""

    value: float
    low: float
    high: float
    level: float
    count: int


# ── prepare ───────────────────────────────────────────────────────────────────────────────────────────────────────
class DataCheck(Record):
    """One expectation about the data, and in how many of `items` it did not hold (None: it is about the whole)."""

    name: str
    column: str | None
    items: int
    unexpected: int | None
    passed: bool


class DataChecks(Record):
    """What Great Expectations found; `summary.json` beside its data docs, in short for the report."""

    version: str  # of great_expectations
    checks: list[DataCheck]


# ── compile ───────────────────────────────────────────────────────────────────────────────────────────────────────
class EngineMemory(Record):
    """What an engine needs on its card at the largest batch and the whole context, beside what the card has."""

    batch: int
    context_tokens: int
    weights_mib: float
    kv_cache_mib: float  # past and present
    logits_mib: float
    activation_mib: float | None  # known once the engine is compiled
    reserve_mib: float
    target_mib: float

    @property
    def total_mib(self) -> float:
        parts = (self.weights_mib, self.kv_cache_mib, self.logits_mib, self.activation_mib or 0.0, self.reserve_mib)
        return sum(parts)


class EngineLayers(Record):
    """What the builder made of the graph, over all profiles: read from the engine, not from what was asked."""

    engine_layers: int
    matmuls: dict[str, int]  # precision → weight matmuls of the graph that run in it, in every profile
    int8_wanted: int
    not_int8: list[str]  # meant to be INT8 and came out otherwise, as `layer (precision, profile)`
    attention: int  # attention operators in the graph
    attention_fused: int  # of these, those that run as one kernel in every profile


class Engine(Record):
    """One recipe for one GPU target, compiled ahead of time; whether it was run is evaluate's to say."""

    target: str
    compute_capability: str
    status: Literal["compiled", "refused", "not_compiled_here"]
    why: str | None  # when not compiled
    library: str | None
    library_version: str | None
    manifest_sha256: str | None
    plan_mib: float | None
    build_s: float | None
    timing_cache: Literal["new", "reused", "remade"] | None
    memory: EngineMemory
    layers: EngineLayers | None


class Compilation(Record):
    """Every engine of one recipe, and the variant that they were made from."""

    variant: VariantName
    made_from: str  # the variant's manifest digest
    profiles: list[str]
    workspace_mib: int
    engines: list[Engine]


# ── evaluate ──────────────────────────────────────────────────────────────────────────────────────────────────────
class Flips(Record):
    both_right: int
    both_wrong: int
    lost: int  # reference right, variant wrong
    gained: int  # reference wrong, variant right
    mcnemar_p: float  # exact, two-sided


class Look(Record):
    """One look of the sequential test, after `items` items. Points are percentage points of accuracy."""

    items: int
    delta_points: float
    low_points: float
    high_points: float


class Behaviour(Record):
    """What a user would notice, as shares of answers in [0, 1] (reference, variant)."""

    truncated: tuple[float, float]
    missing_think_close: tuple[float, float]
    repetitive: tuple[float, float]
    empty: tuple[float, float]
    mean_output_tokens: tuple[float, float]
    identical_answers: float  # share of items whose token ids are the same
    items: int


class TeacherForced(Record):
    """Per-token drift on the reference's own outputs. KL in nats, reference against variant."""

    items: int
    tokens: int
    kl_mean: Interval
    kl_p99: float
    kl_max: float
    top1_agreement: Interval
    perplexity_reference: float
    perplexity_ratio: Interval


class TaskAccuracy(Record):
    task: str
    items: int
    reference: float
    variant: float


class Flip(Record):
    """One item whose correctness changed, with both texts, for the report."""

    item_id: str
    task: str
    question: str
    answer: str
    reference_text: str
    variant_text: str
    direction: Literal["lost", "gained"]


class Evaluation(Record):
    """Drift of one variant against the reference, on its serving runtime."""

    variant: VariantName
    manifest_sha256: str
    runtime: str
    runtime_version: str
    reference_sha256: str
    reference_runtime: str
    seed: int
    status: Literal["measured", "not_measured_here"]
    why_not_measured: str | None = None
    verdict: Verdict
    reason: str
    margin_points: float
    alpha: float
    items: int
    items_budget: int
    items_to_settle: int | None  # estimate; only when inconclusive
    accuracy_reference: Interval | None
    accuracy_variant: Interval | None
    delta_points: Interval | None
    flips: Flips | None
    looks: list[Look]
    by_task: list[TaskAccuracy]
    behaviour: Behaviour | None
    teacher_forced: TeacherForced | None
    flip_examples: list[Flip]
    wall_s: float
    peak_rss_mib: float


# ── benchmark ─────────────────────────────────────────────────────────────────────────────────────────────────────
class Percentiles(Record):
    p50: float
    p95: float
    p99: float
    count: int


class Spread(Record):
    """Median over interleaved rounds, with the lowest and highest round."""

    median: float
    low: float
    high: float
    rounds: int


class Workload(Record):
    """One batch size: latency of every token, throughput of every round, and the ratio round by round."""

    batch: int
    prompt_tokens: int
    output_tokens: int
    ttft_ms: Percentiles
    itl_ms: Percentiles
    output_tok_s: Spread
    decode_tok_s: Spread
    baseline_output_tok_s: Spread
    baseline_decode_tok_s: Spread
    decode_ratio: Spread  # variant over baseline, paired by round
    baseline_ttft_ms: Percentiles | None = None
    baseline_itl_ms: Percentiles | None = None
    itl_quantiles_ms: list[float] = []  # 0th, 5th, … 100th percentile: the distribution, for plots
    baseline_itl_quantiles_ms: list[float] = []


class Machine(Record):
    cpu: str
    cores: int
    memory_mib: float
    accelerator: str | None
    threads: int
    versions: dict[str, str]


class Benchmark(Record):
    """Speed and memory of one variant, interleaved with the baseline (Hugging Face generate, fp32) in one run."""

    variant: VariantName
    manifest_sha256: str
    runtime: str
    baseline: str
    status: Literal["measured", "not_measured_here"]
    why_not_measured: str | None = None
    machine: Machine
    workloads: list[Workload]
    load_ms: Spread | None
    artifact_mib: float
    peak_rss_mib: float | None
    baseline_peak_rss_mib: float | None
    wall_s: float
    notes: list[str] = []  # what a reader must know: a batch that did not fit, a workload kept from a killed run

    def workload(self, batch: int) -> Workload | None:
        """The figures at one batch size, or None where it was not measured."""
        return next((workload for workload in self.workloads if workload.batch == batch), None)


# ── select ────────────────────────────────────────────────────────────────────────────────────────────────────────
class GateResult(Record):
    variant: VariantName
    gate: str
    measured: float | None
    limit: float | None
    unit: str
    verdict: Verdict
    why: str


class Decision(Record):
    """What to serve and why. `variant` is None when no variant passed every gate."""

    variant: VariantName | None
    manifest_sha256: str | None
    sentence: str
    objective: str
    gates: list[GateResult]
    ranking: list[tuple[VariantName, float]]  # variants that passed, best first, with the objective's value
    objective_unit: str


# ── register ──────────────────────────────────────────────────────────────────────────────────────────────────────
class Registration(Record):
    model_name: str
    model_version: int
    variant: VariantName
    manifest_sha256: str
    run_id: str
    alias: str
    created: bool  # False: the same manifest was already registered

"""What `compile` writes: the engines of one recipe."""

from __future__ import annotations

from typing import Literal

from core.records import Record, VariantName


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
    """Every engine of one recipe, and the variant that they were made from; none where the recipe needs none."""

    variant: VariantName
    made_from: str  # the variant's manifest digest; "none" where quantize failed
    profiles: list[str]
    workspace_mib: int
    engines: list[Engine]
    failed: str | None = None  # why there are no engines of a recipe that wants them

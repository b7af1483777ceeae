"""What an engine needs on its card, as a sum. Pure.

The graph takes its past and gives its present in different buffers, so the KV cache counts twice. Prefill gives the
logits of every position, because teacher forcing asks for them.
"""

from __future__ import annotations

from models.families import Architecture
from trt.params import CompileParams
from trt.records import EngineMemory

HALF_BYTES = 2
MIB = 2**20


def kv_cache_bytes(architecture: Architecture, batch: int, tokens: int) -> int:
    """Keys and values of all layers in fp16, past and present."""
    row = 2 * architecture.layers * architecture.kv_heads * architecture.head_dim * HALF_BYTES
    return 2 * batch * tokens * row


def logits_bytes(architecture: Architecture, batch: int, tokens: int) -> int:
    """fp16 logits of every position."""
    return batch * tokens * architecture.vocabulary * HALF_BYTES


def needed(
    architecture: Architecture,
    params: CompileParams,
    target_mib: float,
    weights_bytes: int,
    activation_bytes: int | None = None,
) -> EngineMemory:
    """The sum for the largest batch and the whole context; activations are known once the engine is compiled."""
    batch = params.batches[-1]
    return EngineMemory(
        batch=batch,
        context_tokens=params.context_tokens,
        weights_mib=weights_bytes / MIB,
        kv_cache_mib=kv_cache_bytes(architecture, batch, params.context_tokens) / MIB,
        logits_mib=logits_bytes(architecture, batch, params.prefill_tokens) / MIB,
        activation_mib=None if activation_bytes is None else activation_bytes / MIB,
        reserve_mib=params.reserve_mib,
        target_mib=target_mib,
    )


def refusal(memory: EngineMemory) -> str | None:
    """Why the engine does not fit, with the sum; None if it does."""
    if memory.total_mib <= memory.target_mib:
        return None
    parts = {
        "weights": memory.weights_mib,
        f"KV cache, past and present, of batch {memory.batch} x {memory.context_tokens} tokens": memory.kv_cache_mib,
        "logits": memory.logits_mib,
        "activations": memory.activation_mib,
        "reserve": memory.reserve_mib,
    }
    told = " + ".join(f"{size:,.0f} ({name})" for name, size in parts.items() if size is not None)
    advice = "lower compile.batches, compile.context_tokens or compile.prefill_tokens"
    if memory.weights_mib + memory.reserve_mib >= memory.target_mib:
        advice = "the weights alone are too large, take this target out of compile.targets or the recipe out of "
        advice += "compile.recipes"
    return (
        f"does not fit: {told} = {memory.total_mib:,.0f} MiB, the target has {memory.target_mib:,.0f} MiB: {advice}"
    )

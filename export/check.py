"""Does the graph compute what torch computes? On a prefill and on decode steps over the graph's own KV cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ExportError
from models import families

# Largest accepted |difference| of a logit, as a share of the largest |logit|. Rounding alone gives about 1e-6 in fp32
# and 1e-3 in fp16; a wrong mask, position or weight gives 1e-1 and more.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2}
PREFILL_TOKENS = 24
DECODE_STEPS = 4
BATCH = 2


def compare(model_folder: Path, graph: Path, threads: int, seed: int) -> dict[str, float | str]:
    """Largest relative logit difference of `graph` against torch, on prefill and on decode; random tokens.

    Returns {"prefill", "decode", "tolerance", "dtype"}. Raises ExportError when either is above TOLERANCE.
    """
    architecture = families.read(model_folder)
    length = PREFILL_TOKENS + DECODE_STEPS
    ids = np.random.default_rng(seed).integers(0, architecture.vocabulary, (BATCH, length), dtype=np.int64)
    expected = _torch_logits(model_folder, ids, threads)
    session = _session(graph, threads)
    dtype = _cache_dtype(session)
    actual = _graph_logits(session, architecture, ids, dtype)
    scale = float(np.abs(expected).max())
    difference = np.abs(actual - expected) / scale
    prefill, decode = float(difference[:, :PREFILL_TOKENS].max()), float(difference[:, PREFILL_TOKENS:].max())
    tolerance = TOLERANCE[dtype.name]
    if not max(prefill, decode) <= tolerance:  # also true when a logit is NaN
        raise ExportError(
            f"{graph} differs from torch by {prefill:.1e} (prefill) and {decode:.1e} (decode) of the largest logit; "
            f"the tolerance for {dtype.name} is {tolerance:.0e}: do not use this graph, the export is wrong"
        )
    return {"prefill": prefill, "decode": decode, "tolerance": tolerance, "dtype": dtype.name}


def _torch_logits(model_folder: Path, ids: NDArray[np.int64], threads: int) -> NDArray[np.float32]:
    from runtimes import torch as torch_runtime

    runtime = torch_runtime.load(model_folder, threads)
    try:
        return np.stack(runtime.logits(ids.tolist()))
    finally:
        runtime.close()


def _session(graph: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


def _cache_dtype(session: Any) -> np.dtype[Any]:
    kind = next(entry.type for entry in session.get_inputs() if entry.name.startswith("past_key_values"))
    return np.dtype({"tensor(float)": "float32", "tensor(float16)": "float16"}[kind])


def _graph_logits(
    session: Any, architecture: families.Architecture, ids: NDArray[np.int64], dtype: np.dtype[Any]
) -> NDArray[np.float32]:
    """One prefill, then one token at a time, feeding the cache that the graph gave back."""
    wanted = {entry.name for entry in session.get_inputs()}
    outputs = [entry.name for entry in session.get_outputs()]
    empty = np.zeros((len(ids), architecture.kv_heads, 0, architecture.head_dim), dtype)
    past = {name: empty for name in wanted if name.startswith("past_key_values")}
    logits = []
    position = 0
    for step in (PREFILL_TOKENS, *[1] * DECODE_STEPS):
        end = position + step
        feed = {
            "input_ids": ids[:, position:end],
            "attention_mask": np.ones((len(ids), end), np.int64),
            "position_ids": np.tile(np.arange(position, end), (len(ids), 1)),
        }
        result = dict(
            zip(outputs, session.run(outputs, {k: v for k, v in feed.items() if k in wanted} | past), strict=True)
        )
        logits.append(result["logits"].astype(np.float32))
        past = {name: result[name.replace("past_key_values", "present")] for name in past}
        position = end
    return np.concatenate(logits, axis=1)

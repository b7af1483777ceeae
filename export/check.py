"""Does a graph compute what torch computes? On the model's own text, to within torch's own rounding in that dtype.

Rows of uneven length (prompts, and what torch answers to them) go through the graph as a serving runtime sends
them: one right-padded prefill, then decode steps over the graph's own KV cache. The KL divergence from torch's
float32 logits is compared with what rounding alone costs torch on the same tokens: torch in float16 for a graph in
float16, torch in float64 for one in float32. So nothing here depends on a model's size, depth or certainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import ExportError, one_line
from data import items
from models import families

# A graph may diverge this many times as much as torch does by rounding. KL grows with the square of the error, so
# this is three times torch's own error. Sums in another order and operators that round in other places stay below it
# (0.2 to 4.0 times: docs/figures.md); what is wrong in a graph does not.
FACTOR = 10
FLOOR_NATS = 1e-14  # what float64 leaves of a KL divergence that is 0
EXACT = {"float32": "float64", "float16": "float16"}  # dtype of a graph -> that which shows torch's rounding in it
PROMPT_TOKENS = 128  # of the longest row
DECODE_STEPS = 8
CHUNK_TOKENS = 16  # compared at once: in float64 a vocabulary of 152,000 takes 10 MB a token

Rows = Sequence[Sequence[int]]
Array = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """How far a graph is from torch in float32, and how far torch is by rounding alone, over the same `tokens`."""

    dtype: str
    tokens: int
    kl_mean_nats: float
    kl_max_nats: float
    torch_kl_mean_nats: float
    torch_kl_max_nats: float
    top1_agreement: float | None  # where rounding cannot change the likeliest token; None: nowhere
    top1_tokens: int

    def facts(self) -> dict[str, object]:
        """For a manifest: to one digit, as the others differ from machine to machine."""
        names = ("kl_mean_nats", "torch_kl_mean_nats", "top1_agreement")
        return {name: value and float(f"{value:.0e}") for name, value in asdict(self).items() if name in names}

    def __str__(self) -> str:
        return (
            f"KL {self.kl_mean_nats:.1e} nats on average, {self.kl_max_nats:.1e} at most "
            f"(rounding alone: {self.torch_kl_mean_nats:.1e} and {self.torch_kl_max_nats:.1e})"
        )


class Original:
    """The model in torch, on text of its own. Made once, it is compared with any number of its graphs.

    `rows` are token ids; the last DECODE_STEPS of each are torch's greedy answer. `logits` has float32 of shape
    (tokens, vocabulary) for each.
    """

    def __init__(self, model_folder: Path, data_folder: Path, threads: int) -> None:
        """Read the calibration prompts in `data_folder`; raises DataError where there are none."""
        from runtimes import torch as torch_runtime

        self.model_folder, self.threads = model_folder, threads
        self.architecture = families.read(model_folder)
        prompts = _choose(
            [row.prompt_ids for row in items.load(data_folder, "calibration")],
            min(PROMPT_TOKENS, self.architecture.max_position_embeddings - DECODE_STEPS),
        )
        runtime = torch_runtime.load(model_folder, threads)
        try:
            answers = runtime.generate(prompts, DECODE_STEPS, ignore_eos=True)
            self.rows = [(*ids, *answer.token_ids) for ids, answer in zip(prompts, answers, strict=True)]
            self.logits = runtime.logits(self.rows)
        finally:
            runtime.close()
        self._rounding: dict[str, _Divergence] = {}

    def compare(self, graph: Path) -> Difference:
        """Hold `graph` (float32 or float16, as its KV cache is) against torch; raises ExportError if it is wrong."""
        try:
            dtype, logits = _run(graph, self.rows, self.architecture, self.threads)
        except Exception as error:  # onnxruntime raises its own exceptions, without a common base
            raise ExportError(f"onnxruntime cannot run {graph}: {one_line(error)}") from error
        found, own = _Divergence.of(self.logits, logits), self.rounding(dtype)
        advice = "the export is wrong, do not use this graph"
        for where, ours, torchs in (
            ("on average in prefill", found.kl[~found.decode].mean(), own.kl[~own.decode].mean()),
            # A few tokens: by luck torch may have rounded well on all of them.
            ("on average in decode", found.kl[found.decode].mean(), max(own.kl[own.decode].mean(), own.kl.mean())),
            ("at its worst token", found.kl.max(), own.kl.max()),
        ):
            if not ours <= FACTOR * torchs + FLOOR_NATS:  # also true of a NaN
                raise ExportError(
                    f"{graph} differs from torch by a KL divergence of {ours:.1e} nats {where}, where rounding to "
                    f"{dtype} costs torch {torchs:.1e} (accepted: {FACTOR} times that): {advice}"
                )
        decided = found.same_top1[own.margin > 2 * FACTOR**0.5 * own.error.max()]
        if not decided.all():
            raise ExportError(
                f"{graph} and torch disagree on the likeliest token in {(~decided).sum()} of {len(decided)} places "
                f"where rounding to {dtype} cannot have changed it: {advice}"
            )
        return Difference(
            dtype=dtype,
            tokens=len(found.kl),
            kl_mean_nats=float(found.kl.mean()),
            kl_max_nats=float(found.kl.max()),
            torch_kl_mean_nats=float(own.kl.mean()),
            torch_kl_max_nats=float(own.kl.max()),
            top1_agreement=float(decided.mean()) if len(decided) else None,
            top1_tokens=len(decided),
        )

    def rounding(self, dtype: str) -> _Divergence:
        """What rounding to `dtype` alone does to torch; raises ExportError where the model is out of its range."""
        from runtimes import torch as torch_runtime

        if dtype not in self._rounding:
            exact = EXACT[dtype]
            runtime = torch_runtime.load(self.model_folder, self.threads, "float32" if exact == "float64" else exact)
            try:
                if exact == "float64":
                    _compute_in_float64(runtime.model)
                self._rounding[dtype] = _Divergence.of(self.logits, runtime.logits(self.rows))
            finally:
                runtime.close()
        found = self._rounding[dtype]
        if not np.isfinite(found.kl).all():
            raise ExportError(
                f"{self.model_folder} overflows in torch's own {dtype} on its own text: use bf16 or fp32"
            )
        return found


@dataclass(frozen=True)
class _Divergence:
    """Of logits from expected ones, token by token; arrays of shape (tokens,)."""

    kl: Array  # nats
    error: Array  # largest of a log probability
    margin: Array  # of the likeliest token over the next, in the expected logits
    same_top1: Array  # bool
    decode: Array  # bool: a decode step, or a token of the prompt

    @classmethod
    def of(cls, expected: Sequence[Array], actual: Sequence[Array]) -> _Divergence:
        rows = [_diverge(*pair) for pair in zip(expected, actual, strict=True)]
        return cls(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _diverge(expected: Array, actual: Array) -> tuple[Array, ...]:
    """The columns of one row's _Divergence."""
    parts = []
    for start in range(0, len(expected), CHUNK_TOKENS):
        p, q = (_log_softmax(logits[start : start + CHUNK_TOKENS]) for logits in (expected, actual))
        top = np.partition(p, -2)[:, -2:]
        kl = np.maximum((np.exp(p) * (p - q)).sum(-1), 0)
        parts.append((kl, np.abs(p - q).max(-1), top[:, 1] - top[:, 0], p.argmax(-1) == q.argmax(-1)))
    decode = np.arange(len(expected)) >= len(expected) - DECODE_STEPS
    return (*(np.concatenate(column) for column in zip(*parts, strict=True)), decode)


def _log_softmax(logits: Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result


def _choose(prompts: Rows, longest: int) -> list[tuple[int, ...]]:
    """Three rows that differ in length, whatever the prompts: half of the shortest, the longest, and several in one.

    The last has positions that no prompt alone may reach.
    """
    shortest, joined = min(prompts, key=len), [token for prompt in prompts for token in prompt]
    return [tuple(row[:longest]) for row in (shortest[: (len(shortest) + 1) // 2], max(prompts, key=len), joined)]


def _compute_in_float64(model: Any) -> None:
    """Make a float32 transformers model compute in float64 with one layer widened at a time: twice its weights would
    not fit where the model does. The norms' insides and the rotary angles stay float32, as transformers has them."""

    def widen(module: Any, _inputs: Any) -> None:
        module.double()

    def narrow(module: Any, _inputs: Any, _output: Any) -> None:
        module.float()

    model.model.embed_tokens.register_forward_hook(lambda _module, _inputs, output: output.double())
    for module in (*model.model.layers, model.lm_head):
        module.register_forward_pre_hook(widen)
        module.register_forward_hook(narrow)


def _run(graph: Path, rows: Rows, architecture: families.Architecture, threads: int) -> tuple[str, list[Array]]:
    """The dtype of a graph's KV cache, and its logits for each row: one prefill, then a token at a time."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session: Any = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    kinds = {entry.name: entry.type for entry in session.get_inputs()}
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16"}[kinds["past_key_values.0.key"]]
    outputs = [entry.name for entry in session.get_outputs()]

    lengths = [len(row) - DECODE_STEPS for row in rows]
    ids = np.zeros((len(rows), max(lengths)), np.int64)
    mask = np.zeros_like(ids)
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        ids[index, :length], mask[index, :length] = row[:length], 1
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    empty = np.zeros((len(rows), architecture.kv_heads, 0, architecture.head_dim), dtype)
    past = {name: empty for name in kinds if name.startswith("past_key_values")}
    logits: list[list[Array]] = [[] for _ in rows]
    for step in range(DECODE_STEPS + 1):
        feed = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        feed = {name: value for name, value in feed.items() if name in kinds}
        result = dict(zip(outputs, session.run(outputs, feed | past), strict=True))
        for index, length in enumerate(lengths):
            logits[index].append(result["logits"][index, : length if step == 0 else 1].astype(np.float32))
        if step < DECODE_STEPS:
            past = {name: result[name.replace("past_key_values", "present")] for name in past}
            ids = np.array([[row[length + step]] for row, length in zip(rows, lengths, strict=True)])
            mask = np.concatenate([mask, np.ones_like(ids)], axis=1)
            positions = mask.sum(1, keepdims=True) - 1
    return dtype, [np.concatenate(parts) for parts in logits]

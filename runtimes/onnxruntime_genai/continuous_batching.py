"""Continuous batching on a CPU: onnxruntime's own session and kernels under a scheduler of one step at a time.

onnxruntime-genai's `Engine` batches statically on a CPU: what arrives while a batch runs waits for its longest
completion. Here a step first prefills new prompts, then decodes one token for each sequence that runs. Prompts longer
than `CHUNK_TOKENS` are prefilled in chunks, one a step, so that they neither stop the others nor need much memory
(logits are as long as the chunk). Same graph, same kernels, and in a test the same tokens as `Generator`.

Top to bottom: the engine, a step's two halves, the KV cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import RequestError, RuntimeFault
from runtimes import Event, Sampling, TokenIds, check_ids
from runtimes.onnxruntime_genai import genai_config
from runtimes.sampling import Sampler, next_tokens, sampler

CHUNK_TOKENS = 512  # prompt tokens, padding included, that one step prefills
GROWTH_TOKENS = 256  # the KV cache grows by a multiple of this
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(eq=False)
class Sequence:
    """A prompt and its completion. The KV cache holds the keys and values of the first `cached` tokens."""

    handle: int
    prompt: NDArray[np.int64]
    left: int  # tokens it may still get
    sampler: Sampler | None  # None: the likeliest token
    ends: frozenset[int]  # tokens that end it
    cached: int = 0
    last: int = 0  # newest token, not cached yet


class ContinuousBatching:
    """The batch: sequence i of `_running` has row i of the KV cache; those of `_prefilling` come next, in order.

    Nothing waits here for a place in the batch: that queue is the caller's. Between two steps only the first of
    `_prefilling` may have tokens in the cache, as a prompt that needs several chunks is prefilled alone.
    """

    name = genai_config.NAME
    samples = True

    def __init__(self, folder: Path, threads: int, max_batch: int) -> None:
        import onnxruntime

        config = genai_config.read(folder)
        model = config["model"]
        self.version = genai_config.version()
        self.context_tokens = int(model["context_length"])
        self.max_batch = max_batch
        self._eos = genai_config.ends(config)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        for key, value in genai_config.SPIN.items():
            options.add_session_config_entry(key, value)
        self._session: Any = onnxruntime.InferenceSession(
            folder / model["decoder"]["filename"], options, providers=["CPUExecutionProvider"]
        )
        self._cache = KvCache(model, self._session, max_batch)
        logits = next(found for found in self._session.get_outputs() if found.name == "logits")
        self._logits_dtype, self._vocabulary = DTYPES[logits.type], int(logits.shape[-1])
        self._handles = count()
        self._running: list[Sequence] = []
        self._prefilling: list[Sequence] = []
        self._bound: tuple[Any, NDArray[Any]] | None = None  # binding and logits that decode the running sequences

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract in runtimes/__init__.py."""
        check_ids([prompt], self._vocabulary)
        if len(prompt) + max_tokens > self.context_tokens:
            raise RequestError(f"{len(prompt)} + {max_tokens} tokens exceed the context of {self.context_tokens}")
        ends: frozenset[int] = frozenset() if sampling.ignore_eos else self._eos
        sequence = Sequence(next(self._handles), np.asarray(prompt, np.int64), max_tokens, sampler(sampling), ends)
        self._prefilling.append(sequence)
        return sequence.handle

    def step(self) -> list[Event]:
        """See the contract. A request's first token comes from the step that prefilled the end of its prompt."""
        decoding = len(self._running)  # not those whose first token comes from this step's prefill
        try:
            events = self._prefill() + self._decode(decoding)
        except Exception as error:  # onnxruntime raises its own exceptions, without a common base
            raise RuntimeFault(f"onnxruntime failed: {error}") from error
        ended = {event.handle for event in events if event.finish}
        for sequence in [sequence for sequence in self._running if sequence.handle in ended]:
            self._remove(sequence)
        return events

    def cancel(self, handle: int) -> None:
        """See the contract."""
        for sequence in [found for found in (*self._running, *self._prefilling) if found.handle == handle]:
            self._remove(sequence)

    def close(self) -> None:
        """See the contract."""
        self._running, self._prefilling, self._bound, self._session = [], [], None, None

    def _prefill(self) -> list[Event]:
        """Read one chunk: the next part of a long prompt, or as many whole short prompts as fit."""
        if not self._prefilling:
            return []
        chunk = self._chunk()
        if self._cache.require(max(len(sequence.prompt) + sequence.left for sequence in chunk)):
            self._bound = None
        start = chunk[0].cached
        lengths = np.array([min(len(sequence.prompt) - start, CHUNK_TOKENS) for sequence in chunk])
        ids = np.zeros((len(chunk), lengths.max()), np.int64)  # padded on the right, masked
        for index, sequence in enumerate(chunk):
            ids[index, : lengths[index]] = sequence.prompt[start : start + lengths[index]]
            sequence.cached += int(lengths[index])
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask(start + lengths))
        binding.bind_output("logits", "cpu")
        self._cache.bind(binding, len(self._running), len(chunk))
        self._session.run_with_iobinding(binding)
        if chunk[0].cached < len(chunk[0].prompt):
            return []
        del self._prefilling[: len(chunk)]
        self._running += chunk
        self._bound = None
        logits = binding.get_outputs()[0].numpy()  # (sequences, longest, vocabulary)
        return self._next_tokens(chunk, logits[np.arange(len(chunk)), lengths - 1])

    def _chunk(self) -> list[Sequence]:
        """The sequences of the next chunk: a prompt that does not fit beside another one is read alone."""
        size, longest = 1, len(self._prefilling[0].prompt)
        for sequence in self._prefilling[1:]:
            longest = max(longest, len(sequence.prompt))
            if longest * (size + 1) > CHUNK_TOKENS:
                break
            size += 1
        return self._prefilling[:size]

    def _decode(self, rows: int) -> list[Event]:
        """One token for each of the first `rows` running sequences; the others have just had theirs."""
        if not rows:
            return []
        running = self._running[:rows]
        binding, logits = self._bound if self._bound and len(self._bound[1]) == rows else self._bind(rows)
        binding.bind_cpu_input("input_ids", np.array([[sequence.last] for sequence in running], np.int64))
        binding.bind_cpu_input("attention_mask", mask(np.array([sequence.cached + 1 for sequence in running])))
        self._session.run_with_iobinding(binding)
        for sequence in running:
            sequence.cached += 1
        return self._next_tokens(running, logits[:, 0])

    def _bind(self, rows: int) -> tuple[Any, NDArray[Any]]:
        """A binding that decodes the first `rows` rows, kept until the batch or the KV cache changes."""
        binding = self._session.io_binding()
        logits = np.empty((rows, 1, self._vocabulary), self._logits_dtype)
        binding.bind_output("logits", "cpu", 0, self._logits_dtype, logits.shape, logits.ctypes.data)
        self._cache.bind(binding, 0, rows)
        self._bound = (binding, logits)
        return self._bound

    def _next_tokens(self, sequences: list[Sequence], logits: NDArray[Any]) -> list[Event]:
        """The next token of each sequence from logits of shape (sequences, vocabulary)."""
        tokens = next_tokens([sequence.sampler for sequence in sequences], logits)
        events = []
        for sequence, token in zip(sequences, tokens, strict=True):
            if token in sequence.ends:
                events.append(Event(sequence.handle, None, "stop"))
                continue
            sequence.last = token
            sequence.left -= 1
            events.append(Event(sequence.handle, token, None if sequence.left else "length"))
        return events

    def _remove(self, sequence: Sequence) -> None:
        """Take a sequence out. The last running one moves into the gap, and a half-read prompt moves up behind it."""
        if sequence in self._prefilling:
            self._prefilling.remove(sequence)
            return
        row, last = self._running.index(sequence), self._running.pop()
        if last is not sequence:
            self._cache.move(len(self._running), row, last.cached)
            self._running[row] = last
        if self._prefilling:
            self._cache.move(len(self._running) + 1, len(self._running), self._prefilling[0].cached)


def mask(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 of shape (rows, longest): 1 for each row's tokens, from the left."""
    return (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)


class KvCache:
    """Keys and values of the batch, a row for each sequence: arrays of shape (rows, kv heads, capacity, head dim).

    A graph with GroupQueryAttention takes its past and gives its present in the same buffer, each row with a length
    of its own (com.microsoft.GroupQueryAttention, `past_present_share_buffer`). So a sequence can join or leave the
    batch between two steps while the others keep their rows. `capacity`, in tokens, grows when asked to.
    """

    def __init__(self, model: dict[str, Any], session: Any, rows: int) -> None:
        """`model` is that of genai_config.json, which names and sizes the cache."""
        decoder = model["decoder"]
        inputs, outputs = decoder["inputs"], decoder["outputs"]
        self._names = {
            inputs[f"past_{kind}_names"] % layer: outputs[f"present_{kind}_names"] % layer
            for layer in range(decoder["num_hidden_layers"])
            for kind in ("key", "value")
        }
        self._shape = rows, int(decoder["num_key_value_heads"]), int(decoder["head_size"])
        self._context = int(model["context_length"])
        types = {found.name: found.type for found in session.get_inputs()}
        self._dtype = DTYPES[types[next(iter(self._names))]]
        self.capacity = 0
        self._arrays: dict[str, Any] = {}
        self.require(min(GROWTH_TOKENS, self._context))

    def require(self, tokens: int) -> bool:
        """Make room for `tokens` in every row; True if the arrays moved and must be bound again."""
        if tokens <= self.capacity:
            return False
        rounded = -(-max(tokens, self.capacity + self.capacity // 2) // GROWTH_TOKENS) * GROWTH_TOKENS
        capacity = min(rounded, self._context)
        rows, heads, width = self._shape
        for name in self._names:
            grown = np.zeros((rows, heads, capacity, width), dtype=self._dtype)
            if self.capacity:
                grown[:, :, : self.capacity] = self._arrays[name]
            self._arrays[name] = grown
        self.capacity = capacity
        return True

    def move(self, source: int, target: int, tokens: int) -> None:
        """Copy the first `tokens` of row `source` to row `target`."""
        for array in self._arrays.values():
            array[target, :, :tokens] = array[source, :, :tokens]

    def bind(self, binding: Any, first: int, size: int) -> None:
        """Bind `size` rows from `first` on as past and as present."""
        for past, present in self._names.items():
            rows = self._arrays[past][first : first + size]
            place = ("cpu", 0, self._dtype, rows.shape, rows.ctypes.data)
            binding.bind_input(past, *place)
            binding.bind_output(present, *place)

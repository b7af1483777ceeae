"""Continuous batching on a CPU: onnxruntime's own session and kernels, with a row of the KV buffers for each request.

onnxruntime-genai's `Engine` batches statically on a CPU: what arrives while a batch runs waits for its longest
answer. Here a step first prefills what is new, then decodes one token for everything that runs. Prompts longer than
`CHUNK_TOKENS` are prefilled in chunks, one a step, so that they neither stop the others nor need much memory (logits
are as long as the chunk). Same graph, same kernels, and in a test the same tokens as `Generator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.errors import RuntimeFault
from runtimes import Event, Sampling, TokenIds, _ort_settings, _sampling
from runtimes._kv_slots import DTYPES, KvSlots

CHUNK_TOKENS = 512  # prompt tokens, padding included, that one step prefills


@dataclass(eq=False)
class Row:
    """One request. Its keys and values of the first `cached` tokens are in the KV buffers."""

    handle: int
    prompt: NDArray[np.int64]
    left: int  # tokens it may still get
    choose: _sampling.Choose | None  # None: the likeliest token
    ends: frozenset[int]  # tokens that end it
    cached: int = 0
    last: int = 0  # newest token, not cached yet


class SlotEngine:
    """`running` rows come first in the KV buffers, then those whose prompt is still being read."""

    name = _ort_settings.NAME
    version = _ort_settings.VERSION
    samples = True

    def __init__(self, folder: Path, threads: int, max_batch: int) -> None:
        import onnxruntime

        config = _ort_settings.read(folder)
        settings = config["model"]
        self._eos = _ort_settings.ends(config)
        self.context_tokens = int(settings["context_length"])
        self.max_batch = max_batch
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        for key, value in _ort_settings.SPIN.items():
            options.add_session_config_entry(key, value)
        self._session: Any = onnxruntime.InferenceSession(
            folder / settings["decoder"]["filename"], options, providers=["CPUExecutionProvider"]
        )
        self._slots = KvSlots(settings, self._session, max_batch)
        logits = next(found for found in self._session.get_outputs() if found.name == "logits")
        self._logits_dtype, self._vocabulary = DTYPES[logits.type], int(logits.shape[-1])
        self._handles = count()
        self._running: list[Row] = []
        self._reading: list[Row] = []
        self._waiting: list[Row] = []
        self._decoding: tuple[Any, NDArray[Any]] | None = None  # binding and logits for the rows that run now

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract in models/runtimes."""
        if len(prompt) + max_tokens > self.context_tokens:
            raise RuntimeFault(f"{len(prompt)} + {max_tokens} tokens exceed the context of {self.context_tokens}")
        ends: frozenset[int] = frozenset() if sampling.ignore_eos else self._eos
        row = Row(next(self._handles), np.asarray(prompt, np.int64), max_tokens, _sampling.chooser(sampling), ends)
        self._waiting.append(row)
        return row.handle

    def step(self) -> list[Event]:
        """See the contract. A request's first token comes from the step that read the end of its prompt."""
        decoding = len(self._running)
        try:
            events = self._prefill() + self._decode(decoding)
        except Exception as error:  # onnxruntime raises its own exceptions, without a common base
            raise RuntimeFault(f"onnxruntime failed: {error}") from error
        ended = {event.handle for event in events if event.finish}
        for row in [row for row in self._running if row.handle in ended]:
            self._remove(row)
        return events

    def cancel(self, handle: int) -> None:
        """See the contract."""
        for row in [row for row in (*self._running, *self._reading, *self._waiting) if row.handle == handle]:
            self._remove(row)

    def close(self) -> None:
        """See the contract."""
        self._running, self._reading, self._waiting, self._decoding = [], [], [], None
        self._session = None

    def _prefill(self) -> list[Event]:
        """Read one chunk: the next part of a long prompt, or as many whole short prompts as fit."""
        first = len(self._running)
        if not self._reading:
            while self._waiting and self._fits(self._waiting[0]):
                self._reading.append(self._waiting.pop(0))
            if not self._reading:
                return []
            if self._slots.require(max(len(row.prompt) + row.left for row in self._reading)):
                self._decoding = None
        rows = self._reading
        start = rows[0].cached
        lengths = np.array([min(len(row.prompt) - start, CHUNK_TOKENS) for row in rows])
        ids = np.zeros((len(rows), lengths.max()), np.int64)  # padded on the right, masked
        for index, row in enumerate(rows):
            ids[index, : lengths[index]] = row.prompt[start : start + lengths[index]]
            row.cached += int(lengths[index])
        logits = self._run(ids, start + lengths, first)
        if rows[0].cached < len(rows[0].prompt):
            return []
        self._reading = []
        self._running += rows
        self._decoding = None
        return self._choose(rows, logits[np.arange(len(rows)), lengths - 1])

    def _fits(self, row: Row) -> bool:
        """Whether `row` can be read in the same chunk as the rows taken so far: a long prompt is read alone."""
        longest = max(len(taken.prompt) for taken in (*self._reading, row))
        return not self._reading or longest * (len(self._reading) + 1) <= CHUNK_TOKENS

    def _decode(self, rows: int) -> list[Event]:
        """One token for each of the first `rows` running rows; the others have just had theirs."""
        if not rows:
            return []
        running = self._running[:rows]
        binding, logits = self._decoding if self._decoding and len(self._decoding[1]) == rows else self._bind(rows)
        lengths = np.array([row.cached + 1 for row in running])
        binding.bind_cpu_input("input_ids", np.array([[row.last] for row in running], np.int64))
        binding.bind_cpu_input("attention_mask", mask(lengths))
        self._session.run_with_iobinding(binding)
        for row in running:
            row.cached += 1
        return self._choose(running, logits[:, 0])

    def _bind(self, rows: int) -> tuple[Any, NDArray[Any]]:
        """A binding that decodes the first `rows` rows, kept until the batch or the buffers change."""
        binding = self._session.io_binding()
        logits = np.empty((rows, 1, self._vocabulary), self._logits_dtype)
        binding.bind_output("logits", "cpu", 0, self._logits_dtype, logits.shape, logits.ctypes.data)
        self._slots.bind(binding, 0, rows)
        self._decoding = (binding, logits)
        return self._decoding

    def _run(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], first: int) -> NDArray[Any]:
        """Logits of shape (rows, ids' length, vocabulary) for new tokens of the rows from `first` on."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        binding.bind_cpu_input("attention_mask", mask(lengths))
        binding.bind_output("logits", "cpu")
        self._slots.bind(binding, first, len(ids))
        self._session.run_with_iobinding(binding)
        found: NDArray[Any] = binding.get_outputs()[0].numpy()
        return found

    def _choose(self, rows: list[Row], logits: NDArray[Any]) -> list[Event]:
        """The next token of each row from logits of shape (rows, vocabulary)."""
        likeliest = logits.argmax(-1).tolist()
        events = []
        for index, row in enumerate(rows):
            token = row.choose(logits[index]) if row.choose else likeliest[index]
            if token in row.ends:
                events.append(Event(row.handle, None, "stop"))
                continue
            row.last = token
            row.left -= 1
            events.append(Event(row.handle, token, None if row.left else "length"))
        return events

    def _remove(self, row: Row) -> None:
        """Take a row out and close the gap: with the last running row, then with the rows that follow."""
        if row in self._waiting:
            self._waiting.remove(row)
            return
        if row in self._running:
            index, last = self._running.index(row), self._running.pop()
            if last is not row:
                self._slots.move(len(self._running), index, last.cached)
                self._running[index] = last
            gap = len(self._running)
        else:
            gap = len(self._running) + self._reading.index(row)
            self._reading.remove(row)
        for place, left in enumerate(self._reading, start=len(self._running)):
            if place >= gap:
                self._slots.move(place + 1, place, left.cached)


def mask(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 of shape (rows, longest): 1 for each row's tokens, from the left."""
    return (np.arange(lengths.max()) < lengths[:, None]).astype(np.int64)

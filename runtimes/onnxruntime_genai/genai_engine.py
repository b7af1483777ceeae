"""Serving with onnxruntime-genai's own `Engine`. Source: onnxruntime-genai 0.18, `Engine`, `Request`, `TurnOptions`.

On CUDA with paged attention requests join a running batch. On a CPU its batching is static: what arrives while a
batch runs starts when that batch is done (seen with 0.18).
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import RequestError, RuntimeFault
from runtimes import Event, Sampling, TokenIds, check_ids
from runtimes.onnxruntime_genai import genai_config


class GenaiEngine:
    """`og.Engine` behind the contract of runtimes/__init__.py."""

    name = genai_config.NAME
    samples = True

    def __init__(self, folder: Path, threads: int, max_batch: int) -> None:
        self.version = genai_config.version()
        self._genai = genai_config.import_genai()
        settings = genai_config.read(folder)
        self._rows = genai_config.rows(settings)
        self.context_tokens = int(settings["model"]["context_length"])
        built = settings.get("engine", {}).get("dynamic_batching")  # a graph built with paged attention says so
        self._takes_seeds = bool(built)
        self.max_batch = min(max_batch, built.get("max_batch_size", max_batch)) if built else max_batch
        batching = {} if built else {"engine": {"static_batching": {"max_batch_size": max_batch}}}
        self._model: Any = self._genai.Model(genai_config.configure(self._genai, folder, threads, batching))
        self._engine: Any = self._genai.Engine(self._model)
        self._events = self._engine.create_event_buffer(4 * max_batch)
        self._handles = count()
        self._requests: dict[int, tuple[Any, int]] = {}  # handle → request, turn
        self._by_request: dict[Any, int] = {}
        flags = self._genai.EngineEventFlags
        self._token, self._finished, self._failed = flags.TOKEN, flags.TURN_FINISHED, flags.FAILED
        self._stop = {self._genai.FinishReason.EOS, self._genai.FinishReason.STOP_STRING}

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract."""
        check_ids([prompt], self._rows)
        if sampling.seed is not None and not self._takes_seeds:
            raise RequestError("this engine takes no seed: onnxruntime-genai has them with paged attention only")
        request = self._engine.create_request()
        options = self._genai.TurnOptions(request)
        options.set_max_generated_tokens(max_tokens)
        drawn = sampling.temperature > 0 and sampling.top_k != 1  # it refuses a temperature where one token is left
        options.set_do_sample(drawn)
        if drawn:
            options.set_temperature(sampling.temperature)
            options.set_top_p(sampling.top_p)
            options.set_top_k(sampling.top_k)
            if sampling.seed is not None:
                options.set_seed(sampling.seed)
        if sampling.ignore_eos:
            options.set_min_generated_tokens(max_tokens)
        turn = request.begin_turn(np.asarray(prompt, dtype=np.int32), options)
        handle = next(self._handles)
        self._requests[handle] = (request, turn)
        self._by_request[request] = handle
        return handle

    def step(self) -> list[Event]:
        """See the contract."""
        if not self._engine.has_pending_requests():
            return []
        try:
            self._engine.run(self._events)
        except Exception as error:  # onnxruntime-genai raises bare exceptions of its own
            raise RuntimeFault(f"onnxruntime-genai's engine failed: {error}") from error
        found = [self._read(event) for event in self._events]
        return [event for event in found if event is not None]

    def cancel(self, handle: int) -> None:
        """See the contract."""
        if handle in self._requests:
            request, turn = self._requests[handle]
            request.cancel_turn(turn)
            self._leave(handle)

    def close(self) -> None:
        """See the contract."""
        for handle in list(self._requests):
            self.cancel(handle)
        self._engine = self._model = None

    def _read(self, event: Any) -> Event | None:
        handle = self._by_request.get(event.request)
        if handle is None:
            return None  # cancelled
        flags = int(event.flags)
        if flags & int(self._failed):
            self._leave(handle)
            return Event(handle, None, "error", str(event.error_code))
        token = int(event.token) if flags & int(self._token) else None
        if not flags & int(self._finished):
            return Event(handle, token)
        self._leave(handle)
        return Event(handle, token, "stop" if event.finish_reason in self._stop else "length")

    def _leave(self, handle: int) -> None:
        request, _ = self._requests.pop(handle)
        del self._by_request[request]
        request.close()

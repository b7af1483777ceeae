"""One thread that owns the engine. Requests wait in a bounded queue, join the batch and leave it between two steps.

The event loop and the engine's thread meet twice a step: the thread takes what arrived, and reports all the step's
events in one call, so that the loop is woken once a step and not once a token.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Literal

from core.errors import RequestError, RuntimeFault
from runtimes import Engine, Event, Sampling

STOP_S = 5.0  # a step that takes longer is left to the end of the process

Finish = Literal["stop", "length", "error", "cancelled", "timeout"]


class QueueFull(Exception):  # noqa: N818 - an answer to a client, not a fault
    """Every place and every waiting place is taken."""


@dataclass(eq=False)
class Request:
    """One request on its way through the engine. Fields are written by the event loop only, except `handle`."""

    prompt: Sequence[int]
    max_tokens: int
    sampling: Sampling
    by_token: bool  # wake the reader at every token, not only at the end
    tokens: list[int] = field(default_factory=list)
    finish: Finish | None = None
    error: str | None = None
    arrived_s: float = 0.0  # of the clock that `token_times_s` are read from
    token_times_s: list[float] = field(default_factory=list)
    handle: int | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, seen: int) -> list[int]:
        """Wait until there are more than `seen` tokens or the end; returns the new tokens."""
        while self.finish is None and len(self.tokens) <= seen:
            self.woken.clear()
            await self.woken.wait()
        return self.tokens[seen:]

    async def done(self) -> None:
        """Wait for the end."""
        while self.finish is None:
            self.woken.clear()
            await self.woken.wait()


class Scheduler:
    """`make` loads the engine, in the thread that will use it: onnxruntime-genai's refuses any other.

    Whatever `make` raises is raised by the constructor.
    """

    def __init__(
        self,
        make: Callable[[], Engine],
        max_queue: int,
        queue_delay_ms: float = 0.0,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self.engine: Engine
        self.failure: str | None = None
        self._max_queue, self._delay_s, self._on_step = max_queue, queue_delay_ms / 1e3, on_step
        self._changed = threading.Condition()
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Request] = {}
        self._cancelled: list[Request] = []
        self._stopping = False
        self._step_began_s: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        loaded: Future[Engine] = Future()
        self._thread = threading.Thread(target=self._run, args=(make, loaded), name="engine", daemon=True)
        self._thread.start()
        self.engine = loaded.result()

    @property
    def waiting(self) -> int:
        """Requests without a place."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._running)

    def trouble(self, step_limit_s: float) -> str | None:
        """Why no request gets an answer: the engine failed, or has been in one step for longer than the limit."""
        began_s = self._step_began_s
        taken_s = time.monotonic() - began_s if began_s is not None else 0.0
        hangs = f"one step of the engine has taken {taken_s:.0f} s so far" if taken_s > step_limit_s else None
        return self.failure or hangs

    def start(self) -> None:
        """Take requests; call it in the event loop that will read."""
        self._loop = asyncio.get_running_loop()

    def submit(self, request: Request) -> None:
        """Queue a request. Raises QueueFull, or RuntimeFault when the engine has failed."""
        with self._changed:
            if self.failure or self._stopping:
                raise RuntimeFault(self.failure or "the engine has stopped")
            free = self.engine.max_batch - len(self._running)
            if len(self._waiting) >= free + self._max_queue:
                raise QueueFull
            request.arrived_s = time.perf_counter()
            self._waiting.append(request)
            self._changed.notify()

    def cancel(self, request: Request, why: Literal["cancelled", "timeout"] = "cancelled") -> None:
        """Give a request's place back and wake its reader; it gets no further tokens. Fine before and after."""
        if request.finish is not None:
            return
        request.finish = why
        request.woken.set()
        with self._changed:
            self._cancelled.append(request)
            self._changed.notify()

    def stop(self, wait_s: float = STOP_S) -> bool:
        """End the thread after its present step and free the model; False when that step does not end in time.

        The process may exit all the same: the thread keeps nobody.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self, make: Callable[[], Engine], loaded: Future[Engine]) -> None:
        try:
            self.engine = make()
        except BaseException as error:  # the constructor raises it
            loaded.set_exception(error)
            return
        loaded.set_result(self.engine)
        try:
            while self._admit():
                self._step_began_s = time.monotonic()
                events = self.engine.step()
                self._step_began_s = None
                self._report(events)
        except Exception as error:  # whatever it was, every reader must learn of it
            self._fail(f"{type(error).__name__}: {error}")
        finally:
            self.engine.close()

    def _admit(self) -> bool:
        """Wait for work, apply cancellations and fill free places; False when it is time to stop."""
        with self._changed:
            while not (self._stopping or self._waiting or self._running or self._cancelled):
                self._changed.wait()
            if self._delay_s and not self._running and self._waiting:
                deadline_s = time.monotonic() + self._delay_s
                while len(self._waiting) < self.engine.max_batch and not self._stopping:
                    left_s = deadline_s - time.monotonic()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        break
            if self._stopping:
                return False
            cancelled, self._cancelled = self._cancelled, []
            for request in cancelled:
                if request in self._waiting:
                    self._waiting.remove(request)
                elif request.handle in self._running:
                    del self._running[request.handle]
                    self.engine.cancel(request.handle)
            while self._waiting and len(self._running) < self.engine.max_batch:
                request = self._waiting[0]  # taken out only once it has a place: a failure must find it somewhere
                try:
                    request.handle = self.engine.submit(request.prompt, request.max_tokens, request.sampling)
                except RequestError as error:  # its own fault: the others go on
                    self._end(self._waiting.popleft(), str(error))
                else:
                    self._running[request.handle] = self._waiting.popleft()
        return True

    def _report(self, events: list[Event]) -> None:
        if self._on_step and self._running:
            self._on_step(len(self._running), len(self._waiting))
        now_s = time.perf_counter()
        found = [(self._running[event.handle], event) for event in events if event.handle in self._running]
        with self._changed:
            for event in events:
                if event.finish:
                    self._running.pop(event.handle, None)
        if found and self._loop:
            self._loop.call_soon_threadsafe(_deliver, found, now_s)

    def _fail(self, why: str) -> None:
        with self._changed:
            self.failure = why
            left = [*self._running.values(), *self._waiting]
            self._running.clear()
            self._waiting.clear()
        for request in left:
            self._end(request, why)

    def _end(self, request: Request, why: str) -> None:
        """Tell a request's reader that it gets no answer."""
        if self._loop:
            event = Event(-1, None, "error", why)
            self._loop.call_soon_threadsafe(_deliver, [(request, event)], time.perf_counter())


def _deliver(found: list[tuple[Request, Event]], now_s: float) -> None:
    """In the event loop: give tokens and ends to their readers."""
    for request, event in found:
        if request.finish is not None:
            continue  # cancelled while the step ran
        if event.token is not None:
            request.tokens.append(event.token)
            request.token_times_s.append(now_s)
        if event.finish:
            request.finish, request.error = event.finish, event.error
        if event.finish or request.by_token or len(request.tokens) == 1:
            request.woken.set()

"""uvicorn around the application, with a stop that loses no request.

SIGTERM (or SIGINT): ready turns false and new requests get 503 with `Retry-After` and `Connection: close`, while the
listener stays open and what runs goes on. When nothing runs any more, and `linger_s` later, the process exits with 0.
After `drain_timeout_s`, or at a second signal, it stops at once and exits with 1.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn

from core.errors import ResourceError
from serving import app
from serving.logs import SERVER
from serving.service import Service

POLL_S = 0.02


class Server(uvicorn.Server):
    """uvicorn's server, but a signal starts a drain instead of closing the listener."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.lost = 0  # requests cut by the drain time-out
        self._drain: asyncio.Task[None] | None = None
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                app.create(service),
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                lifespan="on",
                timeout_keep_alive=75,  # longer than a gateway's own idle time-out
                backlog=1024,
                server_header=False,
                timeout_graceful_shutdown=5,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not uvicorn's: that one raises the signal again at the end, so the process would not exit with 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: stop at once."""
        if self._service.draining:
            self.lost = self._service.inflight
            self.should_exit = self.force_exit = True
            return
        self.drain()

    def drain(self) -> None:
        """Refuse new requests, let the running ones finish, then exit."""
        self._service.draining = True
        loop = asyncio.get_event_loop()
        loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        self._drain = asyncio.get_running_loop().create_task(self._drained())

    async def _drained(self) -> None:
        SERVER.info("stopping", extra={"fields": {"inflight": self._service.inflight}})
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._service.settings.drain_timeout_s
        quiet_since_s = loop.time()
        while loop.time() - quiet_since_s < self._service.settings.linger_s:
            await asyncio.sleep(POLL_S)
            if self._service.inflight:
                quiet_since_s = loop.time()
            if loop.time() > deadline_s:
                self.lost = self._service.inflight
                self.force_exit = True
                break
        self.should_exit = True


def run(service: Service) -> int:
    """Serve until a signal; returns the exit code. Raises ResourceError when the port cannot be had."""
    server, settings = Server(service), service.settings
    try:
        server.run()
    except SystemExit:  # uvicorn has logged why; its exit code is one of ours with another meaning
        raise ResourceError(f"nothing can listen on {settings.host}:{settings.port}: see the line before") from None
    finally:
        if not service.scheduler.stop():
            SERVER.error("the engine hangs in a step: ending without it")
    SERVER.info("stopped", extra={"fields": {"lost": server.lost}})
    return 1 if server.lost or not server.started else 0

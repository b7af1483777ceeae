"""The target contract: what the rollout's controller asks of a place that runs two slots behind one route.

A target is a file here, and its file name is its name in params.yaml and on the command line. It has
- `class Options(Section)`: what `rollout.targets.<name>` in params.yaml may say, checked when params are read;
- `connect(settings: RolloutSettings) -> Target`, which reads `settings.rollout.options(<name>)` and starts nothing.
Sub-folders hold what targets are made of.

Rules for every call, which tests/contract/test_targets.py holds all targets to:
- **Safe to repeat.** The controller may be killed between a call and its reply, and then calls again. A call that
  finds its work done returns as if it had just done it.
- **Short.** A call returns or raises TargetError within `settings.rollout.timeouts.call_s`. Whatever takes longer
  (a model that loads, streams that finish) goes on by itself and is seen through `observe`. After a TargetError the
  outcome is unknown: the controller observes before it does anything else.
- **Nothing in memory.** Another process with the same params sees and controls the same slots.
- **Observed, not assumed.** `observe` asks the gateway, the processes and the servers, not the target's own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Slot = Literal["blue", "green"]
SLOTS: tuple[Slot, Slot] = ("blue", "green")


def other(slot: Slot) -> Slot:
    """The slot beside this one."""
    return "green" if slot == "blue" else "blue"


@dataclass(frozen=True)
class Version:
    """What a slot is asked to serve. `digest` is the SHA-256 of manifest.json, `folder` holds the verified files."""

    model_name: str
    model_version: int
    digest: str
    folder: Path
    bytes: int = 0  # of the folder's files: a large version has more time to be hashed and loaded


@dataclass(frozen=True)
class SlotState:
    """One slot as observed. An empty slot is `SlotState()`."""

    digest: str | None = None  # that the server itself reports (x-assay-manifest); None until it answers
    identity: str | None = None  # pid and start time, or pod-template-hash: another value is another process
    ready: bool = False  # /health/ready answers 200
    active_requests: int | None = None  # open requests and streams, counted by the gateway; None: not known
    url: str | None = None  # where the slot answers directly, past the gateway, e.g. http://127.0.0.1:8101

    @property
    def empty(self) -> bool:
        """No process, no pod."""
        return self.identity is None


@dataclass(frozen=True)
class Observation:
    """Reality at one moment."""

    live: Slot | None  # where the route sends users; None: no route yet
    generation: int | None  # of the route, as the gateway reports it; grows with every switch
    slots: Mapping[Slot, SlotState]  # always both
    mirrored: Slot | None = None  # slot that gets copies of users' requests
    problems: tuple[str, ...] = ()  # what a person should know, e.g. "green serves another digest than it was given"


@dataclass(frozen=True)
class Sample:
    """Counters of one slot since its process started; two samples of one identity make a window.

    Histograms are cumulative, as Prometheus has them: upper bound in milliseconds → observations at or below it,
    `inf` included. Users' and mirrored requests count; health checks do not.
    """

    at: float  # UNIX time, seconds
    identity: str | None
    requests: int = 0  # finished, in any way
    errors: int = 0  # answered 5xx, cut, or refused by a dead slot; a client that leaves is no error
    empty: int = 0  # finished with no text
    truncated: int = 0  # finished by the token limit
    ttft_ms: Mapping[float, int] = field(default_factory=dict)
    itl_ms: Mapping[float, int] = field(default_factory=dict)


class Target(Protocol):
    """Two slots and one route."""

    def observe(self) -> Observation:
        """Look at the route and both slots."""
        ...

    def start(self, slot: Slot, version: Version) -> None:
        """Have `slot` serve `version`; returns before it is ready. A slot that runs this digest is left as it is, one
        that runs another is replaced. Raises TargetError for the live slot when it is ready with another digest."""
        ...

    def stop(self, slot: Slot, grace_s: float) -> None:
        """Have `slot` take no new request, finish what runs, and end; returns at once. Killed when still there after
        `grace_s` (at the latest by a repeated call). An empty slot is fine. Raises TargetError for the live slot."""
        ...

    def mirror(self, slot: Slot | None, percent: float) -> None:
        """Copy `percent` (0 to 100) of users' requests to `slot`, without ever delaying them; None ends it."""
        ...

    def switch(self, slot: Slot) -> int:
        """Send new requests to `slot` in one atomic step; open streams stay where they are. Returns the generation
        that the gateway reports once it has taken the route; the current one when `slot` is live already. A switch
        that the gateway has been given but has not taken yet is replaced, so that it cannot arrive later.
        Raises TargetError when the gateway does not confirm in `timeouts.call_s`."""
        ...

    def sample(self, slot: Slot) -> Sample:
        """The slot's counters now. An empty slot gives `Sample(at, None)`."""
        ...

    # What dies and is not started again by the place itself; a cluster leaves both as they are here.

    def heal_gateway(self, dry: bool) -> str | None:
        """Start a gateway that died under running slots, with the route that it had, and say so; with `dry` only say
        that it would be. None: nothing to heal. One that was stopped on purpose stays down."""
        return None

    def crashed(self, slot: Slot) -> str | None:
        """Digest of the version whose process in `slot` crashed and stays down until `start` is called again;
        None for any other slot."""
        return None

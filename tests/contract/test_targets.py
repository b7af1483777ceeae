"""Every rollout target against one contract: two slots, one route, every call safe to repeat.

A target joins by one line in `PLACES`: how to open a place with two verified versions and nothing live.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from core import plugins
from core.errors import TargetError
from core.params import Section
from models import manifest
from rehearsal import local_target
from rollout.params import TARGETS
from rollout.targets import SLOTS, Observation, Slot, Target, Version, argo, kubernetes, local
from tests.parts import kube, kube_argo, kube_server
from tests.parts.memory_target import MemoryTarget
from tests.rollout.stage import ROOT, settings, version

WAIT_S = 60.0  # a real server loads its libraries first
LIMITS = {"timeouts": {"call_s": 2, "drain_s": 1}}


@dataclass
class Place:
    """One target to test. `again` opens it as another process would."""

    again: Callable[[], Target]
    one: Version
    two: Version
    first: Callable[[], None] | None = None  # where a first version goes live in another way than by a switch
    kill: Callable[[Slot], None] | None = None  # where nothing but the target starts a slot again that died

    def __post_init__(self) -> None:
        self.target = self.again()

    def wait(self, holds: Callable[[Observation], bool]) -> Observation:
        deadline = time.monotonic() + WAIT_S
        while not holds(seen := self.target.observe()):
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)
        return seen


def _versions(root: Path) -> tuple[Version, Version]:
    folders = [version(root, f"v{number}") for number in (1, 2)]
    one, two = (Version("assay", n, manifest.digest(folder), folder) for n, folder in enumerate(folders, start=1))
    return one, two


@contextmanager
def memory(root: Path) -> Iterator[Place]:
    path = root / "target.json"
    yield Place(lambda: MemoryTarget(path), *_versions(root), kill=lambda slot: MemoryTarget(path).kill(slot))


@contextmanager
def cluster(root: Path) -> Iterator[tuple[kube.Cluster, Place]]:
    """The stand-in with deploy/kubernetes/rollout applied."""
    found = kube.Cluster()
    for file in ("services.yaml", "route.yaml"):
        for wanted in yaml.safe_load_all((ROOT / "deploy/kubernetes/rollout" / file).read_text()):
            found.put(f"{wanted['apiVersion']}/{wanted['kind'].lower()}s", wanted)
    with kube_server.Server(found) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_KUBE_URL", server.url)
        patch.setenv("ASSAY_KUBE_TOKEN", kube.TOKEN)
        yield found, Place(lambda: kubernetes.connect(settings(**LIMITS)), *_versions(root))


@contextmanager
def on_kubernetes(root: Path) -> Iterator[Place]:
    with cluster(root) as (_, place):
        yield place


@contextmanager
def on_argo(root: Path) -> Iterator[Place]:
    with cluster(root) as (found, place):
        found.controllers.append(kube_argo.controller)

        def first() -> None:
            for wanted in argo.manifests(settings(**LIMITS), place.one):
                found.put(f"{wanted['apiVersion']}/{wanted['kind'].lower()}s", wanted)

        yield Place(lambda: argo.connect(settings(**LIMITS)), place.one, place.two, first)


@contextmanager
def on_this_machine(root: Path) -> Iterator[Place]:
    """Real servers behind a real Envoy."""
    with local_target.stack(root / "s") as (found, target):

        def kill(slot: Slot) -> None:
            process = target.slots[slot].process
            assert process is not None
            process.signal(signal.SIGKILL)
            assert process.wait(5)

        versions = local_target.version(root, 1), local_target.version(root, 2)
        yield Place(lambda: local.connect(found), *versions, kill=kill)


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "memory": memory,
    "kubernetes": on_kubernetes,
    "argo": on_argo,
    "local": on_this_machine,
}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with PLACES[request.param](tmp_path) as found:
        yield found


@pytest.fixture
def live(place: Place) -> Place:
    """Version 1 live on blue."""
    if place.first:
        place.first()
        place.wait(lambda seen: seen.slots["blue"].ready and seen.live == "blue")
        return place
    place.target.start("blue", place.one)
    place.wait(lambda seen: seen.slots["blue"].ready)
    place.target.switch("blue")
    return place


def test_every_target_is_held_to_the_contract_and_has_options_of_its_own() -> None:
    assert set(plugins.known(TARGETS)) == PLACES.keys() - {"memory"}
    for name in plugins.known(TARGETS):
        module = plugins.load(TARGETS, name)
        assert issubclass(module.Options, Section)
        assert module.Options.__module__ == module.__name__
        assert callable(module.connect)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "nomad"}, "rollout.targets has no 'nomad'; known: argo, kubernetes, local"),
        ({"targets": {"nomad": {}}}, "rollout.targets has no 'nomad'; known: argo, kubernetes, local"),
        ({"targets": {"argo": {"replica": 2}}}, "argo: replica: Extra inputs are not permitted"),
        ({"targets": {"local": {"port": 0}}}, "local: port: Input should be greater than or equal to 1"),
        ({"target": "local", "targets": {"kubernetes": {"keep_s": 1}}}, "kubernetes: keep_s"),
    ],
)
def test_options_are_checked_when_params_are_read(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**changes)


def test_an_empty_place(place: Place) -> None:
    seen = place.target.observe()
    assert (seen.live, seen.mirrored) == (None, None)
    assert all(seen.slots[slot].empty and not seen.slots[slot].ready for slot in SLOTS)
    for slot in SLOTS:
        assert place.target.sample(slot).identity is None
        place.target.stop(slot, 1)


def test_a_start_is_seen_ready_and_repeated_without_harm(live: Place) -> None:
    live.target.start("green", live.two)
    seen = live.wait(lambda seen: seen.slots["green"].ready)
    state = seen.slots["green"]
    assert (state.digest, seen.live) == (live.two.digest, "blue")
    assert state.identity
    assert state.url
    live.again().start("green", live.two)
    time.sleep(0.1)
    assert live.target.observe().slots["green"].identity == state.identity, "the same process"


def test_a_slot_is_replaced_by_another_version_but_never_the_live_one(live: Place) -> None:
    live.target.start("green", live.one)
    first = live.wait(lambda seen: seen.slots["green"].ready).slots["green"]
    live.target.start("green", live.two)
    second = live.wait(lambda seen: seen.slots["green"].ready and seen.slots["green"].digest == live.two.digest)
    assert second.slots["green"].identity != first.identity
    with pytest.raises(TargetError, match="live"):
        live.target.start("blue", live.two)
    with pytest.raises(TargetError, match="live"):
        live.target.stop("blue", 1)
    assert live.target.observe().slots["blue"].digest == live.one.digest


def test_a_switch_is_one_step_and_counted(live: Place) -> None:
    live.target.start("green", live.two)
    live.wait(lambda seen: seen.slots["green"].ready)
    before = live.target.observe().generation
    assert before is not None
    after = live.target.switch("green")
    assert after > before
    seen = live.again().observe()
    assert (seen.live, seen.generation) == ("green", after)
    assert live.again().switch("green") == after, "already there"
    assert live.target.switch("blue") > after, "and back, at once"
    assert live.target.observe().live == "blue"


def test_a_stop_ends_the_slot_and_is_repeated_without_harm(live: Place) -> None:
    live.target.start("green", live.two)
    live.wait(lambda seen: seen.slots["green"].ready)
    for _ in range(2):
        live.target.stop("green", 1)
    live.wait(lambda seen: seen.slots["green"].empty)
    live.target.stop("green", 1)
    assert live.target.observe().slots["blue"].ready


def test_mirroring_is_seen_and_ended(live: Place) -> None:
    live.target.start("green", live.two)
    live.wait(lambda seen: seen.slots["green"].ready)
    for _ in range(2):
        live.target.mirror("green", 50)
    assert live.again().observe().mirrored == "green"
    for _ in range(2):
        live.target.mirror(None, 0)
    seen = live.target.observe()
    assert (seen.mirrored, seen.live) == (None, "blue")


def test_counters_belong_to_one_process_and_only_grow(live: Place) -> None:
    first = live.target.sample("blue")
    time.sleep(0.05)
    last = live.again().sample("blue")
    assert first.identity == last.identity == live.target.observe().slots["blue"].identity
    assert last.at > first.at
    assert last.requests >= first.requests


def test_what_runs_needs_no_healing(live: Place) -> None:
    live.target.start("green", live.two)
    live.wait(lambda seen: seen.slots["green"].ready)
    assert live.target.heal_gateway(dry=True) is None
    live.target.stop("green", 1)
    live.wait(lambda seen: seen.slots["green"].empty)
    assert [live.target.crashed(slot) for slot in SLOTS] == [None, None], "one was asked to end"


def test_a_live_slot_that_crashed_is_started_again(live: Place) -> None:
    if live.kill is None:
        pytest.skip("the kubelet starts it again")
    live.kill("blue")
    assert [live.again().crashed(slot) for slot in SLOTS] == [live.one.digest, None]
    live.target.start("blue", live.one)
    seen = live.wait(lambda seen: seen.slots["blue"].ready)
    assert (seen.live, live.target.crashed("blue")) == ("blue", None)

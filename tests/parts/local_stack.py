"""A local target on free ports, with short deadlines; everything it started is ended with the test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core import params
from core.params import LocalParams, Params, RolloutTimeouts
from models import manifest
from models.runtimes import echo
from rollout.targets import Version, local
from tests.parts import ports


def settings(state: Path, timeouts: RolloutTimeouts | None = None, **own: Any) -> Params:
    """The project's params with the local target in `state`."""
    gateway, blue, green = ports.free(3)
    place = LocalParams(state=state, port=gateway, blue_port=blue, green_port=green, **own)
    loaded = params.load()
    timeouts = timeouts or RolloutTimeouts(call_s=10, ready_s=60, drain_s=20)
    rollout = loaded.rollout.model_copy(update={"local": place, "timeouts": timeouts})
    return loaded.model_copy(update={"rollout": rollout})


@contextmanager
def stack(state: Path, **own: Any) -> Iterator[tuple[Params, local.LocalTarget]]:
    """A target with nothing started yet."""
    found = settings(state, **own)
    try:
        yield found, local.connect(found)
    finally:
        local.down(found, grace_s=1.0)


def version(folder: Path, model_folder: Path, number: int, **how: Any) -> Version:
    """An echo version; another number is another digest."""
    place = folder / f"v{number}"
    echo.write(place, model_folder, f"echo-{number}", echo.Behaviour(**how))
    return Version("assay", number, manifest.digest(place), place)

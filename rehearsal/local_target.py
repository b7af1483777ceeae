"""A local target of one's own for a test, a benchmark or a demo, and versions to roll out on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core import params
from models import manifest
from rehearsal.processes import ends_with_owner, free_ports
from rollout.params import RolloutSettings, RolloutTimeouts
from rollout.targets import Version, local
from runtimes import echo

MODEL = Path(__file__).parents[1] / "models/reference"  # whose tokenizer the echo versions have
TIMEOUTS = RolloutTimeouts(call_s=10, ready_s=120, drain_s=30)


def settings(state: Path, timeouts: RolloutTimeouts = TIMEOUTS, **own: Any) -> RolloutSettings:
    """The project's params with a local target in `state`, on free ports; `own` are further options."""
    gateway, blue, green = free_ports(3)
    place = local.Options(state=state, port=gateway, blue_port=blue, green_port=green, **own)
    loaded = params.load(RolloutSettings)
    rollout = loaded.rollout.model_copy(update={"targets": {"local": place}, "timeouts": timeouts})
    return loaded.model_copy(update={"rollout": rollout})


@contextmanager
def stack(state: Path, **own: Any) -> Iterator[tuple[RolloutSettings, local.LocalTarget]]:
    """A target with nothing started yet. Whatever runs in it ends with the block, or with this process."""
    found = settings(state, **own)
    with ends_with_owner(local.tags(found)):
        try:
            yield found, local.connect(found)
        finally:
            local.down(found, grace_s=1.0)


def version(folder: Path, number: int, model_folder: Path = MODEL, **how: Any) -> Version:
    """An echo version in `folder`; another number is another digest. `how`: see runtimes.echo.Behaviour."""
    place = folder / f"v{number}"
    echo.write(place, model_folder, f"echo-{number}", echo.Behaviour(**how))
    return Version("assay", number, manifest.digest(place), place)


def real(folder: Path, number: int = 1) -> Version:
    """A finished variant's folder as a version."""
    return Version("assay", number, manifest.digest(folder), folder)

"""From the alias `approved` to a pipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import RegistryError
from demo.pipeline import Runner
from demo.place import Place
from rollout.registry import APPROVED, MlflowRegistry

LOOK_S = 0.5


@contextmanager
def opened(where: Place) -> Iterator[Runner]:
    """Every change of the alias starts a job of the runner."""
    runner, ending = Runner(where), threading.Event()
    registry = MlflowRegistry(where.settings.model.name)

    def watch() -> None:
        last: int | None = None
        while not ending.wait(LOOK_S):
            try:
                found = registry.alias(APPROVED)
            except RegistryError:
                continue
            if found is not None and found != last:
                runner.promote(found)
            last = found

    threading.Thread(target=watch, name="approval", daemon=True).start()
    yield runner
    ending.set()

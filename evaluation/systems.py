"""What answers in a comparison: a model on a runtime, and the facts that decide what it will answer."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from core import plugins
from core.errors import ConfigError
from models import manifest
from models.manifest import Manifest
from runtimes import Runtime

REFERENCE_DTYPE = "float32"


class System:
    """`sha256` names the model, `facts` all else that its answers depend on: together they key the cache.

    The model is loaded when `runtime` is first asked for, so a cached answer costs no import of torch.
    """

    def __init__(
        self, label: str, runtime_name: str, sha256: str, facts: dict[str, str], load: Callable[[], Runtime]
    ) -> None:
        self.label, self.runtime_name, self.sha256, self.facts = label, runtime_name, sha256, facts
        self._load = load
        self._runtime: Runtime | None = None

    @property
    def runtime(self) -> Runtime:
        if self._runtime is None:
            self._runtime = self._load()
        return self._runtime

    def close(self) -> None:
        """Free the model if it was loaded."""
        if self._runtime is not None:
            self._runtime.close()
            self._runtime = None


def original(model_folder: Path, threads: int) -> System:
    """The original weights in torch, float32: the reference."""
    libraries = {name: metadata.version(name) for name in ("torch", "transformers")}
    return System(
        label="reference",
        runtime_name="torch",
        sha256=manifest.source_digest(model_folder),
        facts={"dtype": REFERENCE_DTYPE} | libraries,
        load=lambda: _torch(model_folder, threads),
    )


def _torch(model_folder: Path, threads: int) -> Runtime:
    from runtimes import torch

    return torch.load(model_folder, threads)


def version(folder: Path, threads: int, label: str) -> System:
    """A version's folder, already verified, on the runtime that its manifest names.

    The model is loaded now: the runtime's version is one of the facts.
    """
    made = manifest.read(folder)
    runtime: Runtime = plugins.load("runtimes", made.runtime).load(folder, threads)
    system = System(
        label=label,
        runtime_name=made.runtime,
        sha256=manifest.digest(folder),
        facts={"runtime": runtime.name, "version": runtime.version},
        load=lambda: runtime,
    )
    assert system.runtime is runtime  # held, so that close() frees it
    return system


def verified(folder: Path, runtime_name: str) -> Manifest:
    """The manifest of `folder` after hashing its files again.

    Raises IntegrityError when a file differs, ConfigError when it was made for another runtime than `runtime_name`.
    """
    made = manifest.verify(folder)
    if made.runtime != runtime_name:
        raise ConfigError(
            f"{folder} was made for runtime '{made.runtime}', params.yaml now says '{runtime_name}': run `dvc repro`"
        )
    return made

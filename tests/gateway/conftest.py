"""Echo versions with the reference model's tokenizer, and a gateway without slots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.targets import Version
from serving.gateway.gateway import Gateway
from serving.gateway.settings import Settings
from tests.parts import local_stack, ports

MODEL = Path(__file__).parents[2] / "models/reference"


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version]:
    """Two versions that answer at once."""
    folder = tmp_path_factory.mktemp("versions")
    return local_stack.version(folder, MODEL, 1), local_stack.version(folder, MODEL, 2)


@pytest.fixture(scope="session")
def slow_versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version]:
    """Two versions whose streams last: 30 ms a token."""
    folder = tmp_path_factory.mktemp("slow")
    first, second = (local_stack.version(folder, MODEL, number, step_ms=30) for number in (1, 2))
    return first, second


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Running, with no slot behind it."""
    port, blue, green = ports.free(3)
    found = Gateway(Settings(folder=tmp_path / "g", port=port, blue_port=blue, green_port=green))
    found.start()
    yield found
    found.stop(0)

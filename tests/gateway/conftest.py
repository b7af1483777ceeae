"""Echo versions with the reference model's tokenizer, and a gateway without slots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.envoy import Gateway
from gateway.settings import Settings
from rehearsal import local_target
from rehearsal.processes import free_ports
from rollout.targets import Version


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version]:
    """Two versions that answer at once."""
    folder = tmp_path_factory.mktemp("versions")
    return local_target.version(folder, 1), local_target.version(folder, 2)


@pytest.fixture(scope="session")
def slow_versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Version, Version]:
    """Two versions whose streams last: 30 ms a token."""
    folder = tmp_path_factory.mktemp("slow")
    first, second = (local_target.version(folder, number, step_ms=30) for number in (1, 2))
    return first, second


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Running, with no slot behind it."""
    port, blue, green = free_ports(3)
    found = Gateway(Settings(folder=tmp_path / "g", port=port, blue_port=blue, green_port=green))
    found.start()
    yield found
    found.stop(0)

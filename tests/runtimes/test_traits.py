"""A runtime tells everything about itself in its own file, and the rest of the project asks for it there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import runtimes
from core import plugins
from core.errors import ConfigError
from host import packages
from runtimes import Traits

ROOT = Path(__file__).parents[2]
KNOWN = plugins.known("runtimes")


@pytest.mark.parametrize("name", KNOWN)
def test_every_file_is_a_runtime_that_says_what_it_is(name: str) -> None:
    plugin = plugins.load("runtimes", name)
    assert callable(plugin.load)
    assert isinstance(plugin.TRAITS, Traits)
    assert runtimes.traits(name) is plugin.TRAITS


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_runtime_requires_is_in_its_environment(name: str) -> None:
    found = runtimes.traits(name)
    needed = found.requirements or ()
    known = packages.locked(ROOT / found.environment.lock) if found.environment else packages.versions(needed)
    assert set(needed) <= known.keys()


def test_one_that_says_nothing_runs_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("runtimes.echo.TRAITS")
    assert runtimes.traits("echo") == Traits()
    runtimes.check_batch("echo", 10_000, "evaluate.batch")


def test_a_batch_beyond_what_it_takes_names_the_key() -> None:
    runtimes.check_batch("ort", 32, "evaluate.batch")
    with pytest.raises(ConfigError, match=r"^evaluate\.batch is 33, but runtime 'ort' takes at most 32 sequences at"):
        runtimes.check_batch("ort", 33, "evaluate.batch")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("torch", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("torch", "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        ("ort", "Failed to allocate memory for requested buffer of size 536870912"),
        ("ort", "std::bad_alloc"),
        ("vllm", "Free memory on device (3.1/79.1 GiB) on startup is less than desired"),
    ],
)
def test_out_of_memory_is_told_from_other_errors(name: str, text: str) -> None:
    assert runtimes.traits(name).is_out_of_memory(RuntimeError(text))
    assert runtimes.traits(name).is_out_of_memory(MemoryError())
    assert not runtimes.traits(name).is_out_of_memory(RuntimeError("bad node"))


def test_no_other_room_decides_by_a_runtime_s_name() -> None:
    """What differs by runtime is one of its traits. The default and the reference's runtime may be named."""
    names = "|".join({*KNOWN, *(name.replace("_", "-") for name in KNOWN)})
    named = re.compile(rf"""(?<!onnx)runtime.*["']({names})["']|["']({names})["'].*runtime""", re.IGNORECASE)
    rooms = {file.parent.name for file in ROOT.glob("*/__init__.py")} - {"tests", "runtimes", "benchmarks"}
    found = {
        str(file.relative_to(ROOT)) for room in rooms for file in (ROOT / room).rglob("*.py")
        if any(named.search(line) for line in file.read_text().splitlines())
    }  # fmt: skip
    assert found <= {
        "core/plugins.py",
        "models/params.py",
        "evaluation/systems.py",
        "rehearsal/planted.py",
        "stages/compile.py",
    }

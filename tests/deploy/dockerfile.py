"""deploy/docker/Dockerfile read as data, for what can be held to it without a container."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "docker" / "Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """`COPY`, `a b /c`; lines joined."""

    name: str
    value: str


def read() -> list[Instruction]:
    text = re.sub(r"\\\n\s*", "", FILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [Instruction(*line.split(maxsplit=1)) for line in lines]


def values(name: str) -> list[str]:
    return [instruction.value for instruction in read() if instruction.name == name]


def copied() -> list[tuple[list[str], str]]:
    """What comes from the build context into the image itself, and where it goes."""
    stages = [number for number, instruction in enumerate(read()) if instruction.name == "FROM"]
    copies = [instruction.value for instruction in read()[stages[-1] :] if instruction.name == "COPY"]
    parts = [value.split() for value in copies if not value.startswith("--from")]
    return [(sources, target) for *sources, target in parts]


def command() -> list[str]:
    [found] = values("CMD")
    return [str(part) for part in json.loads(found)]


def health_check() -> list[str]:
    [found] = values("HEALTHCHECK")
    return [str(part) for part in json.loads(found[found.index("[") :])]


def environment() -> dict[str, str]:
    [found] = values("ENV")
    return dict(part.split("=", 1) for part in found.split())


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps `path` out of the build; the last line that matches it or a folder of it counts."""
    found, parts = False, path.split("/")
    every = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        names = parts if pattern.startswith("**/") else every
        if any(fnmatch(name, pattern.removeprefix("**/")) for name in names) and not line.startswith("#"):
            found = not line.startswith("!")
    return found

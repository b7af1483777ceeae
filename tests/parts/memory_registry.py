"""A registry in one JSON file: what rollout/aliases.py's protocol asks, for tests that kill the controller."""

from __future__ import annotations

import json
from pathlib import Path

from core.errors import RegistryError
from core.files import write_text
from core.records import Verdict
from rollout.aliases import CHAMPION, PREVIOUS, Registered


class MemoryRegistry:
    """`versions`: number → (folder, evidence)."""

    def __init__(self, path: Path, versions: dict[int, tuple[Path, str, Verdict]]) -> None:
        self.path, self.versions = path, versions
        self.down = False
        if not path.exists():
            write_text(path, "{}")

    def version(self, number: int) -> Registered:
        self._up()
        if number not in self.versions:
            raise RegistryError(f"no version {number}")
        _, digest, evidence = self.versions[number]
        return Registered(number, digest, evidence, "scripted")

    def by_digest(self, digest: str) -> Registered | None:
        self._up()
        found = [number for number, (_, known, _) in self.versions.items() if known == digest]
        return self.version(found[-1]) if found else None

    def alias(self, name: str) -> int | None:
        self._up()
        found: int | None = json.loads(self.path.read_text()).get(name)
        return found

    def set_aliases(self, champion: int, previous: int | None) -> None:
        self._up()
        aliases = json.loads(self.path.read_text()) | {PREVIOUS: previous}
        write_text(self.path, json.dumps(aliases))
        write_text(self.path, json.dumps(aliases | {CHAMPION: champion}))

    def folder(self, version: Registered) -> Path:
        return self.versions[version.number][0]

    def _up(self) -> None:
        if self.down:
            raise RegistryError("the registry does not answer")

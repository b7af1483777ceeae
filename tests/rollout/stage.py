"""A stage for rollouts in tests: two verified versions, a record, a target and a registry, all in one folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from core.records import Verdict
from data.records import Item
from models import manifest
from models.params import Recipe
from rollout import planning
from rollout.analysis import Answers
from rollout.controller import Controller
from rollout.params import RolloutSettings
from rollout.record import Rollout, RolloutRecord, Who
from rollout.targets import Target, Version
from tests.parts.memory_registry import MemoryRegistry
from tests.parts.memory_target import MemoryTarget, Script

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "models" / "reference"
WHO = Who("tester", "https://gitlab.example/pipelines/7")
QUICK: dict[str, Any] = {
    "poll_s": 0.002,
    "timeouts": {"call_s": 0.2, "ready_s": 0.6, "switch_s": 0.3, "drain_s": 0.3, "finish_s": 2, "approval_s": 0.3},
}
PHASE: dict[str, Any] = {"interval_s": 0.02, "count": 2, "inconclusive_limit": 0, "suite_items": 6}


def settings(**changes: Any) -> RolloutSettings:
    """The shipped params, with everything that waits made short; `changes` go into the rollout section."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    rollout = raw["rollout"] | QUICK | changes
    for side in ("before", "after"):
        rollout[side] = raw["rollout"][side] | PHASE | changes.get(side, {})
    raw["data"] |= {"train_items": 50, "evaluation_items": 50}  # they are drawn, to ask others
    own = {name: raw[name] for name in RolloutSettings.model_fields}
    return RolloutSettings.model_validate(own | {"rollout": rollout})


def analysed(settings: RolloutSettings, phase: dict[str, Any], conditions: dict[str, str]) -> RolloutSettings:
    """`settings` with `phase` and `conditions` in both analyses, and a controller that looks often."""
    rollout = settings.rollout
    changed = {
        side: getattr(rollout, side).model_copy(update=phase | {"success_condition": conditions})
        for side in ("before", "after")
    }
    return settings.model_copy(update={"rollout": rollout.model_copy(update=changed | {"poll_s": 0.05})})


def version(root: Path, name: str) -> Path:
    """A small folder with a true manifest."""
    folder = root / name
    folder.mkdir()
    (folder / "weights.bin").write_bytes(name.encode() * 64)
    manifest.write(
        folder,
        variant=name,
        recipe=Recipe(quantizer="none", runtime="ort"),
        model_folder=REFERENCE,
        facts={},
        libraries=(),
    )
    return folder


@dataclass
class Stage:
    """Version 1 is live and champion; version 2 is the one to roll out."""

    root: Path
    settings: RolloutSettings = field(default_factory=settings)
    script: Script = field(default_factory=Script)
    evidence: Verdict = "pass"
    wrong: tuple[int, ...] = ()  # versions that answer every question wrongly
    wrong_live: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.folders = {number: self.root / f"v{number}" for number in (1, 2)}
        if not self.folders[1].exists():
            for folder in self.folders.values():
                version(self.root, folder.name)
        self.record = RolloutRecord(self.root / "rollout.db")
        self.target = MemoryTarget(self.root / "target.json", self.script)
        known = {
            number: (folder, manifest.digest(folder), self.verdict(number)) for number, folder in self.folders.items()
        }
        self.registry = MemoryRegistry(self.root / "registry.json", known)

    def verdict(self, number: int) -> Verdict:
        return self.evidence if number == 2 else "pass"

    def digest(self, number: int) -> str:
        return manifest.digest(self.folders[number])

    def put_live(self) -> None:
        """Version 1 on blue, as a finished rollout would have left it."""
        self.target.start("blue", Version("assay", 1, self.digest(1), self.folders[1]))
        self.target.switch("blue")
        self.registry.set_aliases(1, None)

    def ask(self, url: str, digest: str, asked: Sequence[Item]) -> Answers:
        number = next(number for number in self.folders if self.digest(number) == digest)
        live = self.target.observe().live
        wrong = number in self.wrong or (number in self.wrong_live and live is not None and url.endswith(live))
        return Answers.of({item.id: not wrong for item in asked})

    def controller(
        self, hook: Callable[[str], None] = lambda moment: None, target: Target | None = None
    ) -> Controller:
        return Controller(self.record, target or self.target, self.registry, self.settings, WHO, self.ask, hook=hook)

    def create(self, approve: bool = True, override: str | None = None) -> Rollout:
        plan = planning.promote("assay", 2, self.registry, self.target, override)
        rollout = self.record.create("production", plan, WHO, "approved in the UI", time.time())
        if approve:
            self.record.ask(rollout, "approve", WHO, "looks good", time.time())
        return rollout

    def promote(self) -> Rollout:
        return self.controller().run(self.create())

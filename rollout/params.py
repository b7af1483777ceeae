"""What params.yaml says of a rollout: its deadlines, its analysis and its targets."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from core import plugins
from core.errors import ConfigError
from core.params import Section, Seed
from data.params import DataParams
from evaluation.params import GenerationParams
from host.params import MachineParams
from models.params import ModelParams
from rollout.condition import Condition

READ_BYTES_PER_S = 50e6  # hashed or loaded; 15 GB took 32 s to hash beside eight busy processes (docs/figures.md)
TOKEN_S = 0.1  # what rollout.after allows between tokens: a version that is slower is rolled back


class RolloutTimeouts(Section):
    """Deadlines of the rollout's waiting states, in seconds; an analysis phase has its own, `deadline_s`.

    Those that params.yaml does not set grow with the model: verify_s and ready_s with the version's bytes, answer_s
    and drain_s with the tokens of an answer. Their defaults are the least.
    """

    call_s: float = Field(default=10, gt=0, description="one call to a target; also how long a slot may be unready")
    answer_s: float = Field(default=60, gt=0, description="one answer to a question of a suite")
    verify_s: float = Field(default=600, gt=0, description="hashing every file again")
    ready_s: float = Field(default=300, gt=0, description="a slot from its start to ready")
    approval_s: float = Field(default=3600, gt=0)
    switch_s: float = Field(default=60, gt=0)
    drain_s: float = Field(default=120, gt=0, description="the old slot's open streams; then it is stopped")
    finish_s: float = Field(default=300, gt=0, description="drain, aliases and stop together; also of going back")

    def verify_limit_s(self, version_bytes: int) -> float:
        """`verify_s`; if that is not set, also what a version of so many bytes takes to hash."""
        return self._at_least("verify_s", version_bytes / READ_BYTES_PER_S)

    def ready_limit_s(self, version_bytes: int) -> float:
        """`ready_s`; if that is not set, also what a server takes to hash the version and then to load it."""
        return self._at_least("ready_s", 2 * version_bytes / READ_BYTES_PER_S)

    def for_answers_of(self, tokens: int) -> Self:
        """With time for an answer of so many tokens, and for an open stream of one, where that is not set."""
        names = ("answer_s", "drain_s")
        return self.model_copy(update={name: self._at_least(name, TOKEN_S * tokens) for name in names})

    def _at_least(self, name: str, derived_s: float) -> float:
        given: float = getattr(self, name)
        return given if name in self.model_fields_set else max(given, derived_s)


QUESTIONS_AT_ONCE = 4  # of a suite, asked of one slot
USUAL_SHARE = 0.25  # of `answer_s`: what an answer may take on average


class AnalysisPhase(Section):
    """One side of the switch, in the words of Argo Rollouts. Conditions use the names of rollout/condition.py."""

    interval_s: float = Field(default=10, gt=0)
    count: int = Field(default=6, ge=1, description="measurements")
    failure_limit: int = Field(default=0, ge=0, description="failed measurements of one condition that are tolerated")
    inconclusive_limit: int = Field(default=1, ge=0)
    min_requests: int = Field(default=20, ge=1, description="in one interval; fewer are inconclusive")
    suite_items: int = Field(default=40, ge=0, description="verifiable questions asked at each measurement")
    answers_margin_points: float = Field(
        default=2, ge=0, lt=100, description="loss of right answers that right_change_low and _high are sharpest at"
    )
    answers_alpha: float = Field(default=0.05, gt=0, lt=1, description="chance that one of them is ever wrong")
    success_condition: dict[str, str] = Field(min_length=1)

    @field_validator("success_condition")
    @classmethod
    def _conditions_parse(cls, conditions: dict[str, str]) -> dict[str, str]:
        for name, text in conditions.items():
            try:
                Condition(text)
            except ConfigError as error:
                raise ValueError(f"{name}: {error}") from error
        return conditions

    def deadline_s(self, answer_s: float) -> float:
        """Twice the planned length, a minute, and time to ask the questions: before the switch of both slots."""
        waits = 2 * self.count * math.ceil(self.suite_items / QUESTIONS_AT_ONCE)
        return 2 * self.interval_s * self.count + 60 + waits * USUAL_SHARE * answer_s

    @model_validator(mode="after")
    def _some_must_succeed(self) -> Self:
        if self.failure_limit + self.inconclusive_limit >= self.count:
            raise ValueError("failure_limit + inconclusive_limit must be less than count, or nothing has to succeed")
        return self


TARGETS = "rollout.targets"  # the package whose files are the targets


class RolloutParams(Section):
    environment: str = Field(default="production", min_length=1)
    target: Annotated[str, plugins.name_of(TARGETS)] = Field(
        default="local", validate_default=True, description="a file in rollout/targets/"
    )
    targets: dict[str, SerializeAsAny[Section]] = Field(
        default_factory=dict,
        validate_default=True,
        description="options of a target by its file's name, checked by that file's `Options`",
    )
    record: Path = Field(default=Path("rollout.db"), description="SQLite file with the hash-chained events")
    suite: str | None = Field(default=None, description="key in data.suites for questions; default: all")
    mirror_percent: float = Field(default=100, gt=0, le=100, description="of users' requests, to the preview")
    poll_s: float = Field(default=0.5, gt=0)
    keep_previous: bool = Field(default=True, description="the old slot stays up, idle, for an immediate rollback")
    timeouts: RolloutTimeouts = RolloutTimeouts()
    before: AnalysisPhase
    after: AnalysisPhase

    @field_validator("targets", mode="before")
    @classmethod
    def _each_checks_its_own(cls, given: Any, info: ValidationInfo) -> Any:
        """The options of every target that is named, and of the one in use: its defaults must do, too."""
        if not isinstance(given, dict):
            return given
        used: dict[str, Any] = {info.data["target"]: {}} if "target" in info.data else {}
        try:
            return {name: _options(name, found) for name, found in (used | given).items()}
        except ConfigError as error:
            raise ValueError(str(error)) from error

    def options(self, target: str) -> Any:
        """An instance of the target's `Options`: what params.yaml says over its defaults."""
        return self.targets.get(target) or _options(target, {})


def _options(target: str, given: Any) -> Any:
    return plugins.options(plugins.load(TARGETS, target), given, target)


class RolloutSettings(Section):
    """What a rollout reads of params.yaml."""

    seed: Seed
    model: ModelParams
    machine: MachineParams
    data: DataParams
    generation: GenerationParams
    rollout: RolloutParams

    @model_validator(mode="after")
    def _longest_answer_fits(self) -> Self:
        """A reply of generation.max_tokens may be waited for, and an open stream of one is not cut off."""
        timeouts = self.rollout.timeouts.for_answers_of(self.generation.max_tokens)
        self.__dict__["rollout"] = self.rollout.model_copy(update={"timeouts": timeouts})  # frozen for everybody else
        return self

    @model_validator(mode="after")
    def _suite_exists(self) -> Self:
        suite = self.rollout.suite
        if suite is not None and suite not in self.data.suites:
            raise ValueError(f"rollout.suite: no suite '{suite}'; known: {', '.join(self.data.suites)}")
        return self

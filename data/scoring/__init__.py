"""The scoring contract. Each file here is one rule for when a reply is right; its file name is an item's `scoring`.

A rule has
- `is_right(item, text) -> bool`, about a model's whole reply;
- `ideal_answer(item) -> str`, only where the answer is not to stand in a box: how a perfect reply puts it;
- `class Options(BaseModel)`, only where it has settings: a suite's `scoring_options`, checked before any work. The
  rule reads those of an item with `scoring.options(item)`; they travel as JSON in `Item.metadata`.

It accepts `ideal(item)`, refuses the empty reply and never raises, whatever a model writes.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core import plugins
from core.errors import ConfigError
from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    """Whether a whole reply (the model's new text) is right by the item's scoring rule."""
    return bool(plugins.load("data.scoring", item.scoring).is_right(item, text))


def ideal(item: Item) -> str:
    """The reply that a perfect model would give: the worked solution, or the answer alone, as the rule wants it."""
    if item.solution is not None:
        return item.solution
    rule = plugins.load("data.scoring", item.scoring)
    answer = rule.ideal_answer(item) if hasattr(rule, "ideal_answer") else f"{replies.BOX}{item.answer}}}"
    return f"{replies.THINK_END}\n{answer}"


@cache
def known(name: str) -> str:
    """`name`, if a rule is called so; ConfigError says which there are."""
    plugins.module_name("data.scoring", name)
    return name


class _NoOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")


def checked(name: str, given: dict[str, Any]) -> str | None:
    """`given` as an item of the rule `name` carries it in `metadata`; ConfigError names each key that is wrong."""
    plugins.options(plugins.load("data.scoring", name), given, "scoring_options", default=_NoOptions)
    return json.dumps(given, sort_keys=True) if given else None


def options(item: Item) -> Any:
    """The settings of the item's rule, as its `Options`."""
    return _options(item.scoring, item.metadata or "{}")


@lru_cache(maxsize=1024)
def _options(name: str, given: str) -> Any:
    return plugins.load("data.scoring", name).Options.model_validate_json(given)


class ScoringOptions(BaseModel):
    """What the options of a suite say of scoring, where the user chooses the rule."""

    scoring: Annotated[str, plugins.name_of("data.scoring")] = Field(
        default="boxed", description="file in data/scoring/ that says when a reply is right"
    )
    scoring_options: dict[str, Any] = Field(default_factory=dict, description="that file's own settings")

    @model_validator(mode="after")
    def _fit_the_rule(self) -> Self:
        try:
            checked(self.scoring, self.scoring_options)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self

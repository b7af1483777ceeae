"""What decides results and lies outside the project: the model, and what the suites read. DVC does not see it.

The stage `inputs` writes its identity in every run, and `prepare` depends on that: what was retrained, edited or
replaced under its old name makes the same stale as a change in params.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

from core import plugins
from core.errors import DataError, SourceError
from core.progress import say
from core.records import Record
from data.params import DataParams
from models import sources
from models.params import ModelParams


class Input(Record):
    """One of them, and what tells its content from any other: digests, entity tags, a version, a commit."""

    asked: str  # as params.yaml has it
    identity: dict[str, str]


class Inputs(Record):
    by_key: dict[str, Input]  # a key of params.yaml


def look(model: ModelParams, data: DataParams, recorded: Inputs | None = None, *, trust: bool = False) -> Inputs:
    """The identity of every input, now.

    One that cannot be looked at is taken as it is in `recorded`, with a warning, where params ask for the same one;
    where there is no such record SourceError, DataError or ConfigError says why. With `trust` what is recorded is not
    looked at.
    """
    found = {}
    for key, asked, identity in _inputs(model, data):
        kept = recorded.by_key.get(key) if recorded else None
        if kept and kept.asked != asked:
            kept = None
        try:
            found[key] = kept if kept and trust else Input(asked=asked, identity=identity())
        except (SourceError, DataError) as error:
            if not kept:
                raise
            say(f"warning: {key} could not be looked at and is taken as unchanged: {error}")
            found[key] = kept
    return Inputs(by_key=found)


def changed(before: Inputs | None, now: Inputs) -> list[str]:
    """The keys that differ, came or went."""
    known = before.by_key if before else {}
    return sorted(key for key in known | now.by_key if known.get(key) != now.by_key.get(key))


def _inputs(model: ModelParams, data: DataParams) -> Iterator[tuple[str, str, Callable[[], dict[str, str]]]]:
    """Key, what params ask for there, and how its identity is found."""
    revision = f" at {model.revision}" if model.revision else ""
    yield "model.source", f"{model.source}{revision}", lambda: sources.open_source(model).identity()
    for name, suite in data.suites.items():
        module, key = plugins.load("data.suites", suite.kind), f"data.suites.{name}"
        if hasattr(module, "identity"):
            options = plugins.options(module, suite.options, f"params.yaml: {key}.options")
            yield key, json.dumps(suite.options, sort_keys=True), partial(module.identity, options)

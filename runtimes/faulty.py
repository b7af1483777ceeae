"""A real model that is made to misbehave once it is live: for rehearsals and the demo, never for users.

The folder is another variant's, with faults.json: which runtime runs it, and how it misbehaves (echo's `Behaviour`).
Whoever evaluates it (`load`) sees the model as it is: like a fault in real life, this one does not show beforehand.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core import files, plugins
from core.errors import ConfigError
from models import manifest, tokenizer
from models.params import Recipe
from runtimes import Engine, Event, Runtime, Sampling, TokenIds, Traits
from runtimes.echo import Behaviour

FILE = "faults.json"
TRAITS = Traits()


class Faults(BaseModel):
    """What faults.json holds. Of `how`, garbage means: numbers and words of the question are mixed up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runtime: str
    how: Behaviour


def write(folder: Path, healthy: Path, model_folder: Path, variant: str, how: Behaviour) -> manifest.Manifest:
    """Make `folder` a version with the files of `healthy` (a variant's folder) and the faults; it has a digest of
    its own. `model_folder` holds the original model."""
    made = manifest.verify(healthy)
    shutil.copytree(healthy, folder)
    files.write_text(folder / FILE, Faults(runtime=made.runtime, how=how).model_dump_json(indent=2) + "\n")
    recipe = Recipe(quantizer=made.quantizer, runtime="faulty", options=made.options)
    libraries = tuple(made.libraries)
    return manifest.write(
        folder, variant=variant, recipe=recipe, model_folder=model_folder, facts=made.facts, libraries=libraries
    )


def load(folder: Path, threads: int) -> Runtime:
    """The runtime contract: the healthy model."""
    runtime: Runtime = plugins.load("runtimes", _faults(folder).runtime).load(folder, threads)
    return runtime


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The engine contract: the healthy engine, and the faults over it."""
    found = _faults(folder)
    healthy: Engine = plugins.load("runtimes", found.runtime).engine(folder, threads, max_batch)
    words = tokenizer.load(folder)
    marks = {*words.special_ids, words.vocabulary.get("<think>"), words.vocabulary.get("</think>")}
    return FaultyEngine(healthy, found.how, marks)


def _faults(folder: Path) -> Faults:
    try:
        return Faults.model_validate_json((folder / FILE).read_text())
    except (OSError, ValidationError) as error:
        raise ConfigError(f"{folder / FILE} does not say how the runtime 'faulty' misbehaves: {error}") from error


class FaultyEngine:
    """Passes every call on; what comes back is spoilt for the requests that the faults hit."""

    def __init__(self, healthy: Engine, how: Behaviour, marks: Collection[int | None]) -> None:
        self.name, self.version = healthy.name, healthy.version
        self.max_batch, self.context_tokens, self.samples = (
            healthy.max_batch,
            healthy.context_tokens,
            healthy.samples,
        )
        self._healthy, self._how, self._marks = healthy, how, marks
        self._random = random.Random(0)
        self._started_s, self._requests = time.monotonic(), 0
        self._hit: dict[int, dict[str, list[int]]] = {}  # handle → fault → ordinary tokens of the prompt

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract."""
        handle = self._healthy.submit(prompt, max_tokens, sampling)
        if self._begun():
            how = self._how
            shares = {"error": how.error_share, "garbage": how.garbage_share, "empty": how.empty_share}
            plain = [token for token in prompt if token not in self._marks]
            self._hit[handle] = {fault: plain for fault, share in shares.items() if self._random.random() < share}
        self._requests += 1
        return handle

    def step(self) -> list[Event]:
        """See the contract."""
        slow_ms = self._how.slow_ms if self._begun() else 0.0
        time.sleep((self._how.step_ms + slow_ms) / 1e3)
        return [self._spoil(event) for event in self._healthy.step()]

    def cancel(self, handle: int) -> None:
        """See the contract."""
        self._hit.pop(handle, None)
        self._healthy.cancel(handle)

    def close(self) -> None:
        """Free the model."""
        self._healthy.close()

    def _begun(self) -> bool:
        return self._how.begun(self._requests, time.monotonic() - self._started_s)

    def _spoil(self, event: Event) -> Event:
        faults = self._hit.get(event.handle, {})
        if "error" in faults or "empty" in faults:
            self.cancel(event.handle)
            failed = "error" in faults
            return Event(event.handle, None, "error" if failed else "stop", "told to fail" if failed else None)
        if event.finish:
            self._hit.pop(event.handle, None)
        if "garbage" in faults and event.token is not None:
            return replace(event, token=self._mixed_up(event.token, faults["garbage"]))
        return event

    def _mixed_up(self, token: int, prompt: Sequence[int]) -> int:
        """A token of the question becomes another one of it; the others, such as the end of the thought, stay."""
        return self._random.choice(prompt) if token in prompt else token

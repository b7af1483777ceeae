"""A runtime without a model: it answers with the prompt's own tokens. For rehearsals, load tests and the demo.

The folder needs manifest.json and the tokenizer's files only. How it misbehaves is JSON, in the folder's `echo.json`
(part of the version) or, over that, in the environment variable ASSAY_ECHO: see `Behaviour`.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core import files
from core.errors import ConfigError, RuntimeFault
from models import manifest, tokenizer, tokenizer_identity
from models.params import Recipe
from models.tokenizer import Tokenizer
from runtimes import Engine, Event, Generation, Logits, Runtime, Sampling, TokenIds, Traits, check_ids

FILE = "echo.json"
TRAITS = Traits()
VARIABLE = "ASSAY_ECHO"


class Behaviour(BaseModel):
    """Shares are of the requests, drawn with a fixed seed. Faults begin when every `after_…` condition holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step_ms: float = Field(default=0.0, ge=0, description="time that a step (one token of every request) takes")
    slow_ms: float = Field(default=0.0, ge=0, description="fault: added to every step")
    error_share: float = Field(default=0.0, ge=0, le=1, description="fault: the request fails (HTTP 500)")
    garbage_share: float = Field(default=0.0, ge=0, le=1, description="fault: the tokens come in reverse order")
    empty_share: float = Field(default=0.0, ge=0, le=1, description="fault: the answer is empty")
    after_requests: int = Field(default=0, ge=0)
    after_s: float = Field(default=0.0, ge=0, description="since the engine was loaded")
    after_file: str | None = Field(default=None, description="faults begin when this file exists")

    def begun(self, requests: int, seconds: float) -> bool:
        """Whether faults have begun, after so many requests and so long."""
        return (
            requests >= self.after_requests
            and seconds >= self.after_s
            and (self.after_file is None or Path(self.after_file).exists())
        )


def load(folder: Path, threads: int) -> Runtime:
    """The runtime contract; `threads` does not matter."""
    return EchoRuntime(folder)


def engine(folder: Path, threads: int, max_batch: int) -> Engine:
    """The engine contract; `threads` does not matter."""
    return EchoEngine(folder, max_batch)


def write(folder: Path, model_folder: Path, variant: str = "echo", how: Behaviour | None = None) -> manifest.Manifest:
    """Make `folder` an echo version: the model's tokenizer files, `how` as echo.json, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer_identity.adopt(model_folder, folder)
    if how is not None:
        files.write_text(folder / FILE, how.model_dump_json(indent=2) + "\n")
    recipe = Recipe(quantizer="none", runtime="echo")
    return manifest.write(folder, variant=variant, recipe=recipe, model_folder=model_folder, facts={}, libraries=())


def behaviour(folder: Path) -> Behaviour:
    """echo.json of the folder, then ASSAY_ECHO over it. Raises ConfigError if one of them is malformed."""
    found = Behaviour()
    texts: dict[str, str | None] = {VARIABLE: os.environ.get(VARIABLE)}
    if (folder / FILE).exists():
        texts = {str(folder / FILE): (folder / FILE).read_text(), **texts}
    for where, text in texts.items():
        if text:
            try:
                changed = Behaviour.model_validate_json(text)
            except ValidationError as error:
                raise ConfigError(f"{where}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
            found = found.model_copy(update=changed.model_dump(include=changed.model_fields_set))
    return found


def answer(words: Tokenizer, prompt: TokenIds) -> list[int]:
    """The prompt's ordinary tokens, after a `</think>` if the prompt opens a thought that it does not close."""
    tokens = list(prompt)
    opening, closing = words.vocabulary.get("<think>"), words.vocabulary.get("</think>")
    plain = [token for token in tokens if token not in words.special_ids and token not in (opening, closing)]
    tags = [token for token in tokens if token in (opening, closing)]
    opens = bool(tags) and tags[-1] == opening
    return [closing, *plain] if closing is not None and opens else plain


class EchoRuntime:
    """Without faults: what the engine answers when it behaves."""

    name = "echo"
    version = "1"

    def __init__(self, folder: Path) -> None:
        self._words = tokenizer.load(folder)

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See the contract; with `ignore_eos` the prompt is repeated. `sampling` has no effect."""
        check_ids(prompts, self._words.rows)
        answers = [answer(self._words, prompt) for prompt in prompts]
        if ignore_eos:
            answers = [(tokens or [0]) * max_tokens for tokens in answers]
        for step in range(min(max_tokens, max(map(len, answers)))):
            if on_step:
                on_step(step)
        return [Generation(tuple(tokens[:max_tokens]), len(tokens) <= max_tokens) for tokens in answers]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """There is no model to ask."""
        raise RuntimeFault("the runtime 'echo' has no model and so no logits: evaluate another variant")

    def close(self) -> None:
        """Nothing to free."""


class EchoEngine:
    """One token of every request a step."""

    name = EchoRuntime.name
    version = EchoRuntime.version
    context_tokens = 4096
    samples = False

    def __init__(self, folder: Path, max_batch: int) -> None:
        self.max_batch = max_batch
        self._words = tokenizer.load(folder)
        self._behaviour = behaviour(folder)
        self._random = random.Random(0)
        self._started_s = time.monotonic()
        self._handles = count()
        self._running: dict[int, list[int]] = {}  # handle → tokens still to come, the next one last
        self._limits: dict[int, int] = {}
        self._failing: set[int] = set()

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """See the contract."""
        check_ids([prompt], self._words.rows)
        handle = next(self._handles)
        tokens = answer(self._words, prompt)
        if sampling.ignore_eos:
            tokens = (tokens or [0]) * max_tokens
        if self._faulty(handle):
            if self._random.random() < self._behaviour.error_share:
                self._failing.add(handle)
            if self._random.random() < self._behaviour.garbage_share:
                tokens.reverse()
            if self._random.random() < self._behaviour.empty_share:
                tokens = []
        self._running[handle] = tokens[::-1]
        self._limits[handle] = max_tokens
        return handle

    def step(self) -> list[Event]:
        """See the contract."""
        slow_ms = self._behaviour.slow_ms if self._faulty(min(self._running, default=0)) else 0.0
        time.sleep((self._behaviour.step_ms + slow_ms) / 1e3)
        return [self._advance(handle) for handle in list(self._running)]

    def cancel(self, handle: int) -> None:
        """See the contract."""
        self._running.pop(handle, None)
        self._limits.pop(handle, None)
        self._failing.discard(handle)

    def close(self) -> None:
        """Forget every request."""
        self._running.clear()

    def _advance(self, handle: int) -> Event:
        if handle in self._failing:
            self.cancel(handle)
            return Event(handle, None, "error", "echo was told to fail")
        tokens = self._running[handle]
        if not tokens:
            self.cancel(handle)
            return Event(handle, None, "stop")
        token = tokens.pop()
        self._limits[handle] -= 1
        if tokens and not self._limits[handle]:
            self.cancel(handle)
            return Event(handle, token, "length")
        if not tokens:
            self.cancel(handle)
            return Event(handle, token, "stop")
        return Event(handle, token)

    def _faulty(self, handle: int) -> bool:
        return self._behaviour.begun(handle, time.monotonic() - self._started_s)

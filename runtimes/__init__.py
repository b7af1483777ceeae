"""The runtime contract. Each file here is one runtime; its file name is its name in params.

A runtime module has
- `load(folder, threads) -> Runtime`; `folder` is a variant's folder (or, for `torch`, a model's)
- `TRAITS = Traits(...)`: what the rest of the project has to know about it without loading a model
- `engine(folder, threads, max_batch) -> Engine`, if it can serve
- `available() -> str | None`, if it does not run on every machine: why it cannot run on this one
The folders hold parts of runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core import plugins
from core.errors import ConfigError, RequestError
from host import interpreter

TokenIds: TypeAlias = Sequence[int]
Logits: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True)
class Generation:
    """One answer: new token ids without the prompt and without the end token; `finished` if the end token came."""

    token_ids: tuple[int, ...]
    finished: bool


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, else from the nucleus `top_p` of the `top_k` likeliest.

    `top_k` 0 leaves all. `ignore_eos` goes on to `max_tokens` whatever comes (load tests).
    """

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    ignore_eos: bool = False
    top_k: int = 0


class Runtime(Protocol):
    """Generation and teacher forcing over one loaded model."""

    name: str
    version: str

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Continuation of all `prompts` as one batch, in order, at most `max_tokens` new tokens each.

        `sampling` has one entry a prompt (their `ignore_eos` is not read); None is greedy. With a seed, an answer
        depends on its prompt and that seed, and on what shares the batch only as far as that changes the rounding of
        logits.

        `ignore_eos` generates exactly `max_tokens` tokens (benchmarks). `on_step(i)` is called right after the i-th
        token (from 0) of the batch exists, so that a caller can time TTFT and ITL. Raises RequestError: see
        `check_ids`.
        """
        ...

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing: for each sequence float32 logits of shape (len(sequence), vocabulary)."""
        ...

    def close(self) -> None:
        """Free the model. Calling it twice is fine."""
        ...


@dataclass(frozen=True)
class Event:
    """What one step did to one request: a new token, its end, or both. The end token itself is never reported."""

    handle: int
    token: int | None
    finish: Literal["stop", "length", "error"] | None = None
    error: str | None = None


class Engine(Protocol):
    """Continuous batching over one loaded model: requests join and leave between two steps. Used by one thread."""

    name: str
    version: str
    max_batch: int
    context_tokens: int  # prompt and answer together
    samples: bool  # whether a temperature above 0 is possible

    def submit(self, prompt: TokenIds, max_tokens: int, sampling: Sampling) -> int:
        """Give a request a place; returns its handle. The caller keeps at most `max_batch` requests at a time.

        Raises RequestError for one that it cannot take: see `check_ids`. The engine goes on with the others.
        """
        ...

    def step(self) -> list[Event]:
        """Run the model once for the requests that have a place. A request that finished has left.

        Raises RuntimeFault when the engine cannot go on; one request's own failure is an event.
        """
        ...

    def cancel(self, handle: int) -> None:
        """Free a request's place; an unknown handle is fine. No event of it follows."""
        ...

    def close(self) -> None:
        """Free the model. Calling it twice is fine."""
        ...


def _no_labels(folder: Path, folder_in_image: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Traits:
    """What a runtime says about itself; the defaults fit one that runs anywhere, in this project's environment."""

    needs_gpu: bool = False
    environment: interpreter.Environment | None = None  # where it is installed; None: this project's own
    max_sequences: int | None = None  # that `Runtime.generate` takes at once; None: any number
    requirements: tuple[str, ...] | None = None  # distributions that a version needs; None: those of its manifest
    out_of_memory: tuple[str, ...] = ("out of memory",)  # in its errors, in lower case
    # Annotations of the image of the version in a folder, which the image holds at `folder_in_image`.
    image_labels: Callable[[Path, str], Mapping[str, str]] = _no_labels

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error that the runtime raised says that memory ran out: a smaller batch may work."""
        return isinstance(error, MemoryError) or any(text in str(error).lower() for text in self.out_of_memory)


def traits(name: str) -> Traits:
    """What runtime `name` says about itself. An unknown name raises ConfigError, as in every function below."""
    found: Traits = getattr(plugins.load("runtimes", name), "TRAITS", Traits())
    return found


def why_not_here(name: str) -> str | None:
    """Why runtime `name` cannot run on this machine; None if it can."""
    available: Callable[[], str | None] | None = getattr(plugins.load("runtimes", name), "available", None)
    return available() if available else None


def check_ids(sequences: Sequence[TokenIds], rows: int) -> None:
    """Raise RequestError for an empty sequence, or an id outside the embedding's `rows`.

    Every runtime calls it with all that it is given: kernels read such a row from anywhere, or end the process.
    """
    for number, ids in enumerate(sequences):
        if len(ids) == 0:
            raise RequestError(f"sequence {number} has no tokens")
        wrong = next((token for token in ids if not 0 <= token < rows), None)
        if wrong is not None:
            raise RequestError(f"sequence {number}: token id {wrong} is outside the {rows} embedding rows")


def check_batch(name: str, batch: int, key: str) -> None:
    """Raise ConfigError when params' `key` asks runtime `name` for more sequences at once than it takes."""
    most = traits(name).max_sequences
    if most is not None and batch > most:
        raise ConfigError(f"{key} is {batch}, but runtime '{name}' takes at most {most} sequences at once: lower it")


def switch_interpreter_for(name: str) -> None:
    """Continue this command where runtime `name` is installed (host/interpreter.py); most are installed here."""
    if environment := traits(name).environment:
        interpreter.switch_interpreter(environment)

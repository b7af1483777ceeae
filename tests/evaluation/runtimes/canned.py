"""A runtime that answers from a table in its folder: deterministic, instant, and it writes down every call.

`table.json`: {"answers": {prompt: [token ids, finished]}, "noise": standard deviation of the logits' error,
"vocabulary": n, "delay_s": time each call takes}. Calls are appended to the file that CANNED_LOG names; CANNED_REASON
says why it cannot run here. The fixture `canned` puts this folder on the path of runtimes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from runtimes import Generation, Logits, Sampling, TokenIds


def load(folder: Path, threads: int) -> Canned:
    return Canned(folder)


def available() -> str | None:
    return os.environ.get("CANNED_REASON")


class Canned:
    name = "canned"
    version = "1"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = json.loads((folder / "table.json").read_text())

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        self._call("generate", len(prompts))
        found = [self.table["answers"][" ".join(map(str, prompt))] for prompt in prompts]
        return [Generation(tuple(ids[:max_tokens]), finished and len(ids) < max_tokens) for ids, finished in found]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        self._call("logits", len(sequences))
        return [self._logits(sequence) for sequence in sequences]

    def close(self) -> None:
        self.table = None

    def _logits(self, sequence: TokenIds) -> Logits:
        """The same for every folder, but for its noise; the token that follows is the likeliest."""
        shape = (len(sequence), self.table["vocabulary"])
        logits = np.random.default_rng(list(sequence)).normal(0, 1, shape)
        logits[np.arange(len(sequence) - 1), list(sequence[1:])] += 6.0
        noise = np.random.default_rng([1, *sequence]).normal(0, 1, shape)
        noisy: Logits = (logits + self.table["noise"] * noise).astype(np.float32)
        return noisy

    def _call(self, what: str, count: int) -> None:
        if log := os.environ.get("CANNED_LOG"):
            with Path(log).open("a") as stream:
                stream.write(f"{self.folder.name} {what} {count}\n")
        time.sleep(self.table["delay_s"])

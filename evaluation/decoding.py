"""How both systems decode: greedily or sampled, as params say or as the model's own generation_config.json does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from core.errors import ConfigError
from core.progress import say
from evaluation.params import GenerationParams
from models import families
from runtimes import Sampling

SAMPLES = 4  # answers to an item, unless generation.samples says otherwise
TEMPERATURE = 1.0  # of a model that names none: what transformers and vLLM take then

Side = Literal["reference", "variant"]
T = TypeVar("T")


@dataclass(frozen=True)
class Sampled:
    """What each answer is drawn with, and how many an item has on each side. `top_k` 0 leaves every token."""

    temperature: float
    top_p: float
    top_k: int
    samples: int

    def with_seed(self, seed: int | None) -> Sampling:
        """What a runtime draws one answer with."""
        return Sampling(self.temperature, self.top_p, seed, top_k=self.top_k)


@dataclass(frozen=True)
class Decoding:
    """How answers are made. Batch and chunk count too: another batch can round a near tie the other way.

    `sampled` None is greedy, with one answer an item; `seed`, the run's, decides then nothing.
    """

    max_tokens: int
    batch: int
    chunk_items: int
    sampled: Sampled | None = None
    seed: int = 0

    @property
    def samples(self) -> int:
        """Answers to an item, on each side."""
        return self.sampled.samples if self.sampled else 1


def seed_of(run_seed: int, side: Side, item_id: str, sample: int) -> int:
    """The seed of one answer, from 0 to 2^31-1: the same in every run of `run_seed`, another for each argument."""
    text = json.dumps([run_seed, side, item_id, sample])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def decoding_of(generation: GenerationParams, model_folder: Path) -> Sampled | None:
    """What `generation` in params asks for the model in `model_folder`; None is greedy.

    With `decoding: model`, generation_config.json decides by its do_sample. When sampled, what params leave open is
    taken from that file, and what it does not name is off (as in vLLM; transformers' `generate` takes top_k 50).
    Raises ConfigError for a setting that would have no effect, SourceError for a file that cannot be read.
    """
    sampled = generation.decoding == "sampled"
    config = None if generation.decoding == "greedy" else families.generation_config(model_folder, sampled)
    if not (config and (sampled or config.do_sample)):
        if ignored := generation.only_sampled:
            why = "the model's generation_config.json does not have do_sample" if config else "generation.decoding"
            raise ConfigError(
                f"answers are greedy ({why}), so generation.{ignored[0]} has no effect: remove it, or set "
                "generation.decoding: sampled"
            )
        return None
    if config.not_applied:
        say(f"generation_config.json asks for {', '.join(config.not_applied)}: not applied, to neither side")
    return Sampled(
        temperature=_first(generation.temperature, config.temperature, TEMPERATURE),
        top_p=_first(generation.top_p, config.top_p, 1.0),
        top_k=_first(generation.top_k, config.top_k, 0),
        samples=_first(generation.samples, SAMPLES),
    )


def _first(*values: T | None) -> T:
    return next(value for value in values if value is not None)

"""Runs the calibration items through the original model and collects the statistics, resuming where it was killed.

What the model answers in the decode phase is kept too: recipes are measured on its own text.

Memory does not grow with the data: calibrators that keep every output run out of it (microsoft/onnxruntime #10503).
One that sees prefill only is wrong about decode (optimum #1853).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from calibration import statistics
from calibration.params import CalibrateParams
from core import progress
from data.items import Prepared
from models import families

CHECKPOINT_BATCHES = 8


def run(
    model_folder: Path, items: Sequence[Prepared], settings: CalibrateParams, threads: int, seed: int, kept: Path
) -> dict[str, torch.Tensor]:
    """Statistics as tensors named `<phase>/<site>/<statistic>`, and the texts as statistics.own_texts reads them.

    `kept` is a file for the state after every few batches: a killed run goes on from it and repeats at most that.
    """
    torch.set_num_threads(threads)
    model = _load(model_folder)
    sites = statistics.site_modules(families.read(model_folder).layers)
    done, tensors = _resume(kept)
    collectors = {phase: Collector(settings.sample_rows, torch.Generator()) for phase in statistics.PHASES}
    for phase, collector in collectors.items():
        prefix = f"{phase}/"
        collector.tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    jobs = list(_jobs(items, settings))
    texts = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{statistics.TEXTS}/")}
    for number, (phase, batch) in enumerate(progress.track(jobs, "calibrate", unit="batch")):
        if number < done:
            continue
        collector = collectors[phase]
        handles = [
            model.get_submodule(module).register_forward_pre_hook(collector.hook(site))
            for site, module in sites.items()
        ]
        collector.generator.manual_seed(seed + number)  # a resumed run draws the same sample
        with torch.inference_mode():
            if phase == "prefill":
                _prefill(model, collector, batch)
            else:
                first = len(texts) // 2  # a prompt and a reply each
                seen = [not statistics.held_out(first + row) for row in range(len(batch))]
                replies = _decode(model, collector, batch, settings.decode_steps, seen)
                texts |= statistics.texts(first, [row.prompt_ids for row in batch], replies)
        for handle in handles:
            handle.remove()
        if (number + 1) % CHECKPOINT_BATCHES == 0 or number + 1 == len(jobs):
            tensors = texts | {f"{p}/{name}": t for p, c in collectors.items() for name, t in c.tensors.items()}
            statistics.save(kept, tensors | {"done": torch.tensor([number + 1])})
    return tensors


def _jobs(items: Sequence[Prepared], settings: CalibrateParams) -> Iterator[tuple[str, Sequence[Prepared]]]:
    chosen = {"prefill": items[: settings.prefill_items], "decode": items[-settings.decode_items :]}
    for phase, part in chosen.items():
        by_length = sorted(part, key=lambda row: len(row.prompt_ids) + len(row.target_ids))  # little padding
        for start in range(0, len(by_length), settings.batch):
            yield phase, by_length[start : start + settings.batch]


def _prefill(model: Any, collector: Collector, batch: Sequence[Prepared]) -> None:
    """Whole sequences, prompt and worked solution, right-padded.

    The head's input is taken where it is made. Its output, a number for each word at each token, is of no use here:
    3 GiB of them, for 16 items of 300 tokens and 152 000 words.
    """
    sequences = [(*row.prompt_ids, *row.target_ids) for row in batch]
    width = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[0] * (width - len(sequence))] for sequence in sequences])
    collector.mask = torch.tensor([[True] * len(s) + [False] * (width - len(s)) for s in sequences])
    hidden = model.model(ids, use_cache=False).last_hidden_state
    collector.hook("head")(None, (hidden,))


def _decode(
    model: Any, collector: Collector, batch: Sequence[Prepared], steps: int, seen: list[bool]
) -> list[list[int]]:
    """The model's own greedy answers, one token at a time over a real KV cache, up to their end token.

    The rows marked in `seen` are recorded, from their first answered token on.
    """
    from transformers import DynamicCache

    width = max(len(row.prompt_ids) for row in batch)
    pads = [width - len(row.prompt_ids) for row in batch]
    ids = torch.tensor([[*[0] * pad, *row.prompt_ids] for pad, row in zip(pads, batch, strict=True)])
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in pads])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache()
    collector.mask = None
    said: list[torch.Tensor] = []
    for _ in range(steps + 1):
        logits = model(
            ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        ).logits
        ids, positions = logits[:, -1:].argmax(-1), positions[:, -1:] + 1
        said.append(ids)
        mask = torch.cat([mask, mask.new_ones(len(batch), 1)], dim=1)
        collector.mask = torch.tensor(seen)[:, None]
    ends = model.generation_config.eos_token_id
    stops = set(ends) if isinstance(ends, list) else {ends}
    return [list(itertools.takewhile(lambda one: one not in stops, row)) for row in torch.cat(said, 1).tolist()]


def _load(model_folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        model_folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    ).eval()


def _resume(kept: Path) -> tuple[int, dict[str, torch.Tensor]]:
    from safetensors.torch import load_file

    if not kept.is_file():
        return 0, {}
    tensors = load_file(kept)
    return int(tensors.pop("done")[0]), tensors


@dataclass
class Collector:
    """Accumulates the statistics of one phase of all sites. `mask` marks the real tokens of the current batch."""

    sample_rows: int
    generator: torch.Generator
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    mask: torch.Tensor | None = None

    def hook(self, site: str) -> Callable[[Any, tuple[Any, ...]], None]:
        def record(_module: Any, inputs: tuple[Any, ...]) -> None:
            if self.mask is not None and self.mask.any():
                self.add(site, inputs[0][self.mask[:, -inputs[0].shape[1] :]])

        return record

    def add(self, site: str, rows: torch.Tensor) -> None:
        """Fold `rows` (count, channels) into the statistics of `site`."""
        rows = rows.float()
        keys = torch.rand(len(rows), generator=self.generator)
        names = ("low", "high", "sum", "rows", "sample", "keys")
        if f"{site}/rows" not in self.tensors:
            empty = (
                rows[:0].sum(0),
                rows[:0].sum(0),
                rows[:0].double().sum(0),
                torch.tensor([0]),
                rows[:0],
                keys[:0],
            )
            self.tensors |= {f"{site}/{name}": tensor for name, tensor in zip(names, empty, strict=True)}
            self.tensors[f"{site}/low"] = rows.amin(0)
            self.tensors[f"{site}/high"] = rows.amax(0)
        low, high, total, count, sample, kept = (self.tensors[f"{site}/{name}"] for name in names)
        torch.minimum(low, rows.amin(0), out=low)
        torch.maximum(high, rows.amax(0), out=high)
        total += rows.double().sum(0)
        count += len(rows)
        sample, kept = _keep_largest(sample, kept, rows, keys, self.sample_rows)
        self.tensors |= {f"{site}/sample": sample, f"{site}/keys": kept}


def _keep_largest(
    sample: torch.Tensor, kept: torch.Tensor, rows: torch.Tensor, keys: torch.Tensor, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows with the `size` largest random keys: a uniform sample of all rows seen so far.

    A full sample is changed in place, where a new row displaces an old one: few do, once many have been seen.
    """
    if len(kept) < size:
        room = size - len(kept)
        sample, kept = torch.cat([sample, rows[:room]]), torch.cat([kept, keys[:room]])
        rows, keys = rows[room:], keys[room:]
    chosen = torch.cat([kept, keys]).topk(len(kept)).indices
    arrived = chosen[chosen >= len(kept)] - len(kept)
    stays = torch.zeros(len(kept), dtype=torch.bool)
    stays[chosen[chosen < len(kept)]] = True
    leaves = (~stays).nonzero().flatten()
    sample[leaves], kept[leaves] = rows[arrived], keys[arrived]
    return sample, kept

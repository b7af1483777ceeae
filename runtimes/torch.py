"""The reference runtime: the original weights in PyTorch. What it answers is what every variant is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, Cache
from transformers.cache_utils import DynamicLayer

from models import families, manifest
from runtimes import Generation, Logits, Sampling, TokenIds, Traits, check_ids
from runtimes.sampling import Sampler, next_tokens, samplers

TRAITS = Traits(requirements=("torch",), out_of_memory=("out of memory", "can't allocate memory"))
# A finished row costs what a running one does, but leaving it out copies the KV cache: done once an eighth finished.
KEEP_SHARE = 0.875
ROOM_TOKENS = 64  # least room that a full buffer of the KV cache gains


def load(folder: Path, threads: int, dtype: str = "float32") -> TorchRuntime:
    """Load the safetensors model in `folder`. Compute is float32 unless `dtype` names another torch dtype."""
    return TorchRuntime(folder, threads, dtype)


class TorchRuntime:
    """Generation and teacher forcing with transformers' own modelling code."""

    name = "torch"
    version = str(torch.__version__)

    def __init__(self, folder: Path, threads: int, dtype: str) -> None:
        if (folder / manifest.NAME).exists():
            manifest.verify(folder)
        self.architecture = families.read(folder)
        torch.set_num_threads(threads)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.device == "cuda" and dtype != "float32":
            # Not for float32: "high" allows TF32, whose 10-bit mantissa errs as much as the drift that the reference
            # is there to measure. In half precision the weights err more than that already.
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype), use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        self.model.to(self.device).eval()

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        sampling: Sequence[Sampling] | None = None,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Continuation of `prompts` as one left-padded batch; see the contract in runtimes/__init__.py.

        Greedy tokens are those of transformers' own `generate`; finished rows leave the batch, so it is faster.
        """
        check_ids(prompts, self.architecture.vocabulary)
        with torch.inference_mode():
            return self._generate(prompts, max_tokens, samplers(sampling, len(prompts)), ignore_eos, on_step)

    def _generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        chosen_by: list[Sampler | None],
        ignore_eos: bool,
        on_step: Callable[[int], None] | None,
    ) -> list[Generation]:
        ids, mask = _pad_left(prompts, self.device)
        cache = Cache(layers=[GrowingLayer() for _ in range(self.architecture.layers)])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        ends: set[int] = set() if ignore_eos else set(self.architecture.eos_token_ids)
        answers: list[list[int]] = [[] for _ in prompts]
        finished = [False] * len(prompts)
        alive = list(range(len(prompts)))  # rows of the batch that still run
        for step in range(max_tokens):
            output = self.model(
                ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
            )
            logits = output.logits[:, -1]
            if any(chosen_by):
                drawn = next_tokens([chosen_by[row] for row in alive], logits.float().cpu().numpy())
                tokens = torch.tensor(drawn, device=self.device)
            else:
                tokens = logits.argmax(-1)
            for row, token in zip(alive, tokens.tolist(), strict=True):
                if token in ends:
                    finished[row] = True
                elif not finished[row]:
                    answers[row].append(token)
            if on_step:
                on_step(step)
            if all(finished):
                break
            running = torch.tensor([not finished[row] for row in alive], device=self.device)
            if int(running.sum()) <= KEEP_SHARE * len(alive):
                keep = running.nonzero().flatten()
                alive = [alive[index] for index in keep.tolist()]
                cache.batch_select_indices(keep)
                tokens, mask, positions = tokens[keep], mask[keep], positions[keep]
            ids, positions = tokens[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        return [Generation(tuple(answer), done) for answer, done in zip(answers, finished, strict=True)]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Teacher forcing of one right-padded batch: causal attention never lets a real token see the padding."""
        check_ids(sequences, self.architecture.vocabulary)
        width = max(map(len, sequences))
        ids = torch.zeros(len(sequences), width, dtype=torch.long)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
        with torch.inference_mode():
            output = self.model(ids.to(self.device), use_cache=False).logits.float().cpu().numpy()
        return [np.ascontiguousarray(output[row, : len(sequence)]) for row, sequence in enumerate(sequences)]

    def close(self) -> None:
        """Free the model."""
        self.model = None
        if self.device == "cuda":
            torch.cuda.empty_cache()


def _pad_left(prompts: Sequence[TokenIds], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of shape (batch, longest prompt), int64; the padding is on the left."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)


class GrowingLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """A layer's KV cache that grows in place, so that copies happen once in a while instead of once a token.

    transformers' own copies every key and value at every step, which took 60 % of the time at batch 32 on a CPU.
    `keys` and `values`, of shape (batch, kv heads, length, head dim), are views of longer buffers.
    """

    def __init__(self) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []  # of the keys, of the values
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append states of shape (batch, kv heads, new tokens, head dim); returns all keys and all values."""
        start, self._length = self._length, self._length + key_states.shape[-2]
        if not self._buffers or self._length > self._buffers[0].shape[-2]:
            self._grow(key_states, value_states, start)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self._length] = states
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)
        self.is_initialized = True
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these rows of the batch."""
        self._buffers = [buffer[indices] for buffer in self._buffers]
        self.keys, self.values = (buffer[:, :, : self._length] for buffer in self._buffers)

    def _grow(self, key_states: torch.Tensor, value_states: torch.Tensor, filled: int) -> None:
        room = max(ROOM_TOKENS, self._length // 2)
        for index, states in enumerate((key_states, value_states)):
            batch, heads, _, head_dim = states.shape
            buffer = states.new_empty(batch, heads, self._length + room, head_dim)
            if filled:
                buffer[:, :, :filled] = self._buffers[index][:, :, :filled]
            self._buffers[index : index + 1] = [buffer]

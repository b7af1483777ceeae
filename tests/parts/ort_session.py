"""Executes the graph that an engine is compiled from with onnxruntime: a session of the tensorrt runtime on a CPU.

Profiles, shapes, padding, masks and the KV cache's bookkeeping are then the ones that run on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from models.families import Architecture
from runtimes.tensorrt import Feed, shapes
from trt import profiles
from trt.profiles import Profile

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class OrtSession:
    """Checks every shape against the profile that was chosen, as TensorRT would."""

    def __init__(self, graph: Path, architecture: Architecture, known: list[Profile]) -> None:
        self._session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        self._architecture, self._profiles = architecture, known
        self._names = profiles.cache_names(architecture.layers)
        kinds = {entry.name: entry.type for entry in self._session.get_inputs()}
        self._dtype = DTYPES[kinds[f"past_key_values.{self._names[0]}"]]
        self._cache: dict[str, Any] = {}
        self.steps: list[int] = []  # the profile of each step
        self.closed = 0

    def step(self, profile: int, feed: Feed) -> torch.Tensor:
        inputs, outputs = shapes(self._architecture, feed)
        for name, (low, _, high) in self._profiles[profile].shapes(self._architecture).items():
            for size, least, most in zip(inputs[name], low, high, strict=True):
                assert least <= size <= most, f"{name} {inputs[name]} is outside profile {profile}"
        self.steps.append(profile)
        if feed.past == 0:
            empty = np.zeros(inputs[f"past_key_values.{self._names[0]}"], self._dtype)
            self._cache = dict.fromkeys(self._names, empty)
        fed: dict[str, Any] = {name: getattr(feed, name) for name in ("input_ids", "attention_mask", "position_ids")}
        fed |= {f"past_key_values.{name}": value for name, value in self._cache.items()}
        for name, value in fed.items():
            assert value.shape == inputs[name], name
        names = ["logits", *(f"present.{name}" for name in self._names)]
        found = dict(zip(names, self._session.run(names, fed), strict=True))
        for name, value in found.items():
            assert value.shape == outputs[name], name
        self._cache = {name: found[f"present.{name}"] for name in self._names}
        return torch.from_numpy(found["logits"])

    def close(self) -> None:
        self.closed += 1

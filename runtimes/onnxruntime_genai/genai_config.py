"""genai_config.json of a variant's folder, and how onnxruntime-genai is imported and set for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from host import packages

GENAI_CONFIG = "genai_config.json"
WHEELS = ("onnxruntime-genai", "onnxruntime-genai-cuda")  # the same module, without and with CUDA
NAME = "ort"
# The engine takes every token that equals its pad token for padding, so it must be one that no prompt can hold. The
# models' own often occur: many pad with the end token. As an index of the embedding, -1 is its last row.
PADDING = -1
# How long a worker spins between two operators before it sleeps. Left alone it spins for about a millisecond: small
# models lose half of their speed to that as soon as anything else wants a core, and gain nothing from it when not.
SPIN = {"session.intra_op.spin_duration_us": "10"}


def version() -> str:
    """That of the wheel which is installed."""
    return next(iter(packages.versions(WHEELS).values()))


def read(folder: Path) -> dict[str, Any]:
    """genai_config.json of the variant in `folder`."""
    settings: dict[str, Any] = json.loads((folder / GENAI_CONFIG).read_text())
    return settings


def rows(settings: dict[str, Any]) -> int:
    """How many embedding rows the graph has, from genai_config.json."""
    return int(settings["model"]["vocab_size"])


def ends(settings: dict[str, Any]) -> frozenset[int]:
    """The tokens that end a completion, from genai_config.json."""
    eos = settings["model"]["eos_token_id"]
    return frozenset(eos if isinstance(eos, list) else [eos])


def import_genai() -> Any:
    """onnxruntime_genai; it finds onnxruntime's library only when that is imported first."""
    import onnxruntime  # noqa: F401
    import onnxruntime_genai

    return onnxruntime_genai


def configure(genai: Any, folder: Path, threads: int, extra: dict[str, Any] | None = None) -> Any:
    """The engine's configuration with its padding and threads set.

    Left alone it used one core here, at half the speed.
    """
    config = genai.Config(str(folder))
    session = {"intra_op_num_threads": threads} | SPIN
    config.overlay(json.dumps({"model": {"pad_token_id": PADDING, "decoder": {"session_options": session}}}))
    if extra:
        config.overlay(json.dumps(extra))
    return config

"""Fetch the model that params.yaml names, whatever kind of place it is in, and refuse what cannot work.

In this order, so that little is wasted: list the files, read config.json and refuse other families, let the caller
check disk and memory, fetch the weights, check every tensor, check the tokenizer. Code in a model is never run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from core import files
from core.errors import SourceError
from models import checkpoint, families, manifest, preflight, tokenizer
from models.params import ModelParams
from models.sources import Source, open_source

WEIGHTS = ".safetensors"


def resolve(
    model: ModelParams, destination: Path, check: Callable[[families.Architecture], object] | None = None
) -> Path:
    """Put the files of `model.source` into the folder `destination` (replaced as a whole) and return it.

    `check(architecture)` is called before any weight is fetched and may raise: see `models.preflight.check`.
    Raises SourceError, UnsupportedModelError, DataError or ResourceError; `destination` then is as before.
    """
    source = open_source(model)
    listed = source.files()
    with files.atomic_folder(destination) as folder:
        architecture, weights = _read_config(source, listed, folder, model.source)
        if check:
            check(architecture)
        if source.downloads:
            preflight.check_disk(sum(listed[name] for name in weights), destination, f"downloading {model.source}")
        source.fetch(weights, folder)
        checkpoint.check(folder, architecture, model.source)
        tokenizer.check(folder, architecture, model.source)
    source.discard()
    return destination


def architecture_of(model: ModelParams) -> families.Architecture:
    """What `model.source` is, from its small files alone: seconds for any model, no weight is fetched."""
    source = open_source(model)
    with tempfile.TemporaryDirectory() as folder:
        return _read_config(source, source.files(), Path(folder), model.source)[0]


def _read_config(
    source: Source, listed: dict[str, int], folder: Path, where: str
) -> tuple[families.Architecture, list[str]]:
    """Fetch everything but weights into `folder`; returns the architecture and the names of the weight files."""
    if "config.json" not in listed:
        raise SourceError(f"{where} has no config.json: not a Hugging Face model")
    small = sorted(name for name in listed if manifest.is_source(name) and not name.endswith(WEIGHTS))
    source.fetch(small, folder)
    architecture = families.read(folder, where)
    return architecture, checkpoint.weight_files(folder, listed, where)

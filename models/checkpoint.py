"""Is a safetensors checkpoint complete, and every value finite? Read without torch, one block of memory at a time.

Format: https://huggingface.co/docs/safetensors (8 bytes header length, JSON header, tensors back to back).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import SourceError, UnsupportedModelError
from core.progress import track
from models.families import Architecture, tensors

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
HEADER_LIMIT_BYTES = 100_000_000  # the format's own
BLOCK_VALUES = 2**22
# numpy has no bfloat16, so NaN and infinity are found by their bits: an exponent of all ones.
EXPONENTS: dict[str, tuple[np.dtype[Any], int]] = {
    "BF16": (np.dtype("<u2"), 0x7F80),
    "F16": (np.dtype("<u2"), 0x7C00),
    "F32": (np.dtype("<u4"), 0x7F80_0000),
    "F64": (np.dtype("<u8"), 0x7FF0_0000_0000_0000),
}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
# Buffers that old checkpoints stored and transformers ignores.
IGNORED = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: `start` is its byte offset in the file."""

    file: str
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


def weight_files(folder: Path, available: Collection[str], where: str) -> list[str]:
    """Names of the safetensors files that make up the checkpoint; the index, if there is one, is read from `folder`.

    `available` are all names at the source. Raises SourceError for pickle-only checkpoints and missing shards.
    """
    if SINGLE in available:
        return [SINGLE]
    if INDEX not in available:
        pickles = sorted(name for name in available if name.endswith(PICKLES))
        if pickles:
            raise SourceError(
                f"{where} has only pickled weights ({', '.join(pickles)}), which can run code when loaded: convert "
                "them to safetensors first (model.save_pretrained does)"
            )
        raise SourceError(f"{where} has no weights: neither {SINGLE} nor {INDEX}")
    try:
        shards = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{where}: {INDEX} is malformed: {error}") from error
    missing = [shard for shard in shards if shard not in available]
    if missing:
        raise SourceError(
            f"{where} lacks {len(missing)} of {len(shards)} shards: {', '.join(missing)}: fetch it again"
        )
    return shards


def check(folder: Path, architecture: Architecture, where: str) -> None:
    """Raise SourceError unless the weights in `folder` are exactly those of `architecture`, all finite, and a stored
    head that is said to be the embedding has its values."""
    names = [file.name for file in folder.iterdir()]
    found = [tensor for file in weight_files(folder, names, where) for tensor in header(folder / file)]
    _compare(found, architecture, where)
    for tensor in track(found, "check weights", unit="tensor"):
        bad = sum(int(np.count_nonzero(block)) for block in _not_finite(folder, tensor))
        if bad:
            raise SourceError(
                f"{where}: {tensor.name} in {tensor.file} has {bad} of {tensor.count} values NaN or infinite: "
                "the checkpoint is damaged, fetch it again or go back to an earlier one"
            )
    stored = {tensor.name: tensor for tensor in found}
    if architecture.tied_embeddings and HEAD in stored:
        head, embedding = stored[HEAD], stored[EMBEDDING]
        pairs = zip(_values(folder, head), _values(folder, embedding), strict=True)
        if other := sum(int(np.count_nonzero(ours != theirs)) for ours, theirs in pairs):
            raise SourceError(
                f"{where}: config.json has tie_word_embeddings: true, but {HEAD} in {head.file} differs from "
                f"{EMBEDDING} in {other} of {head.count} values: set it to false, or take the head out"
            )


def header(path: Path) -> list[Tensor]:
    """The tensors of one safetensors file. Raises SourceError if the file is truncated or its header is wrong."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > HEADER_LIMIT_BYTES:
            raise SourceError(f"{path.name} is not a safetensors file ({size} bytes): fetch it again")
        raw = stream.read(length)
    if len(raw) < length:
        raise _truncated(path, 8 + length, size)
    try:
        entries = {name: entry for name, entry in json.loads(raw).items() if name != "__metadata__"}
        spans = sorted((*entry["data_offsets"], name) for name, entry in entries.items())
        found = [
            Tensor(path.name, name, entries[name]["dtype"], tuple(entries[name]["shape"]), 8 + length + start)
            for start, _, name in spans
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f"{path.name} has a malformed safetensors header: {error}") from error
    position = 0
    for tensor, (start, end, _) in zip(found, spans, strict=True):
        if tensor.dtype not in EXPONENTS:
            raise UnsupportedModelError(
                f"{path.name}: {tensor.name} is stored as {tensor.dtype}, not as {', '.join(EXPONENTS)}: give the "
                "original, unquantized weights"
            )
        if start != position or end - start != tensor.count * EXPONENTS[tensor.dtype][0].itemsize:
            raise SourceError(f"{path.name}: {tensor.name} has offsets that do not fit its shape: fetch it again")
        position = end
    if size != 8 + length + position:
        raise _truncated(path, 8 + length + position, size)
    return found


def _truncated(path: Path, promised: int, size: int) -> SourceError:
    what = "truncated" if size < promised else "too long"
    return SourceError(f"{path.name} is {what}: its header promises {promised} bytes, it has {size}: fetch it again")


def _compare(found: list[Tensor], architecture: Architecture, where: str) -> None:
    wanted = tensors(architecture)
    shapes = {tensor.name: tensor.shape for tensor in found}
    missing = sorted(wanted.keys() - shapes.keys())
    if architecture.tied_embeddings:
        wanted[HEAD] = wanted[EMBEDDING]  # may be stored all the same
    extra = sorted(name for name in shapes.keys() - wanted.keys() if not name.endswith(IGNORED))
    wrong = [
        f"{name} is {list(shapes[name])}, should be {list(shape)}"
        for name, shape in wanted.items()
        if shapes.get(name, shape) != shape
    ]
    problems = [
        f"{len(names)} {word} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for word, names in (("missing", missing), ("unexpected", extra), ("of another shape", wrong))
        if names
    ]
    if problems:
        raise SourceError(f"{where}: the weights do not fit config.json: tensors {'; '.join(problems)}")


def _not_finite(folder: Path, tensor: Tensor) -> Iterator[np.ndarray[Any, np.dtype[np.bool_]]]:
    """Block by block, which values of a tensor are NaN or infinite."""
    dtype, exponent = EXPONENTS[tensor.dtype]
    mask = dtype.type(exponent)
    for bits in _bits(folder, tensor):
        yield (bits & mask) == mask


def _values(folder: Path, tensor: Tensor) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    """A tensor's numbers, block by block."""
    for bits in _bits(folder, tensor):
        if tensor.dtype == "BF16":
            yield (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)  # the upper half of a float32
        else:
            yield bits.view(f"<f{bits.itemsize}")


def _bits(folder: Path, tensor: Tensor) -> Iterator[np.ndarray[Any, np.dtype[Any]]]:
    """A tensor as unsigned integers, `BLOCK_VALUES` at a time."""
    dtype, _ = EXPONENTS[tensor.dtype]
    with (folder / tensor.file).open("rb") as stream:
        stream.seek(tensor.start)
        for start in range(0, tensor.count, BLOCK_VALUES):
            yield np.frombuffer(stream.read(min(BLOCK_VALUES, tensor.count - start) * dtype.itemsize), dtype)

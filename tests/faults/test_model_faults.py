"""A damaged model is refused with a message that says what is wrong, where and what to do; nothing is left behind."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import AssayError, DataError, ResourceError, SourceError, UnsupportedModelError
from models import checkpoint, preflight, source
from models.params import ModelParams, Recipe
from tests import tiny

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
FP32 = {"fp32": Recipe.model_construct(quantizer="none", runtime="ort", options={})}


@pytest.fixture
def model(tiny_qwen2: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_qwen2, tmp_path / "model"))


@pytest.fixture(autouse=True)
def _left_clean(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / "resolved").exists()
    assert not [file.name for file in tmp_path.iterdir() if file.name.startswith(".")]


def _refused(model: Path, kind: type[AssayError]) -> str:
    """The message with which the model is refused, without its folder's name."""
    with pytest.raises(kind) as caught:
        source.resolve(ModelParams(source=str(model)), model.parent / "resolved")
    assert type(caught.value) is kind
    return str(caught.value).replace(str(model), "<model>")


def _change_weights(model: Path, name: str, value: torch.Tensor | None) -> None:
    weights = load_file(model / WEIGHTS)
    if value is None:
        del weights[name]
    else:
        weights[name] = value
    save_file(weights, model / WEIGHTS, {"format": "pt"})


def _change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# ── weights ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_pickle_checkpoint(model: Path) -> None:
    (model / WEIGHTS).rename(model / "pytorch_model.bin")
    assert _refused(model, SourceError) == (
        "<model> has only pickled weights (pytorch_model.bin), which can run code when loaded: convert them to "
        "safetensors first (model.save_pretrained does)"
    )


def test_no_weights(model: Path) -> None:
    (model / WEIGHTS).unlink()
    assert _refused(model, SourceError) == f"<model> has no weights: neither {WEIGHTS} nor {INDEX}"


def test_truncated_safetensors(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[:-1000])
    assert _refused(model, SourceError) == (
        f"{WEIGHTS} is truncated: its header promises {len(content)} bytes, it has {len(content) - 1000}: "
        "fetch it again"
    )


def test_safetensors_truncated_inside_its_header(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    (model / WEIGHTS).write_bytes(content[:100])
    assert _refused(model, SourceError) == (
        f"{WEIGHTS} is truncated: its header promises {header} bytes, it has 100: fetch it again"
    )


@pytest.mark.parametrize("content", [b"", b"1234", b"<html>not found</html>"])
def test_something_else_named_safetensors(model: Path, content: bytes) -> None:
    (model / WEIGHTS).write_bytes(content)
    assert _refused(model, SourceError) == (
        f"{WEIGHTS} is not a safetensors file ({len(content)} bytes): fetch it again"
    )


def test_safetensors_with_bytes_too_many(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content + b"x")
    assert _refused(model, SourceError).startswith(f"{WEIGHTS} is too long: its header promises {len(content)} bytes")


def test_safetensors_header_that_lies(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    header["model.norm.weight"]["shape"] = [63]
    changed = json.dumps(header).encode()
    (model / WEIGHTS).write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    assert _refused(model, SourceError) == (
        f"{WEIGHTS}: model.norm.weight has offsets that do not fit its shape: fetch it again"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_weights_that_are_not_finite(model: Path, value: float, dtype: torch.dtype) -> None:
    matrix = load_file(model / WEIGHTS)["model.layers.1.mlp.up_proj.weight"].to(dtype)
    matrix[3, 5] = matrix[-1, -1] = value
    _change_weights(model, "model.layers.1.mlp.up_proj.weight", matrix)
    assert _refused(model, SourceError) == (
        f"<model>: model.layers.1.mlp.up_proj.weight in {WEIGHTS} has 2 of 8192 values NaN or infinite: the "
        "checkpoint is damaged, fetch it again or go back to an earlier one"
    )


def test_largest_finite_weights_are_fine(model: Path) -> None:
    matrix = torch.full((128, 64), torch.finfo(torch.bfloat16).max, dtype=torch.bfloat16)
    _change_weights(model, "model.layers.1.mlp.up_proj.weight", matrix)
    shutil.rmtree(source.resolve(ModelParams(source=str(model)), model.parent / "resolved"))


def test_weights_quantized_in_place(model: Path) -> None:
    _change_weights(model, "lm_head.weight", torch.zeros(294, 64, dtype=torch.int8))
    assert _refused(model, UnsupportedModelError) == (
        f"{WEIGHTS}: lm_head.weight is stored as I8, not as BF16, F16, F32, F64: give the original, "
        "unquantized weights"
    )


def test_weights_of_another_shape_missing_and_unexpected(model: Path) -> None:
    _change_weights(model, "model.norm.weight", torch.ones(32, dtype=torch.bfloat16))
    _change_weights(model, "model.layers.0.mlp.up_proj.weight", None)
    _change_weights(model, "model.layers.2.mlp.up_proj.weight", torch.ones(128, 64, dtype=torch.bfloat16))
    assert _refused(model, SourceError) == (
        "<model>: the weights do not fit config.json: tensors 1 missing (model.layers.0.mlp.up_proj.weight); "
        "1 unexpected (model.layers.2.mlp.up_proj.weight); "
        "1 of another shape (model.norm.weight is [32], should be [64])"
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_stored_head_that_is_said_to_be_tied(
    model: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "BLOCK_VALUES", 1000)  # several blocks
    _change_json(model / "config.json", tie_word_embeddings=True)
    embedding = load_file(model / WEIGHTS)["model.embed_tokens.weight"]
    head = embedding.clamp(-0.5, 0.5).to(torch.float16).to(dtype)  # values that each of the types has
    _change_weights(model, "model.embed_tokens.weight", head.to(torch.bfloat16).to(torch.float16))
    _change_weights(model, "lm_head.weight", head.to(torch.bfloat16).to(dtype))
    shutil.rmtree(source.resolve(ModelParams(source=str(model)), model.parent / "resolved"))  # equal, it is accepted
    head[0, 0] += 1
    head[-1, -1] -= 1
    _change_weights(model, "lm_head.weight", head.to(torch.bfloat16).to(dtype))
    assert _refused(model, SourceError) == (
        f"<model>: config.json has tie_word_embeddings: true, but lm_head.weight in {WEIGHTS} differs from "
        f"model.embed_tokens.weight in 2 of {head.numel()} values: set it to false, or take the head out"
    )
    _change_weights(model, "lm_head.weight", head[1:].clone())
    assert _refused(model, SourceError).endswith("(lm_head.weight is [293, 64], should be [294, 64])")


def test_missing_shard(model: Path) -> None:
    weights = load_file(model / WEIGHTS)
    names = sorted(weights)
    shards = {f"model-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    for shard, members in shards.items():
        save_file({name: weights[name] for name in members}, model / shard, {"format": "pt"})
    (model / WEIGHTS).unlink()
    weight_map = {name: shard for shard, members in shards.items() for name in members}
    (model / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    shutil.rmtree(source.resolve(ModelParams(source=str(model)), model.parent / "resolved"))  # whole, it is accepted
    (model / "model-00002-of-00003.safetensors").unlink()
    assert _refused(model, SourceError) == (
        "<model> lacks 1 of 3 shards: model-00002-of-00003.safetensors: fetch it again"
    )
    (model / INDEX).write_text("{}")
    assert _refused(model, SourceError) == f"<model>: {INDEX} is malformed: 'weight_map'"


# ── tokenizer ─────────────────────────────────────────────────────────────────────────────────────────────────────
def test_tokenizer_of_another_model(model: Path) -> None:
    words = tiny.tokenizer()
    words.add_tokens(["another", "model"])
    words.save_pretrained(model)
    assert _refused(model, DataError) == (
        "<model>: the tokenizer's highest id is 295, but the model has 294 embedding rows: this tokenizer belongs to "
        "another model"
    )


def test_end_token_that_the_model_does_not_know(model: Path) -> None:
    _change_json(model / "generation_config.json", eos_token_id=[5])
    assert _refused(model, DataError) == (
        "<model>: the tokenizer ends with '<|eos|>' (2), the model with [5]: answers would never end; put the right "
        "eos_token_id into generation_config.json"
    )
    _change_json(model / "generation_config.json", eos_token_id=[2, 294])
    assert _refused(model, DataError) == "<model>: eos_token_id 294 is outside the 294 embedding rows"


def test_no_chat_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()
    assert _refused(model, DataError) == (
        "<model> has no chat template, so no prompt can be built: add chat_template.jinja (a base model is not "
        "made to answer; use its instruct or distilled version)"
    )


def test_chat_template_that_fails_or_drops_the_message(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ raise_exception('no users') }}")
    assert _refused(model, DataError) == "<model>: the chat template fails on one user message: no users"
    (model / "chat_template.jinja").write_text("{{ bos_token }}")
    assert _refused(model, DataError) == "<model>: the chat template drops the user's message: '<|bos|>'"


def test_tokenizer_that_does_not_give_a_text_back(model: Path) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    _change_json(model / "tokenizer.json", normalizer={"type": "Lowercase"})
    assert content["normalizer"] is None
    assert _refused(model, DataError).startswith(
        "<model>: the tokenizer does not give a text back: 'What is 12 + 34?"
    )


def test_tokenizer_missing_or_broken(model: Path) -> None:
    (model / "tokenizer.json").write_text("{}")
    assert _refused(model, DataError).startswith("<model>: the tokenizer cannot be read: ")
    (model / "tokenizer.json").unlink()
    assert _refused(model, DataError) == ("<model> has no tokenizer.json: save it with transformers' fast tokenizer")


# ── room ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A real disk of 160 KiB where this user may mount one, else a folder that says it is one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount: list[Any] = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", folder]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**17))
    yield folder
    if mounted:
        subprocess.run(["umount", folder], check=True)


def test_no_disk_space(model: Path, full_disk: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        source.resolve(
            ModelParams(source=str(model)), full_disk / "model", lambda a: preflight.check(a, FP32, full_disk)
        )
    assert str(caught.value) == (
        f"a run of fp32 needs about 14.0 MiB in {full_disk}, its disk has 0.1 MiB free: make room, run fewer "
        "recipes, or set ASSAY_SKIP_RESOURCE_CHECK=1 to try anyway"
    )
    assert not list(full_disk.iterdir())

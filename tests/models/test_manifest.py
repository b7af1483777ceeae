"""A version is its files: whatever differs from the manifest is refused by name, and the same work has one digest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import IntegrityError
from models import manifest
from models.params import Recipe

RECIPE = Recipe.model_construct(quantizer="weight_only", runtime="ort", options={"bits": 4, "block_size": 32})


@pytest.fixture
def version(tiny_qwen2: Path, tmp_path: Path) -> Path:
    """A small version folder, with its manifest."""
    folder = tmp_path / "version"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 100)
    (folder / "empty").write_bytes(b"")
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    _write(folder, tiny_qwen2)
    return folder


def _write(folder: Path, model_folder: Path, **changes: object) -> manifest.Manifest:
    facts: dict[str, object] = {"kept_float": ["b", "a"], "worst": 0.25, **changes}
    return manifest.write(folder, variant="int4", recipe=RECIPE, model_folder=model_folder, facts=facts)


def test_it_holds_how_and_from_what_the_files_were_made(version: Path, tiny_qwen2: Path) -> None:
    found = manifest.verify(version)
    assert found == manifest.read(version)
    assert set(found.files) == {"model.onnx", "empty", "tokenizer/tokenizer.json"}
    assert found.files["model.onnx"].bytes == 25600
    assert (found.variant, found.quantizer, found.runtime) == ("int4", "weight_only", "ort")
    assert found.options == {"bits": 4, "block_size": 32}
    assert found.facts == {"kept_float": ["b", "a"], "worst": 0.25}
    assert found.architecture.family == "qwen2"
    assert found.source_sha256 == manifest.source_digest(tiny_qwen2)
    assert set(found.made_from) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert {"onnxruntime", "torch", "transformers"} <= set(found.libraries)


def test_same_work_elsewhere_has_the_same_bytes(version: Path, tiny_qwen2: Path, tmp_path: Path) -> None:
    other = tmp_path / "another-place" / "deeper"
    shutil.copytree(version, other)
    (other / manifest.NAME).unlink()
    os.utime(other / "model.onnx", (0, 0))
    _write(other, shutil.copytree(tiny_qwen2, tmp_path / "model-elsewhere"))
    assert (other / manifest.NAME).read_bytes() == (version / manifest.NAME).read_bytes()
    assert manifest.digest(other) == manifest.digest(version)


def test_digest_is_the_sha256_of_the_file_and_changes_with_every_part(version: Path, tiny_qwen2: Path) -> None:
    import hashlib

    first = manifest.digest(version)
    assert first == hashlib.sha256((version / manifest.NAME).read_bytes()).hexdigest()
    _write(version, tiny_qwen2, worst=0.26)
    second = manifest.digest(version)
    (version / "model.onnx").write_bytes(b"other")
    _write(version, tiny_qwen2, worst=0.26)
    assert len({first, second, manifest.digest(version)}) == 3


def test_keys_are_sorted(version: Path) -> None:
    content = json.loads((version / manifest.NAME).read_text(), object_pairs_hook=lambda pairs: pairs)

    def check(node: object) -> None:
        if isinstance(node, list) and node and isinstance(node[0], tuple):
            assert [key for key, _ in node] == sorted(key for key, _ in node)
            for _, value in node:
                check(value)

    check(content)


def _flip(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[12345] ^= 1
    (folder / "model.onnx").write_bytes(content)


def _link_out(folder: Path) -> None:
    (folder / "empty").unlink()
    (folder / "empty").symlink_to("/dev/null")


def _link_folder_out(folder: Path) -> None:
    shutil.move(folder / "tokenizer", folder.parent / "moved")
    (folder / "tokenizer").symlink_to(folder.parent / "moved")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_flip, r"does not match its manifest\.json \(changed: model\.onnx\)"),
        (lambda f: (f / "empty").write_bytes(b"x"), r"\(changed: empty\)"),
        (lambda f: (f / "empty").unlink(), r"\(missing: empty\)"),
        (lambda f: (f / "tokenizer" / "more.json").write_text("{}"), r"\(extra: tokenizer/more\.json\)"),
        (lambda f: (f / ".hidden").write_text(""), r"\(extra: \.hidden\)"),
        (lambda f: (f / "empty").rename(f / "renamed"), r"\(missing: empty; extra: renamed\)"),
        (_link_out, r"holds empty, which is no plain file"),
        (_link_folder_out, r"holds tokenizer, which is no plain file"),
        (lambda f: os.mkfifo(f / "pipe"), r"holds pipe, which is no plain file"),
        (lambda f: (f / "loop").symlink_to("loop"), r"holds loop, which is no plain file"),
    ],
)
def test_a_spoilt_folder_is_refused_by_name(version: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(version)
    with pytest.raises(IntegrityError, match=message):
        manifest.verify(version)


def test_everything_wrong_is_named_at_once(version: Path) -> None:
    _flip(version)
    (version / "empty").unlink()
    (version / "extra").write_text("")
    with pytest.raises(
        IntegrityError, match=r"\(changed: model\.onnx; missing: empty; extra: extra\): do not serve it"
    ):
        manifest.verify(version)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", "./a", "a//b", ""])
def test_names_that_leave_the_folder_are_refused(version: Path, name: str) -> None:
    content = json.loads((version / manifest.NAME).read_text())
    content["files"][name] = content["files"]["empty"]
    (version / manifest.NAME).write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="is not a plain relative path"):
        manifest.verify(version)


@pytest.mark.parametrize("spoiled", ["{", '{"schema_version": 1}', '{"schema_version": 2}', ""])
def test_a_broken_manifest_is_refused(version: Path, spoiled: str) -> None:
    (version / manifest.NAME).write_text(spoiled)
    with pytest.raises(IntegrityError, match=r"manifest\.json is not a manifest"):
        manifest.verify(version)


def test_a_folder_without_manifest_is_no_version(tmp_path: Path) -> None:
    for function in (manifest.verify, manifest.read, manifest.digest):
        with pytest.raises(IntegrityError, match=r"has no manifest\.json: not a finished version"):
            function(tmp_path)


def test_source_digest_sees_the_model_and_nothing_else(tiny_qwen2: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_qwen2, tmp_path / "model")
    before = manifest.source_digest(model)
    (model / "README.md").write_text("a card")
    assert manifest.source_digest(model) == before
    (model / "generation_config.json").write_text("{}")
    assert manifest.source_digest(model) != before

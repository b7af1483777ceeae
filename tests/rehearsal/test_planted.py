"""Broken versions must be stopped by a gate, healthy ones by none: on the model that ships and on one from outside.

python -m pytest -m slow tests/rehearsal/test_planted.py -s
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch as pytorch
from safetensors.torch import load_file

from core import params
from models import tokenizer
from rehearsal import planted
from rehearsal.planted import EDITED, Judged, Settings, StaleCache, TruncatedContext
from runtimes import torch

ROOT = Path(__file__).parents[2]
PROMPTS = [[9, 20, 30, 40, 50, 60], [9, 21, 31, 41, 51, 61, 71, 81]]


@pytest.mark.parametrize("name", EDITED)
def test_a_fault_changes_what_it_says_and_nothing_else(name: str, tiny_qwen2: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_qwen2, tmp_path / "version"))
    EDITED[name][1](folder)
    before, after = (load_file(one / planted.WEIGHTS) for one in (tiny_qwen2, folder))
    changed = {key for key in before if not pytorch.equal(before[key], after[key])}
    middle = json.loads((folder / "config.json").read_text())["num_hidden_layers"] // 2
    wanted = {
        "zeroed layer": {
            f"model.layers.{middle}.self_attn.o_proj.weight",
            f"model.layers.{middle}.mlp.down_proj.weight",
        },
        "shuffled heads": {key for key in before if ".q_proj." in key},
        "4-bit round-to-nearest": {key for key, values in before.items() if values.ndim == 2},
        "8-bit round-to-nearest": {key for key, values in before.items() if values.ndim == 2},
    }
    assert changed == wanted.get(name, set())
    if name == "4-bit round-to-nearest":
        assert all(len(after[key].unique()) <= 15 for key in changed)
    ends = [torch.load(one, 1).architecture.eos_token_ids for one in (tiny_qwen2, folder)]
    assert (ends[0] != ends[1]) == (name == "swapped end token")


def test_a_truncated_context_sees_the_last_tokens_only(tiny_qwen2: Path) -> None:
    healthy = torch.load(tiny_qwen2, 1)
    cut = TruncatedContext(healthy, PROMPTS)
    assert cut.kept == 1
    assert cut.generate(PROMPTS, 4) == healthy.generate([prompt[-1:] for prompt in PROMPTS], 4)
    found, seen = cut.logits([[*PROMPTS[0], 7, 8]])[0], healthy.logits([[*PROMPTS[0][-1:], 7, 8]])[0]
    np.testing.assert_array_equal(found[5:], seen)
    np.testing.assert_array_equal(found[:5], seen[[0] * 5])


def test_a_stale_cache_is_stale_while_it_generates_and_leaves_the_runtime_healthy(tiny_qwen2: Path) -> None:
    healthy = torch.load(tiny_qwen2, 1)
    before = healthy.generate(PROMPTS, 24, ignore_eos=True)
    stale = StaleCache(healthy).generate(PROMPTS, 24, ignore_eos=True)
    assert [one.token_ids[:1] for one in stale] == [one.token_ids[:1] for one in before]  # from the prompt alone
    assert stale != before
    assert healthy.generate(PROMPTS, 24, ignore_eos=True) == before


def test_a_tokenizer_with_two_tokens_swapped_is_refused_by_name(tiny_qwen2: Path, tmp_path: Path) -> None:
    found = planted.wrong_tokenizer(tiny_qwen2, tokenizer.load(tiny_qwen2), tmp_path)
    assert found.stopped_by == ["tokenizer_identity"]


def test_undecided_is_neither_stopped_nor_passed() -> None:
    undecided = Judged("one", True, [], ["drift"], "", 64)
    assert not undecided.is_right
    assert not Judged("one", False, [], ["drift"], "", 64).is_right
    assert Judged("one", True, ["drift"], [], "", 64).is_right
    assert Judged("one", False, [], [], "", 64).is_right
    assert "| NO |" in planted.table([undecided])


@pytest.mark.slow
@pytest.mark.parametrize("file", ["params.yaml", "params.real.yaml"])
def test_broken_versions_are_stopped_and_healthy_ones_pass(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("ASSAY_ATTEMPTS", str(tmp_path / "attempts"))
    settings = params.load(Settings, Path(file))
    if not Path(settings.model.source).is_dir():
        pytest.skip(f"{settings.model.source} is not there: python -m pipelines.fetch_real_model")
    done = planted.judge(settings, tmp_path)
    print(planted.table(done))
    assert [one.version for one in done if one.is_broken] == [
        "wrong tokenizer",
        "truncated context",
        "stale KV cache",
        "zeroed layer",
        "shuffled heads",
        "swapped end token",
        "4-bit round-to-nearest",
    ]
    assert not [one for one in done if not one.is_right]

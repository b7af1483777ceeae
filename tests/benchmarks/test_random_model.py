"""A random model is made once, with the variants that are asked for."""

from __future__ import annotations

from pathlib import Path

from benchmarks.large import CALIBRATE, RECIPES
from benchmarks.measure.side import Side, Spec
from benchmarks.random_model import SPECIAL_IDS, VOCABULARY, RandomModel, prompts
from core import plugins
from models import manifest

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def test_prompts_are_of_plain_tokens_and_the_same_again() -> None:
    found = prompts(3, 50, seed=1)
    assert found == prompts(3, 50, seed=1) != prompts(3, 50, seed=2)
    assert [len(prompt) for prompt in found] == [50, 50, 50]
    assert all(SPECIAL_IDS <= token < VOCABULARY for prompt in found for token in prompt)


def test_a_variant_is_made_once_and_can_be_measured(tmp_path: Path) -> None:
    tiny = RandomModel(tmp_path / "tiny", SHAPE, RECIPES, CALIBRATE.prefill_items, 16, CALIBRATE)
    made = []
    for _ in range(2):
        tiny.prepare(["int8-static"], 2)
        made.append({path.name: path.stat().st_ino for path in sorted(tiny.folder.iterdir())})
    assert list(made[0]) == ["calibration", "data", "export", "model", "variants"]
    assert made[0] == made[1]
    assert [path.name for path in tiny.variant("int8-static").parent.iterdir()] == ["int8-static"]
    assert manifest.verify(tiny.variant("int8-static")).variant == "int8-static"
    assert tiny.variant("hf-float32") == tiny.model
    recipe = RECIPES["int8-static"]
    with Side(Spec.of("int8", plugins.load("runtimes", recipe.runtime), tiny.variant("int8-static"), 1)) as side:
        assert len(side.generate(prompts(1, 8, seed=0), 4).stamps_s) == 4

"""What config.json says is read right for the models people have, and what cannot work is refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SourceError, UnsupportedModelError
from models import families

# From the public config.json of deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B (parameters: its model card's safetensors).
R1_QWEN: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643, "eos_token_id": 151643,
    "hidden_act": "silu", "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960,
    "max_position_embeddings": 131072, "max_window_layers": 21, "model_type": "qwen2", "num_attention_heads": 12,
    "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_theta": 10000,
    "sliding_window": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": True,
    "use_mrope": False, "use_sliding_window": False, "vocab_size": 151936,
}  # fmt: skip
# From the public config.json of deepseek-ai/DeepSeek-R1-Distill-Llama-8B.
R1_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 128000, "eos_token_id": 128001,
    "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072,
    "mlp_bias": False, "model_type": "llama", "num_attention_heads": 32, "num_hidden_layers": 32,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "vocab_size": 128256,
}  # fmt: skip


def test_r1_distill_qwen_is_read() -> None:
    found = families.parse(R1_QWEN, {}, "model")
    assert (found.family, found.layers, found.hidden, found.heads, found.kv_heads) == ("qwen2", 28, 1536, 12, 2)
    assert (found.head_dim, found.ffn, found.vocabulary) == (128, 8960, 151936)
    assert (found.rope_type, found.rope_theta, found.rope_scaling) == ("default", 10000, {})
    assert found.attention_bias
    assert not found.tied_embeddings
    assert found.parameters == 1_777_088_000


def test_r1_distill_llama_is_read_with_its_rope_scaling() -> None:
    found = families.parse(R1_LLAMA, {}, "model")
    assert (found.family, found.rope_type, found.rope_theta) == ("llama", "llama3", 500000)
    assert found.rope_scaling["factor"] == 8.0
    assert found.rope_scaling["original_max_position_embeddings"] == 8192
    assert found.parameters == 8_030_261_248


def test_what_transformers_5_writes_reads_the_same(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    given = {key: value for key, value in copy.deepcopy(R1_LLAMA).items() if key != "model_type"}  # it changes them
    LlamaConfig(**given).save_pretrained(tmp_path)
    assert "rope_parameters" in (tmp_path / "config.json").read_text()
    assert families.read(tmp_path) == families.parse(R1_LLAMA, {}, "model")


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("qwen2", {}),
        ("qwen2", {"tie_word_embeddings": True}),
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    ],
)
def test_tensors_are_those_of_transformers(family: str, changes: dict[str, Any]) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape = {"vocab_size": 50, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "eos_token_id": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, **changes}
    kinds: dict[str, Any] = {"qwen2": (Qwen2Config, Qwen2ForCausalLM), "llama": (LlamaConfig, LlamaForCausalLM)}
    configuration, model_class = kinds[family]
    model = model_class(configuration(**shape))
    config = {**model.config.to_dict(), "architectures": [model_class.__name__]}
    found = families.parse(config, {}, "model")
    wanted = {name: tuple(value.shape) for name, value in model.named_parameters()}
    assert families.tensors(found) == wanted
    assert found.parameters == model.num_parameters()


def test_generation_config_decides_the_end_tokens() -> None:
    assert families.parse(R1_LLAMA, {"eos_token_id": [128001, 128009]}, "m").eos_token_ids == (128001, 128009)
    assert families.parse(R1_LLAMA, {}, "m").eos_token_ids == (128001,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}, r"architectures \['Qwen3ForCausalLM'\]"),
        ({"architectures": ["Qwen2ForSequenceClassification"]}, r"\['Qwen2ForSequenceClassification'\]"),
        ({"architectures": None}, "architectures missing"),
        ({"model_type": "llama"}, "model_type 'llama'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "a quantized checkpoint .*: give the original weights"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}, "custom code .*: remote code is never run"),
        ({"use_sliding_window": True}, "sliding-window attention"),
        ({"layer_types": ["full_attention"] * 27 + ["sliding_attention"]}, "layer type 'sliding_attention'"),
        ({"layer_types": "sliding_attention"}, "layer type 'sliding_attention'"),
        ({"partial_rotary_factor": 0.5}, "partial rotary embedding 0.5"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope type 'yarn'"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "rope type 'dynamic'"),
        ({"rope_scaling": R1_LLAMA["rope_scaling"]}, "rope type 'llama3'"),  # the builder knows it for Llama only
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial rotary embedding 0.5"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"num_attention_heads": 64}, "head_dim 24 with 64 heads on 2 KV heads"),
        ({"num_key_value_heads": 5}, "head_dim 128 with 12 heads on 5 KV heads"),
    ],
)
def test_what_cannot_work_is_refused_with_what_works(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(
        UnsupportedModelError, match=f"^someone/model: .*{message}.*; works: Qwen2ForCausalLM and Llama"
    ):
        families.parse({**R1_QWEN, **changes}, {}, "someone/model")


def test_linear_rope_works_for_qwen2_only() -> None:
    linear = {"rope_scaling": {"type": "linear", "factor": 4.0}}
    found = families.parse({**R1_QWEN, **linear}, {}, "model")
    assert (found.rope_type, found.rope_scaling) == ("linear", {"factor": 4.0})
    with pytest.raises(UnsupportedModelError, match="rope type 'linear'"):  # the builder would ignore it
        families.parse({**R1_LLAMA, **linear}, {}, "model")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**R1_QWEN, "tie_word_embeddings": "perhaps"}, r"config\.json is malformed: tied_embeddings: "),
        ({**R1_QWEN, "eos_token_id": []}, "has eos_token_id: it could not stop"),
        ({**R1_QWEN, "rope_scaling": [4.0]}, r"the rope settings in config\.json are \[4\.0\], not an object"),
        (
            {**R1_QWEN, "layer_types": ["full_attention"] * 27},
            r"layer_types in config\.json names 27 layers, not num_",
        ),
        (
            {**R1_LLAMA, "rope_scaling": {**R1_LLAMA["rope_scaling"], "high_freq_factor": 1}},
            r"low_freq_factor in config\.json is not below high_freq_factor",
        ),
        ({**R1_QWEN, "eos_token_id": None}, "has eos_token_id: it could not stop"),
        ({key: value for key, value in R1_QWEN.items() if key != "num_hidden_layers"}, "has no 'num_hidden_layers'"),
        (
            {**R1_LLAMA, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
            "'llama3' lacks low_freq_factor, high_",
        ),
    ],
)
def test_a_malformed_config_says_what_is_wrong(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        families.parse(config, {}, "model")


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize("key", families.COUNTS)
@pytest.mark.parametrize("value", [0, -1, 1.5, NAN, True, "12", [12], 2**31])
def test_what_is_counted_is_a_whole_number_above_0(key: str, value: Any) -> None:
    with pytest.raises(SourceError) as caught:
        families.parse({**R1_QWEN, key: value}, {}, "someone/model")
    assert str(caught.value) == (
        f"someone/model: {key} in config.json is {value!r}, not a whole number from 1 to 2^31-1"
    )


@pytest.mark.parametrize("key", ["rms_norm_eps", "rope_theta", *families.ROPE_SETTINGS["llama"]["llama3"]])
@pytest.mark.parametrize("value", [0, -1e-6, NAN, INFINITY, -INFINITY, True, "1e-6", None, 10**400])
def test_what_is_measured_is_a_finite_number_above_0(key: str, value: Any, tmp_path: Path) -> None:
    """Written and read as JSON, since Python's has NaN and Infinity."""
    config = copy.deepcopy(R1_LLAMA)
    (config if key in config else config["rope_scaling"])[key] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError) as caught:
        families.read(tmp_path, "someone/model")
    assert str(caught.value) == (f"someone/model: {key} in config.json is {value!r}, not a finite number above 0")


def _places(value: Any) -> list[tuple[str, ...]]:
    return [
        place
        for key, part in value.items()
        for place in [(key,), *(((key, *rest) for rest in _places(part)) if isinstance(part, dict) else ())]
    ]


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 300),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from(["yarn", "linear", "llama3", ["sliding_attention"], 10**400, 2**31 - 1]),
)


@settings(deadline=None)
@given(st.sampled_from([R1_QWEN, R1_LLAMA]), st.data())
def test_a_changed_config_gives_an_architecture_or_one_line(config: dict[str, Any], data: st.DataObject) -> None:
    places = [*_places(config), ("layer_types",), ("head_dim",), ("rope_parameters",), ("quantization_config",)]
    place, value = data.draw(st.sampled_from(places)), data.draw(VALUES)
    if place == ("num_hidden_layers",) and isinstance(value, int):
        value %= 100  # each has tensors to name
    changed = copy.deepcopy(config)
    (changed if len(place) == 1 else changed[place[0]])[place[-1]] = value
    try:
        families.parse(changed, {}, "model")
    except SourceError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a success is as good


def test_a_folder_without_or_with_a_broken_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no config\.json: not a Hugging Face model"):
        families.read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"config\.json is not valid JSON"):
        families.read(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(SourceError, match="does not hold a JSON object"):
        families.read(tmp_path)

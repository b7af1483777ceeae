"""What config.json says is read right for the models people have, and what cannot work is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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

    LlamaConfig(**{key: value for key, value in R1_LLAMA.items() if key != "model_type"}).save_pretrained(tmp_path)
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
        ({**R1_QWEN, "hidden_size": "large"}, r"config\.json is malformed"),
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


def test_a_folder_without_or_with_a_broken_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"has no config\.json: not a Hugging Face model"):
        families.read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SourceError, match=r"config\.json is not valid JSON"):
        families.read(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(SourceError, match="does not hold a JSON object"):
        families.read(tmp_path)

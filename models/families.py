"""Which architectures work, and what their config.json says, in one record.

Everything here is decided from config.json and generation_config.json alone, so that a model that cannot work is
refused by name before one byte of its weights is downloaded.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from core.errors import SourceError, UnsupportedModelError
from core.records import Record

# `architectures` entry of config.json → our name, which is also transformers' `model_type`.
FAMILIES: dict[str, Literal["qwen2", "llama"]] = {"Qwen2ForCausalLM": "qwen2", "LlamaForCausalLM": "llama"}
# RoPE variants whose frequencies do not depend on the length of the sequence, so that a graph can hold them, and the
# settings that each needs. onnxruntime-genai's builder knows "llama3" for Llama only, and for Llama ignores "linear".
ROPE_SETTINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "qwen2": {"default": (), "linear": ("factor",)},
    "llama": {
        "default": (),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    },
}
COUNTS = (  # keys of config.json
    "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size",
    "vocab_size", "max_position_embeddings",
)  # fmt: skip
LARGEST_COUNT = 2**31 - 1  # of any dimension, in every engine
HEAD_DIM_MULTIPLE = 16  # of onnxruntime's GroupQueryAttention on a CPU
NOT_APPLIED = {  # keys of generation_config.json that change what is drawn, and the value that turns each off
    "repetition_penalty": 1, "no_repeat_ngram_size": 0, "min_p": 0, "typical_p": 1, "epsilon_cutoff": 0,
    "eta_cutoff": 0,
}  # fmt: skip
WORKS = (
    "works: Qwen2ForCausalLM and LlamaForCausalLM (also DeepSeek-R1-Distill-Qwen and -Llama), unquantized, with full "
    "attention and rope type default, linear (Qwen2) or llama3 (Llama), head_dim a multiple of 16"
)


class Architecture(Record):
    """The shape of a causal LM. Counts are of elements; token ids index the rows of the embedding."""

    family: Literal["qwen2", "llama"]
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int  # rows of the embedding; a tokenizer may use fewer
    max_position_embeddings: int
    tied_embeddings: bool
    attention_bias: bool
    mlp_bias: bool
    rms_norm_eps: float
    rope_theta: float
    rope_type: str
    rope_scaling: dict[str, JsonValue]  # the other rope parameters as config.json has them; empty for "default"
    dtype: str  # of the stored weights
    eos_token_ids: tuple[int, ...]
    bos_token_id: int | None
    pad_token_id: int | None
    parameters: int  # weights to store; tied embeddings are counted once


class GenerationConfig(BaseModel):
    """How the model's makers decode it, from generation_config.json; None: it does not say."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    do_sample: bool = False
    temperature: float | None = Field(default=None, gt=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)

    @property
    def not_applied(self) -> list[str]:
        """What else the file would have changed about sampling: nothing here does that."""
        extra = self.model_extra or {}
        return [f"{name} {extra[name]}" for name, off in NOT_APPLIED.items() if extra.get(name) not in (None, off)]


def generation_config(folder: Path, sampled: bool) -> GenerationConfig:
    """How the model in `folder` is decoded; no file: greedily, as transformers does.

    Unless it is to be `sampled`, a file without do_sample is not read any further. Raises SourceError for a malformed
    one.
    """
    path = folder / "generation_config.json"
    found = _json(path) or {}
    try:
        return GenerationConfig.model_validate(found if sampled or found.get("do_sample") else {})
    except ValidationError as error:
        raise SourceError(
            f"{path}: {_first_problem(error)}: mend the file, or set generation.decoding: greedy in params"
        ) from error


def read(folder: Path, where: str | None = None) -> Architecture:
    """The architecture of the model in `folder`; `where` names it in messages (default: the folder).

    Raises SourceError if config.json is missing or malformed, UnsupportedModelError if it is no family of ours.
    """
    config = _json(folder / "config.json")
    if config is None:
        raise SourceError(f"{where or folder} has no config.json: not a Hugging Face model")
    generation = _json(folder / "generation_config.json") or {}
    return parse(config, generation, where or str(folder))


def parse(config: dict[str, Any], generation: dict[str, Any], where: str) -> Architecture:
    """The architecture that `config` (config.json) and `generation` (generation_config.json, may be empty) describe.

    `where` names the model in messages. As in transformers, generation_config.json decides the end tokens.
    """
    names = config.get("architectures") or []
    family = next((found for name, found in FAMILIES.items() if names == [name]), None)
    if family is None or config.get("model_type") != family:
        what = f"architectures {names or 'missing'}, model_type {config.get('model_type')!r}"
        raise UnsupportedModelError(f"{where}: {what} is not supported; {WORKS}")
    rope = _rope(config, where)
    _refuse(config, rope, family, where)
    _check_numbers(config, rope, family, where)
    eos = generation.get("eos_token_id", config.get("eos_token_id"))
    if eos is None or eos == []:
        raise SourceError(
            f"{where}: neither generation_config.json nor config.json has eos_token_id: it could not stop"
        )
    try:
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        architecture = Architecture(
            family=family,
            layers=config["num_hidden_layers"],
            hidden=hidden,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden // heads,
            ffn=config["intermediate_size"],
            vocabulary=config["vocab_size"],
            max_position_embeddings=config["max_position_embeddings"],
            tied_embeddings=config.get("tie_word_embeddings", False),
            attention_bias=family == "qwen2" or config.get("attention_bias", False),
            mlp_bias=family == "llama" and config.get("mlp_bias", False),
            rms_norm_eps=config.get("rms_norm_eps", 1e-6),
            rope_theta=rope.pop("rope_theta", 10000.0),
            rope_type=rope.pop("rope_type"),
            rope_scaling=rope,
            dtype=config.get("dtype") or config.get("torch_dtype") or "float32",
            eos_token_ids=tuple(eos) if isinstance(eos, list) else (eos,),
            bos_token_id=config.get("bos_token_id"),
            pad_token_id=generation.get("pad_token_id", config.get("pad_token_id")),
            parameters=0,
        )
    except KeyError as error:
        raise SourceError(f"{where}: config.json has no {error}") from error
    except (TypeError, ValidationError) as error:
        raise SourceError(f"{where}: config.json is malformed: {_first_problem(error)}") from error
    if architecture.head_dim % HEAD_DIM_MULTIPLE or architecture.heads % architecture.kv_heads:
        what = f"head_dim {architecture.head_dim} with {architecture.heads} heads on {architecture.kv_heads} KV heads"
        raise UnsupportedModelError(f"{where}: {what} is not supported; {WORKS}")
    sizes = tensors(architecture).values()
    return architecture.model_copy(update={"parameters": sum(math.prod(shape) for shape in sizes)})


def tensors(a: Architecture) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight that a checkpoint of this architecture holds (names as in transformers)."""
    query, key_value = a.heads * a.head_dim, a.kv_heads * a.head_dim
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (a.vocabulary, a.hidden)}
    matrices = {
        "self_attn.q_proj": (query, a.hidden),
        "self_attn.k_proj": (key_value, a.hidden),
        "self_attn.v_proj": (key_value, a.hidden),
        "self_attn.o_proj": (a.hidden, query),
        "mlp.gate_proj": (a.ffn, a.hidden),
        "mlp.up_proj": (a.ffn, a.hidden),
        "mlp.down_proj": (a.hidden, a.ffn),
    }
    for layer in range(a.layers):
        for name, shape in matrices.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
            if _has_bias(a, name):
                shapes[f"model.layers.{layer}.{name}.bias"] = shape[:1]
        for name in ("input_layernorm", "post_attention_layernorm"):
            shapes[f"model.layers.{layer}.{name}.weight"] = (a.hidden,)
    shapes["model.norm.weight"] = (a.hidden,)
    if not a.tied_embeddings:
        shapes["lm_head.weight"] = (a.vocabulary, a.hidden)
    return shapes


def _has_bias(a: Architecture, matrix: str) -> bool:
    if matrix.startswith("mlp."):
        return a.mlp_bias
    # Qwen2 has no bias on the output projection; Llama's switch covers all four.
    return a.attention_bias and not (a.family == "qwen2" and matrix.endswith("o_proj"))


def _refuse(config: dict[str, Any], rope: dict[str, Any], family: str, where: str) -> None:
    """Raise UnsupportedModelError for a setting inside a known family that no stage can honour."""
    needed = ROPE_SETTINGS[family].get(rope["rope_type"])
    kinds = config.get("layer_types") or []
    other = [kind for kind in kinds if kind != "full_attention"] if isinstance(kinds, list) else [kinds]
    partial = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1))
    reasons = {
        "a quantized checkpoint (quantization_config): give the original weights": bool(
            config.get("quantization_config")
        ),
        "custom code (auto_map): remote code is never run": bool(config.get("auto_map")),
        "sliding-window attention (use_sliding_window)": bool(config.get("use_sliding_window")),
        f"layer type {other[0] if other else None!r} (layer_types)": bool(other),
        f"rope type {rope['rope_type']!r}": needed is None,
        f"activation {config.get('hidden_act')!r}": config.get("hidden_act", "silu") != "silu",
        f"partial rotary embedding {partial}": partial != 1,
    }
    for reason, holds in reasons.items():
        if holds:
            raise UnsupportedModelError(f"{where}: {reason} is not supported; {WORKS}")
    if missing := [name for name in needed or () if name not in rope]:
        raise SourceError(f"{where}: rope type {rope['rope_type']!r} lacks {', '.join(missing)} in config.json")


def _check_numbers(config: dict[str, Any], rope: dict[str, Any], family: str, where: str) -> None:
    """Raise SourceError for a number that is not above 0, or is NaN or infinite: JSON as Python writes it can be."""
    for name in COUNTS:
        value = config.get(name)
        if value is not None and not (type(value) is int and 0 < value <= LARGEST_COUNT):
            raise SourceError(f"{where}: {name} in config.json is {value!r}, not a whole number from 1 to 2^31-1")
    numbers = {name: rope[name] for name in ("rope_theta", *ROPE_SETTINGS[family][rope["rope_type"]]) if name in rope}
    for name, value in ({"rms_norm_eps": config.get("rms_norm_eps", 1e-6)} | numbers).items():
        if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
            raise SourceError(f"{where}: {name} in config.json is {value!r}, not a finite number above 0")
    if rope["rope_type"] == "llama3" and rope["low_freq_factor"] >= rope["high_freq_factor"]:
        raise SourceError(f"{where}: low_freq_factor in config.json is not below high_freq_factor")
    kinds = config.get("layer_types")
    if kinds and len(kinds) != config.get("num_hidden_layers", len(kinds)):
        raise SourceError(f"{where}: layer_types in config.json names {len(kinds)} layers, not num_hidden_layers")


def _rope(config: dict[str, Any], where: str) -> dict[str, Any]:
    """RoPE settings in one form: transformers 5 writes `rope_parameters`, 4 wrote `rope_theta` and `rope_scaling`."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, dict):
        raise SourceError(f"{where}: the rope settings in config.json are {found!r}, not an object")
    rope = dict(found)
    rope["rope_type"] = str(rope.pop("type", None) or rope.get("rope_type") or "default")
    if "rope_theta" not in rope and "rope_theta" in config:
        rope["rope_theta"] = config["rope_theta"]
    return rope


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SourceError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path} does not hold a JSON object")
    return content


def _first_problem(error: TypeError | ValidationError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"

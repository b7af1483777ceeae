"""Random models of the real architectures, small enough to export in a second. Made once a session by conftest.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}<|User|>{{ message['content'] }}"
    "{% else %}<|Assistant|>{{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|User|>", "<|Assistant|>", "<think>", "</think>"]


def tokenizer(digits: str = r"\d", text: str = "") -> PreTrainedTokenizerFast:
    """Byte-level BPE, one token per match of `digits`, R1-style chat template. Trained on `text` too."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(digits), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    lines = ["What is 12 + 34? Compute the sum step by step. The answer is 46.", text]
    core.train_from_iterator(lines * 4, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|bos|>",
        eos_token="<|eos|>",
        pad_token="<|pad|>",
        unk_token="<|pad|>",
        extra_special_tokens=["<|User|>", "<|Assistant|>"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def llama2_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2's: blanks belong to tokens, other characters are byte tokens, the decoder drops the first blank."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=360, special_tokens=["<unk>", "<s>", "</s>", *byte_tokens], show_progress=False
    )
    core.train_from_iterator(["The capital of France is Paris. What is 12 + 34? The answer is 46."] * 4, trainer)
    settings = json.loads(core.to_str())
    # The trainer makes added tokens of what it is told to keep; the byte tokens are ordinary ones.
    settings["added_tokens"] = settings["added_tokens"][:3]
    core = Tokenizer.from_str(json.dumps(settings))
    core.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = (
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "[INST] {{ message['content'] }} [/INST]{% else %} {{ message['content'] }} {{ eos_token }}{% endif %}"
        "{% endfor %}"
    )
    return fast


def make(
    folder: Path,
    family: str = "qwen2",
    seed: int = 0,
    layers: int = 2,
    hidden: int = 64,
    words: PreTrainedTokenizerFast | None = None,
    **changes: Any,
) -> Path:
    """Write a random `family` model ("qwen2" or "llama") with its tokenizer into `folder`, as bf16 safetensors.

    `changes` are settings of config.json, `words` another tokenizer than `tokenizer()`.
    """
    torch.manual_seed(seed)
    words = words or tokenizer()
    shape = {
        "vocab_size": len(words),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": False,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "initializer_range": 0.2,
        **changes,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**shape)) if family == "qwen2" else LlamaForCausalLM(LlamaConfig(**shape))
    for name, values in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(values, std=0.2)  # transformers makes them 0, where forgetting one changes nothing
    model.generation_config.pad_token_id = words.pad_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder

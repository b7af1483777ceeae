"""Tokens, made once: the chat-templated prompt and the worked solution of every item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data.items import Prepared
from data.records import Item


def tokenize(items: Sequence[Item], tokenizer: Any) -> list[Prepared]:
    """Items with `prompt_ids` (template with generation prompt) and `target_ids` (solution and end token, or empty).

    The template writes its own begin token, so none is added. A solution starts where the prompt ends, as generated
    text would.
    """
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": item.question}], tokenize=False, add_generation_prompt=True
        )
        for item in items
    ]
    solutions = [item.solution or "" for item in items]
    prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    target_ids = tokenizer(solutions, add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id]
    return [
        Prepared(item=item, prompt_ids=tuple(ids), target_ids=tuple(target + end if target else ()), prompt=prompt)
        for item, prompt, ids, target in zip(items, prompts, prompt_ids, target_ids, strict=True)
    ]

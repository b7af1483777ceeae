"""Reading a model's reply: the part after its thinking, and the final answer in it. Standard library only."""

from __future__ import annotations

import re

THINK_END = "</think>"
BOX = "\\boxed{"
INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."  # as DeepSeek advises for R1


def after_thinking(text: str) -> str | None:
    """What follows the last `</think>`; None when the model never closed its thinking."""
    _, closed, reply = text.rpartition(THINK_END)
    return reply if closed else None


def boxed(text: str) -> str | None:
    """The content of the last `\\boxed{...}` with balanced braces, stripped; None when there is none."""
    start = text.rfind(BOX)
    if start < 0:
        return None
    depth, begin = 1, start + len(BOX)
    for end in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        if depth == 0:
            return text[begin:end].strip()
    return None


def visible(text: str) -> str | None:
    """What is meant for the user: the part after the thinking, or all of it from a model that does not think aloud.

    None when the model was cut off in its thinking; where the prompt opened it, no tag in `text` can show that.
    """
    reply = after_thinking(text)
    if reply is None and "<think>" not in text:
        return text
    return reply


def final_answer(text: str) -> str | None:
    """The boxed answer in the visible part of a reply."""
    reply = visible(text)
    return None if reply is None else boxed(reply)


def canonical(answer: str) -> str:
    """An answer as it is compared: no surrounding blanks or `$`, single blanks, no thousands separators."""
    answer = " ".join(answer.strip().strip("$").split())
    return answer.replace(",", "") if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", answer) else answer

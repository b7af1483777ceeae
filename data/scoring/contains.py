"""One of the answers (with " | " between them) stands in the reply as whole words, in any case."""

from __future__ import annotations

import re

from data import replies
from data.records import Item

OR = " | "


def is_right(item: Item, text: str) -> bool:
    reply = replies.visible(text) or ""
    return any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", reply, re.IGNORECASE) for one in _answers(item))


def ideal_answer(item: Item) -> str:
    return next(iter(_answers(item)), "")


def _answers(item: Item) -> list[str]:
    return [one.strip() for one in item.answer.split(OR) if one.strip()]

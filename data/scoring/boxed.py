"""The boxed answer equals the item's, apart from blanks and thousands separators."""

from __future__ import annotations

from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    found = replies.final_answer(text)
    return found is not None and replies.canonical(found) == replies.canonical(item.answer)

"""The reply is the answer and nothing else, apart from blanks around it."""

from __future__ import annotations

from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    reply = (replies.visible(text) or "").strip()
    return bool(reply) and reply == item.answer.strip()


def ideal_answer(item: Item) -> str:
    return item.answer

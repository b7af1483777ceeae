"""The boxed answer after `</think>` is the item's, character by character; an answer without the tag is wrong."""

from __future__ import annotations

from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    reply = replies.after_thinking(text)
    return reply is not None and replies.boxed(reply) == item.answer

"""The reply names the answer's letter: behind "answer", "option" or "choice", or first, as in `(B)` or `B. Oslo`.

A lone letter elsewhere may be a word ("A cat"), so it names nothing.
"""

from __future__ import annotations

import re

from data import replies
from data.records import Item

NAMED = re.compile(r"(?i:\b(?:answer|option|choice)(?:\s+is)?)\b[\s:(*\"']*([A-Z])(?!\w)")
FIRST = re.compile(r"[\s(\[*\"']*([A-Z])(?=[^\w\s']|\s*(?:\n|$))")


def is_right(item: Item, text: str) -> bool:
    reply = replies.visible(text) or ""
    named = NAMED.findall(reply) or FIRST.match(reply)
    letter = named[-1] if isinstance(named, list) else named and named[1]
    return letter == item.answer.strip().upper()


def ideal_answer(item: Item) -> str:
    return item.answer.strip().upper()

"""The reply names the answer's letter, in this order of trust: in a box; last behind "answer", "option" or "choice";
first of all, as in `(B)` or `B. Oslo`; alone on its line.

A lone letter elsewhere may be a word ("A cat"), so it names nothing.
"""

from __future__ import annotations

import re

from data import replies
from data.records import Item

OPENED = r"(?:[\s:(\[*\"'$]|\\(?:text|mathrm|mathbf|textbf)\{)*"  # what Markdown and LaTeX put around a letter
BOXED = re.compile(rf"{OPENED}([A-Z])(?!\w)")
NAMED = re.compile(rf"(?i:\b(?:answer|option|choice)(?:\s+is)?)\b{OPENED}([A-Z])(?!\w)")
FIRST = re.compile(rf"{OPENED}([A-Z])(?=[^\w\s']|\s*(?:\n|$))")
ALONE = re.compile(rf"^{OPENED}([A-Z])[^\w\n]*$", re.MULTILINE)


def is_right(item: Item, text: str) -> bool:
    reply = replies.visible(text) or ""
    named = BOXED.match(replies.boxed(reply) or "")
    letters = [named[1]] if named else NAMED.findall(reply)
    if not letters and (first := FIRST.match(reply)):
        letters = [first[1]]
    letters = letters or ALONE.findall(reply)
    return bool(letters) and letters[-1] == item.answer.strip().upper()


def ideal_answer(item: Item) -> str:
    return item.answer.strip().upper()

"""The last number in the reply is the answer: 12,000 and 12000.0 are one number, and so are 0.5 and 5e-1."""

from __future__ import annotations

import re
from decimal import Decimal

from data import replies
from data.records import Item

THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
NUMBER = re.compile(r"(?:(?<![\w.)])-)?(?:\d+(?:\.\d+)?|(?<!\w)\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?")


def is_right(item: Item, text: str) -> bool:
    found, wanted = _last(replies.visible(text) or ""), _last(item.answer)
    return found is not None and found == wanted


def ideal_answer(item: Item) -> str:
    return item.answer


def _last(text: str) -> Decimal | None:
    numbers = NUMBER.findall(THOUSANDS.sub("", text.replace("\u2212", "-")))
    return Decimal(numbers[-1]) if numbers else None

"""The last number in the reply is the answer: 12,000 and 12000.0 are one number, and so are 0.5 and 5e-1.

It may be off by `absolute`, or by `relative` times the answer, whichever is more; without them it may not.
"""

from __future__ import annotations

import re
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from data import replies, scoring
from data.records import Item

THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
NUMBER = re.compile(r"(?:(?<![\w.)])-)?(?:\d+(?:\.\d+)?|(?<!\w)\.\d+)(?:[eE][-+]?\d{1,3}(?!\w))?")


class Options(BaseModel):
    """How far off the number may be."""

    model_config = ConfigDict(extra="forbid")

    absolute: Decimal = Field(default=Decimal(0), ge=0)
    relative: Decimal = Field(default=Decimal(0), ge=0, lt=1, description="share of the answer")


def is_right(item: Item, text: str) -> bool:
    found, wanted = _last(replies.visible(text) or ""), _last(item.answer)
    if found is None or wanted is None:
        return False
    options = scoring.options(item)
    return found == wanted or abs(found - wanted) <= max(options.absolute, options.relative * abs(wanted))


def ideal_answer(item: Item) -> str:
    return item.answer


def _last(text: str) -> Decimal | None:
    numbers = NUMBER.findall(THOUSANDS.sub("", text.replace("\u2212", "-")))
    return Decimal(numbers[-1]) if numbers else None

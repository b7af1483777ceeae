"""When two questions count as the same: they differ in blanks, or in the order of their numbers, alone."""

from __future__ import annotations

import re

NUMBER = re.compile(r"\d+(?:\.\d+)?")


def normal_form(question: str) -> str:
    """The question with single blanks and its numbers taken out and listed in order behind it."""
    numbers = sorted(NUMBER.findall(question))
    return " ".join(NUMBER.sub("#", question).split()) + " | " + " ".join(numbers)

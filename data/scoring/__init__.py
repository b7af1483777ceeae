"""The scoring contract. Each file here is one rule for when a reply is right; its file name is an item's `scoring`.

A rule has
- `is_right(item, text) -> bool`, about a model's whole reply;
- `ideal_answer(item) -> str`, only where the answer is not to stand in a box: how a perfect reply puts it.

It accepts `ideal(item)` and refuses the empty reply.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

from core import plugins
from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    """Whether a whole reply (the model's new text) is right by the item's scoring rule."""
    return bool(plugins.load("data.scoring", item.scoring).is_right(item, text))


def ideal(item: Item) -> str:
    """The reply that a perfect model would give: the worked solution, or the answer alone, as the rule wants it."""
    if item.solution is not None:
        return item.solution
    rule = plugins.load("data.scoring", item.scoring)
    answer = rule.ideal_answer(item) if hasattr(rule, "ideal_answer") else f"{replies.BOX}{item.answer}}}"
    return f"{replies.THINK_END}\n{answer}"


@cache
def known(name: str) -> str:
    """`name`, if a rule is called so; ConfigError says which there are."""
    plugins.module_name("data.scoring", name)
    return name


Scoring = Annotated[str, plugins.name_of("data.scoring")]  # type of an option that names a rule

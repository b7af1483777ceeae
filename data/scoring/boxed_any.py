"""The boxed answer is one of those accepted, apart from blanks and thousands separators.

`Item.metadata` is the JSON list of them; without it the item's answer is the only one.
"""

from __future__ import annotations

import json

from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    found = replies.final_answer(text)
    accepted = json.loads(item.metadata) if item.metadata else [item.answer]
    return found is not None and replies.canonical(found) in {replies.canonical(answer) for answer in accepted}

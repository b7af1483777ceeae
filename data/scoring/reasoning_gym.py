"""reasoning-gym's own checker gives the boxed answer its full score.

`Item.metadata` is JSON with the task, its settings and the entry's metadata: data/suites/reasoning_gym.py writes it.
"""

from __future__ import annotations

import json
import warnings
from functools import lru_cache
from typing import Any

from core.errors import DataError
from data import replies
from data.records import Item


def is_right(item: Item, text: str) -> bool:
    found = replies.final_answer(text)
    if found is None or item.metadata is None:
        return False
    stored = json.loads(item.metadata)
    checker = dataset(stored["task"], json.dumps(stored["settings"]), 0, 1)
    entry = {"question": item.question, "answer": item.answer, "metadata": stored["entry"]}
    try:
        return bool(checker.score_answer(found, entry) >= 1.0)
    except Exception:  # several checkers parse the reply unguarded: what they stumble over is no answer
        return False


@lru_cache(maxsize=256)
def dataset(name: str, settings: str, seed: int, size: int) -> Any:
    """The library's data set `name` with `settings` (JSON); DataError when it refuses them."""
    try:
        return library().create_dataset(name, seed=seed, size=size, **json.loads(settings))
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(f"reasoning-gym refuses the settings {settings} of '{name}': {error}") from error


def library() -> Any:
    """The library, without its warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # from a dependency, at its first import
        import reasoning_gym
    return reasoning_gym

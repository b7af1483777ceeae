"""What the pyfunc takes: every form of prompt and chat becomes chats, everything else is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.errors import DataError
from registry.pyfunc import chats

ONE = [{"role": "user", "content": "What is 1 + 2?"}]
TWO = [*ONE, {"role": "assistant", "content": "3"}, {"role": "user", "content": "And 4?"}]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("What is 1 + 2?", [ONE]),
        (["What is 1 + 2?"] * 2, [ONE, ONE]),
        (("What is 1 + 2?",), [ONE]),
        (np.array(["What is 1 + 2?"], dtype=object), [ONE]),
        (TWO, [TWO]),
        ([ONE, TWO], [ONE, TWO]),
        ({"messages": TWO}, [TWO]),
        ([{"messages": ONE}, {"prompt": "What is 1 + 2?"}], [ONE, ONE]),
        (pd.DataFrame({"prompt": ["What is 1 + 2?"], "id": [7]}), [ONE]),
        (pd.DataFrame({"messages": [ONE, TWO]}), [ONE, TWO]),
        (pd.DataFrame({"question": ["What is 1 + 2?"]}), [ONE]),
        ([], []),
    ],
)
def test_prompts_and_chats_in_every_form(given: Any, expected: list[list[dict[str, str]]]) -> None:
    assert chats(given) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "not int"),
        ([3], "not a prompt, nor messages"),
        ([{"role": "user"}], "not a prompt, nor messages"),
        ([[]], "not a prompt, nor messages"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), r"a column 'prompt' or 'messages', it has \['a', 'b'\]"),
    ],
)
def test_anything_else_is_refused_by_what_it_is(given: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        chats(given)

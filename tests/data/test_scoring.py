"""Every scoring rule against the one contract, and what each takes for right."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import plugins
from core.errors import ConfigError
from data import scoring
from data.records import Item

ENTRY = {"task": "gcd", "settings": {}, "entry": {}}


def item(rule: str, answer: str, **more: Any) -> Item:
    return Item(id="1", suite="s", kind="jsonl", task="t", question="q", answer=answer, scoring=rule, **more)


@pytest.mark.parametrize("rule", plugins.known("data.scoring"))
@pytest.mark.parametrize("answer", ["7", "B", "Oslo | Kristiania"])
def test_contract(rule: str, answer: str) -> None:
    if (rule, answer) in {("number", "B"), ("number", "Oslo | Kristiania"), ("choice", "7")}:
        answer = {"number": "-1,000.5", "choice": "b"}[rule]
    if rule == "choice" and len(answer) > 1:
        answer = "D"
    metadata = json.dumps(ENTRY) if rule == "reasoning_gym" else None
    one = item(rule, answer, metadata=metadata)
    assert scoring.is_right(one, scoring.ideal(one))
    assert not scoring.is_right(one, "")
    assert not scoring.is_right(one, "</think>")
    assert not scoring.is_right(one, "I do not know.")


def test_a_worked_solution_is_the_ideal_reply() -> None:
    assert scoring.ideal(item("contains", "Oslo | Kristiania")) == "</think>\nOslo"
    assert scoring.ideal(item("boxed", "4")) == "</think>\n\\boxed{4}"
    assert scoring.ideal(item("number", "4", solution="2 + 2 = 4")) == "2 + 2 = 4"


@pytest.mark.parametrize(
    ("rule", "answer", "reply", "right"),
    [
        ("contains", "New Delhi", "It is new delhi.", True),
        ("contains", "Oslo | Kristiania", '"Kristiania"', True),
        ("contains", "Rome", "Romeo lived in Verona.", False),
        ("contains", "US | U.S.", "In the U.S.", True),
        ("contains", "Rome", "<think>Rome or Pa", False),
        ("contains", "Rome", "Rome?</think>Paris", False),
        ("contains", "Rome | ", "Paris", False),
        ("number", "13", "7 plus 6 is 13.", True),
        ("number", "13", "13 is 7 plus 6", False),
        ("number", "13", "thirteen", False),
        ("number", "12000", "It is 12,000.", True),
        ("number", "3", "The answer is 13", False),
        ("number", "0.10", "it is .1", True),
        ("number", "1e3", "1000", True),
        ("number", "-5", "3 - 8 = \u22125", True),
        ("number", "5", "it is -5", False),
        ("number", "13", "10-13", True),
        ("number", "23", "1,2,23", True),
        ("number", "none", "none", False),
        ("exact", "Oslo", "so </think> Oslo\n", True),
        ("exact", "Oslo", "oslo", False),
        ("exact", "Oslo", "Oslo.", False),
        ("choice", "b", "B", True),
        ("choice", "B", "**B**", True),
        ("choice", "B", "(B) Oslo", True),
        ("choice", "B", "The answer is B, not A.", True),
        ("choice", "B", "Answer: (B)", True),
        ("choice", "A", "A cat.", False),
        ("choice", "A", "B. A cat", False),
        ("choice", "B", "A. But the right option is B", True),
    ],
)
def test_rules(rule: str, answer: str, reply: str, right: bool) -> None:
    assert scoring.is_right(item(rule, answer), reply) is right


@pytest.mark.parametrize("rule", plugins.known("data.scoring"))
@given(reply=st.text() | st.text("</think>\\boxed{}1,.-e AB\n"))
def test_any_reply_is_judged(rule: str, reply: str) -> None:
    metadata = json.dumps(ENTRY) if rule == "reasoning_gym" else None
    assert scoring.is_right(item(rule, "5x", metadata=metadata), reply) in (True, False)


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"data\.scoring has no 'boxd'; known: boxed, .*number"):
        scoring.known("boxd")

"""Every scoring rule against the one contract, and what each takes for right."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import plugins
from core.errors import ConfigError
from data import scoring
from data.records import Item
from tests.data.test_suites import draw, lm_eval_tasks

ENTRY = {"task": "gcd", "settings": {}, "entry": {}}
NEEDED = {
    "reasoning_gym": json.dumps(ENTRY),
    "regex": json.dumps({"pattern": ".+"}),
}  # `metadata` of rules that need it


def item(rule: str, answer: str, **more: Any) -> Item:
    more.setdefault("metadata", NEEDED.get(rule))
    return Item(id="1", suite="s", kind="jsonl", task="t", question="q", answer=answer, scoring=rule, **more)


@pytest.mark.parametrize("rule", plugins.known("data.scoring"))
@pytest.mark.parametrize("answer", ["7", "B", "Oslo | Kristiania"])
def test_contract(rule: str, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (rule, answer) in {("number", "B"), ("number", "Oslo | Kristiania"), ("choice", "7")}:
        answer = {"number": "-1,000.5", "choice": "b"}[rule]
    if rule == "choice" and len(answer) > 1:
        answer = "D"
    one = item(rule, answer)
    if rule == "lm_eval":
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
        one = draw("lm_eval", {"tasks": ["assay_sums"], "include_path": str(lm_eval_tasks(tmp_path))}, 1)[0]
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
        ("choice", "B", "The answer is (B)", True),
        ("choice", "B", "The correct answer is **B**.", True),
        ("choice", "B", "B) Oslo, for it is the capital", True),
        ("choice", "B", "so \\boxed{B}", True),
        ("choice", "B", "A or B? The answer is A, no: \\boxed{\\text{(B)}}", True),
        ("choice", "B", "The answer is $\\mathbf{B}$", True),
        ("choice", "B", "\\boxed{Bergen}", False),
        ("choice", "B", "It is the capital.\n\n**B**\n", True),
        ("choice", "B", "It is the capital of Plan\nB of Oslo", False),
        ("math", "\\frac{1}{2}", "so it is 0.5", True),
        ("math", "\\frac{1}{2}", "\\boxed{\\frac{2}{4}}", True),
        ("math", "0.5", "1/2, or $\\frac{1}{3}$", False),
        ("math", "x+1", "The answer is $1+x$.", True),
        ("math", "12,000", "It is 12000", True),
        ("math", "13", "13 is 7 plus 6", False),
        ("math", "\\{1,2\\}", "\\boxed{\\{2, 1\\}}", True),
        ("math", "7", "7?</think>8", False),
        ("math", "7", "\\boxed{}", False),
    ],
)
def test_rules(rule: str, answer: str, reply: str, right: bool) -> None:
    assert scoring.is_right(item(rule, answer), reply) is right


@pytest.mark.parametrize("rule", plugins.known("data.scoring"))
@settings(deadline=None)
@given(reply=st.text() | st.text("</think>\\boxed{}1,.-e AB\n"))
def test_any_reply_is_judged(rule: str, reply: str) -> None:
    assert scoring.is_right(item(rule, "5x"), reply) in (True, False)


@pytest.mark.parametrize(
    ("options", "answer", "reply", "right"),
    [
        ({"absolute": 0.1}, "3.14", "about 3.24", True),
        ({"absolute": 0.1}, "3.14", "about 3.25", False),
        ({"relative": 0.01}, "-200", "-202", True),
        ({"relative": 0.01}, "-200", "-203", False),
        ({"relative": 0.01, "absolute": 5}, "-200", "-204", True),
        ({"relative": 0.01}, "0", "0.0001", False),
    ],
)
def test_a_number_may_be_off_by_the_tolerance(options: dict[str, Any], answer: str, reply: str, right: bool) -> None:
    assert scoring.is_right(item("number", answer, metadata=scoring.checked("number", options)), reply) is right


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9)


@given(wanted=NUMBERS, found=NUMBERS, absolute=st.decimals(0, 10**6, places=3))
def test_the_tolerance_is_held_exactly(wanted: Decimal, found: Decimal, absolute: Decimal) -> None:
    one = item("number", str(wanted), metadata=scoring.checked("number", {"absolute": str(absolute)}))
    assert scoring.is_right(one, f"it is {found}") is (abs(found - wanted) <= absolute)


@pytest.mark.parametrize(
    ("pattern", "answer", "reply", "right"),
    [
        (r"#### (\S+)", "72", "#### 70\n#### 72", True),
        (r"#### (\S+)", "72", "72", False),
        (r"#### (\S+)", "72", "#### 72\n#### 70", False),
        (r"\d+", "72", "70 or 72.", True),
        (r"#### (\S+)", "72", "#### 72</think>#### 70", False),
        (r"(a)?b", "a", "ab b", False),
        (r"x*", "", "y", False),
    ],
)
def test_a_regex_finds_the_answer(pattern: str, answer: str, reply: str, right: bool) -> None:
    one = item("regex", answer, metadata=scoring.checked("regex", {"pattern": pattern}))
    assert scoring.is_right(one, reply) is right


def test_a_regex_says_how_an_ideal_reply_is_put() -> None:
    options = {"pattern": r"Result: (\d+)", "ideal": "Result: {answer}"}
    one = item("regex", "7", metadata=scoring.checked("regex", options))
    assert scoring.ideal(one) == "</think>\nResult: 7"
    assert scoring.is_right(one, scoring.ideal(one))


def test_a_regex_that_takes_exponential_time_finds_nothing() -> None:
    one = item("regex", "b", metadata=scoring.checked("regex", {"pattern": r"(x+x+)+y"}))
    start = time.monotonic()
    assert not scoring.is_right(one, "x" * 5000)
    assert time.monotonic() - start < 30


@settings(deadline=None)
@given(pattern=st.text(max_size=20) | st.text("()[]|*+?{}1,.\\dab^$", max_size=20), reply=st.text("ab1.\n"))
def test_no_pattern_raises(pattern: str, reply: str) -> None:
    try:
        metadata = scoring.checked("regex", {"pattern": pattern})
    except ConfigError:
        return
    assert scoring.is_right(item("regex", "a", metadata=metadata), reply) in (True, False)


@pytest.mark.parametrize(
    "reply", ["\\boxed{9^{9^{9^{9}}}}", "\\boxed{99999!!!!}", "\\boxed{" + "{" * 300 + "7" + "}" * 301]
)
def test_what_no_computer_finishes_is_not_right_in_any_thread(reply: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(scoring.is_right, item("math", "7"), reply).result(60) is False
    assert scoring.is_right(item("math", "0.25"), "\\boxed{\\frac{1}{4}}"), "the next reply is judged"


def test_a_judge_that_dies_is_replaced() -> None:
    from data.scoring import math

    math._worker().kill()
    assert not scoring.is_right(item("math", "0.125"), "$\\frac{1}{8}$")
    assert scoring.is_right(item("math", "0.125"), "so $\\frac{1}{8}$")


@pytest.mark.parametrize(
    ("rule", "options", "said"),
    [
        ("boxed", {"tolerance": 1}, "scoring_options: tolerance: Extra inputs are not permitted"),
        ("regex", {}, "scoring_options: pattern: Field required"),
        ("regex", {"pattern": "("}, "scoring_options: pattern: '(' is not a regular expression: missing )"),
        ("regex", {"pattern": "a", "ideal": "7"}, "scoring_options: ideal: "),
        ("number", {"absolute": -1}, "scoring_options: absolute: Input should be greater than or equal to 0"),
        ("number", {"relative": 5}, "scoring_options: relative: Input should be less than 1"),
    ],
)
def test_options_that_a_rule_does_not_have_are_refused(rule: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        scoring.checked(rule, options)


def test_an_unknown_rule_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"data\.scoring has no 'boxd'; known: boxed, .*number"):
        scoring.known("boxd")

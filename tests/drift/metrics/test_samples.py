from __future__ import annotations

from data.records import Item
from drift.metrics import Answer, Comparison, MetricOptions, Pair, Side, samples

ITEM = Item(id="1", suite="s", task="t", question="q", answer="a")


def side(*right: bool, finished: bool = True, tokens: int = 3) -> Side:
    return Side((Answer((1,) * tokens, "a", finished),) * len(right), right)


def test_a_right_answer_of_k_and_their_mean() -> None:
    seen = Comparison(
        [Pair(ITEM, side(True, False), side(False, False, tokens=9)), Pair(ITEM, side(True, True), side(True, False))]
    )
    found = {one.name: (one.label, one.reference, one.value) for one in samples.measure(seen, MetricOptions())}
    assert found == {
        "avg_at_k": ("avg@2", 0.75, 0.25),
        "pass_at_k": ("pass@2", 1.0, 0.5),
        "tokens_to_an_answer": ("tokens to an answer that ended", 3.0, 6.0),
    }


def test_greedy_answers_have_no_pass_at_k() -> None:
    seen = Comparison([Pair(ITEM, side(True, finished=False), side(True))])
    assert samples.measure(seen, MetricOptions()) == []

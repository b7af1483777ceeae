"""What holds for every metric file, and what becomes of its limits."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import yaml

from core import plugins
from core.errors import ConfigError
from drift import metrics
from drift.divergence import TokenScores
from drift.metrics import Answer, Comparison
from evaluation.params import EvaluateParams
from tests.drift.metrics import seen
from tests.report.project import ROOT

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())["evaluate"]
ANSWERS = [Answer((1, 2), "a</think>b", True)] * 3
SCORES = [TokenScores(np.full(4, 0.1), np.ones(4), np.ones(4), np.ones(4))] * 3
WHOLE = Comparison(seen.answers(ANSWERS, ANSWERS).pairs, SCORES, seed=1)


def test_params_list_every_metric_that_ships() -> None:
    assert sorted(SHIPPED["metrics"]) == plugins.known("drift.metrics")


@pytest.mark.parametrize("name", plugins.known("drift.metrics"))
def test_contract(name: str) -> None:
    module = plugins.load("drift.metrics", name)
    found = metrics.measure(metrics.choose({name: {}}), WHOLE)
    optional, prefix = getattr(module, "OPTIONAL", ()), getattr(module, "PREFIX", "")
    names = [metric.name for metric in found]
    assert {name for name in module.NAMES if name not in optional} <= set(names)
    assert all(name in module.NAMES or (prefix and name.startswith(prefix)) for name in names)
    assert all(metric.label and metric.group and metric.counted and metric.count for metric in found)
    assert all((metric.low is None) == (metric.level is None) for metric in found)
    empty = metrics.measure(metrics.choose({name: {}}), Comparison())
    assert [(metric.name, metric.value, metric.count) for metric in empty] == [
        (one, None, 0) for one in module.NAMES if one not in optional
    ]


def test_no_two_metrics_share_a_name() -> None:
    named = Counter(metric.name for metric in metrics.measure(metrics.choose(SHIPPED["metrics"]), WHOLE))
    assert max(named.values()) == 1


def test_a_limit_goes_with_its_metric_and_stays_where_there_is_no_data() -> None:
    chosen = metrics.choose({"kl": {"limits": {"kl_mean_nats": {"at_most": 0.2}}}})
    measured = {metric.name: metric for metric in metrics.measure(chosen, WHOLE)}
    assert measured["kl_mean_nats"].limit is not None
    assert measured["kl_mean_nats"].limit.at_most == 0.2
    assert measured["kl_max_nats"].limit is None
    empty = metrics.measure(chosen, Comparison())[0]
    assert (empty.name, empty.value, empty.limit is None) == ("kl_mean_nats", None, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"limits": {"kl_men": {"at_most": 1}}},
            r"evaluate\.metrics\.kl\.limits: no metric kl_men; known: kl_mean",
        ),
        ({"limits": {"kl_mean_nats": {}}}, "give one of at_most and at_least"),
        ({"limits": {"kl_mean_nats": {"at_most": 1, "at_least": 0}}}, "give one of at_most and at_least"),
        ({"seed": 1}, r"evaluate\.metrics\.kl: seed"),
    ],
)
def test_wrong_options_are_named_before_any_work(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        metrics.choose({"kl": options})


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError,
        match=r"drift\.metrics has no 'kll'; known: behaviour, flips, kl, perplexity, samples, tasks, top1",
    ):
        EvaluateParams.model_validate(SHIPPED | {"metrics": {"kll": {}}})

"""The figures of drift, as the evaluation's record holds them."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from core.records import Record, Verdict


class Limit(Record):
    """The side of a figure that is allowed: `at_most` or `at_least`, in the figure's own unit."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_side(self) -> Self:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("give one of at_most and at_least")
        return self


class Metric(Record):
    """One figure of drift. The report, MLflow and the gates walk through a list of these and know none by name.

    `unit` also decides how a person reads it (report/text.py): share (of `count`, in [0, 1]), ratio, probability,
    nats, tokens, items; another one is shown as it is.
    """

    name: str  # in MLflow, and in `limits` of params.yaml
    label: str  # for people
    group: str  # title of the part of the table that it stands in
    unit: str
    value: float | None  # None: too little data
    reference: float | None = None  # the same figure of the original
    low: float | None = None
    high: float | None = None
    level: float | None = None  # of [low, high]; None where there is no interval
    count: int
    counted: str  # what `count` counts, say "tokens"
    limit: Limit | None = None  # None: no gate
    is_futile: bool = False  # no verdict against the limit is likely within the budget


class Look(Record):
    """What the sequential test knows after `items` items, in percentage points of accuracy.

    [low_points, high_points] is a confidence sequence of level 1 - 2 alpha. `is_futile`: neither verdict is likely
    within the budget. `items_to_settle`: after so many items in all about 90 % of such tests are decided, if the
    difference goes on as seen; None when decided, or when it sits on the margin. `log_wealth`: natural log of what is
    left now of the passing side's wealth (it began with 0): where it is below 0, a new attempt begins with less.
    """

    items: int
    delta_points: float
    low_points: float
    high_points: float
    verdict: Verdict = "inconclusive"
    is_futile: bool = False
    items_to_settle: int | None = None
    log_wealth: float = 0.0


class Power(Record):
    """What a test can be expected to say, by simulation (drift/power.py): chances in [0, 1], mean numbers of items.

    `discordance` is the share of answers that change between right and wrong; an item's difference is a mean over
    `samples` of them. At twice the margin the variant is that much worse.
    """

    discordance: float
    samples: int
    budget_items: int
    pass_if_equal: float
    items_if_equal: float
    fail_at_twice_the_margin: float
    items_at_twice_the_margin: float

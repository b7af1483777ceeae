"""All splits as one table, with the derived columns that the expectations look at. One row is one item."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import sqrt

import pandas as pd

from data import scoring
from data.items import Prepared, normal_form, related

SMALL_GAP_ITEMS = 2  # a split of 32 cannot hold shares exactly
CHANCE_DEVIATIONS = 5  # suites draw at random, and what comes first is dealt apart from what comes after


def build(splits: Mapping[str, Sequence[Prepared]], max_tokens: int) -> pd.DataFrame:
    """The columns of `data.items`, tokens as counts, and

    - `room_tokens`: prompt and the longest answer allowed, together;
    - `splits_with_question`: in how many splits this question occurs, after normalising;
    - `scorer_accepts`: the item's scoring rule accepts the ideal reply, and not an empty one;
    - `share_gap`: by how much the task's share of its split differs from its share of all, beyond what chance does:
      five standard deviations of a random draw, and at least two items or the largest group of the task's items that
      stay together;
    - `share_of_commonest`: the task's count over the commonest task's.
    """
    rows = [(split, row) for split, part in splits.items() for row in part]
    forms = [normal_form(row.item.question) for _, row in rows]
    where: dict[str, set[str]] = defaultdict(set)
    for (split, _), form in zip(rows, forms, strict=True):
        where[form].add(split)
    tasks = Counter((row.item.suite, row.item.task) for _, row in rows)
    gaps: dict[tuple[str, str], int] = defaultdict(lambda: SMALL_GAP_ITEMS)
    for group in related(row.item for _, row in rows):
        for item in group:
            gaps[(item.suite, item.task)] = max(gaps[(item.suite, item.task)], len(group))
    within = Counter((split, row.item.suite, row.item.task) for split, row in rows)
    commonest = max(tasks.values(), default=1)
    table = []
    for (split, row), form in zip(rows, forms, strict=True):
        item, size = row.item, len(splits[split])
        task = (item.suite, item.task)
        share = tasks[task] / len(rows)
        gap_items = abs(within[(split, *task)] - size * share)
        by_chance = CHANCE_DEVIATIONS * sqrt(size * share * (1 - share))
        table.append(
            {
                "id": item.id,
                "split": split,
                "suite": item.suite,
                "kind": item.kind,
                "scoring": item.scoring,
                "task": item.task,
                "question": item.question,
                "answer": item.answer,
                "solution": item.solution,
                "prompt": row.prompt,
                "prompt_tokens": len(row.prompt_ids),
                "target_tokens": len(row.target_ids),
                "room_tokens": len(row.prompt_ids) + max_tokens,
                "splits_with_question": len(where[form]),
                "scorer_accepts": scoring.is_right(item, scoring.ideal(item)) and not scoring.is_right(item, ""),
                "share_gap": max(0.0, gap_items - max(gaps[task], by_chance)) / size,
                "share_of_commonest": tasks[task] / commonest,
            }
        )
    return pd.DataFrame(table)

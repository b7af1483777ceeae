"""The expectations by name, each with what to do when it fails. Great Expectations is imported when they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FILLED = ("id", "split", "suite", "kind", "scoring", "task", "question", "answer", "prompt")
COUNTS = ("prompt_tokens", "target_tokens", "room_tokens", "splits_with_question")
COLUMNS = (*FILLED, "solution", *COUNTS, "scorer_accepts", "share_gap", "share_of_commonest")
LARGEST_SHARE_GAP = 0.02
SMALLEST_SHARE_OF_COMMONEST = 0.05


@dataclass(frozen=True)
class Check:
    """One expectation: its name in messages, the column it looks at (None: the whole table), and the remedy."""

    name: str
    column: str | None
    expectation: Any
    remedy: str


def checks(max_tokens: int, context_tokens: int) -> list[Check]:
    """Every expectation for a model with `context_tokens` positions that answers in at most `max_tokens` tokens."""
    from great_expectations import expectations as gx

    schema = "a suite made rows that are not items: see the contract in data/suites/__init__.py"
    longer = "lower generation.max_tokens or take shorter questions"
    return [
        Check("schema", None, gx.ExpectTableColumnsToMatchSet(column_set=list(COLUMNS), exact_match=True), schema),
        *(
            Check(
                f"{column} is filled",
                column,
                gx.ExpectColumnValueLengthsToBeBetween(column=column, min_value=1),
                schema,
            )
            for column in FILLED
        ),
        *(
            Check(f"{column} is there", column, gx.ExpectColumnValuesToNotBeNull(column=column), schema)
            for column in FILLED
        ),
        *(
            Check(f"{column} is whole", column, gx.ExpectColumnValuesToBeOfType(column=column, type_="int64"), schema)
            for column in COUNTS
        ),
        Check("unique ids", "id", gx.ExpectColumnValuesToBeUnique(column="id"), "give every item an id of its own"),
        Check(
            "no item in two splits",
            "splits_with_question",
            gx.ExpectColumnValuesToBeBetween(column="splits_with_question", min_value=1, max_value=1),
            "data/splits.py puts questions that differ in blanks or the order of numbers alone into one split",
        ),
        Check(
            "prompts fit the model",
            "room_tokens",
            gx.ExpectColumnValuesToBeBetween(
                column="room_tokens", min_value=max_tokens + 1, max_value=context_tokens
            ),
            f"prompt and answer share {context_tokens} positions: {longer}",
        ),
        Check(
            "solutions fit the answer",
            "target_tokens",
            gx.ExpectColumnValuesToBeBetween(column="target_tokens", min_value=0, max_value=max_tokens),
            f"a worked solution is longer than generation.max_tokens ({max_tokens}): raise it",
        ),
        Check(
            "answers are parseable",
            "scorer_accepts",
            gx.ExpectColumnValuesToBeInSet(column="scorer_accepts", value_set=[True]),
            "the scoring rule refuses the right answer: mend the answer or the solution, or choose another rule",
        ),
        Check(
            "tasks are balanced over splits",
            "share_gap",
            gx.ExpectColumnValuesToBeBetween(column="share_gap", min_value=0, max_value=LARGEST_SHARE_GAP),
            "each split must hold each task in the same share",
        ),
        Check(
            "no task is rare",
            "share_of_commonest",
            gx.ExpectColumnValuesToBeBetween(column="share_of_commonest", min_value=SMALLEST_SHARE_OF_COMMONEST),
            "drop the rare tasks, merge them, or even out the suites' weights",
        ),
    ]

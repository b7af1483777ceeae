"""Make data/real/questions.jsonl: short questions of many kinds that a small model answers rightly now and then.

    python -m data.questions                                  # write the file
    python -m data.questions --score MODEL_FOLDER             # answer it with a model and print what it got right
                             [--sample 40] [--tokens 28]

A line has `question`, `answer`, `task` (the kind) and `scoring`, the rule in data/scoring/ that a reply is judged by.

The kinds are those that SmolLM2-135M-Instruct gets right between 30 and 90 % of the time: a model that knows all or
nothing of a kind cannot show that it lost something. What ends a question keeps it from rambling until it is cut off.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from random import Random

from core import cli, files, progress
from data import question_tables as tables
from data import scoring
from data.records import Item
from data.scoring.contains import OR

PATH = Path("data/real/questions.jsonl")
SEED = 20261125

Pairs = Iterator[tuple[str, str]]  # question and answer


def capital() -> Pairs:
    for country, city in _table(tables.CAPITALS):
        yield f"What is the capital of {country}? Keep it short.", city


def country() -> Pairs:
    for name, city in _table(tables.CAPITALS):
        yield f"Which country has the capital {city.split(OR)[0]}? Keep it short.", _country(name)


def city() -> Pairs:
    for name, cities in _table(tables.CITIES):
        for place in cities.split(", "):
            yield f"In which country is the city of {place}? Keep it short.", _country(name)


def state() -> Pairs:
    for name, place in _table(tables.STATES):
        yield f"What is the capital of the U.S. state of {name}?", place


def symbol() -> Pairs:
    for mark, name in (entry.split() for entry in _words(tables.ELEMENTS)):
        if mark not in tables.WORD_SYMBOLS:
            yield f"What is the chemical symbol for {name}? Keep it short.", mark


def science() -> Pairs:
    for subject, name in _table(tables.SCIENCES):
        yield f"What is the study of {subject} called? Keep it short.", name


def person() -> Pairs:
    for work, name in _table(tables.PEOPLE):
        yield f"What is the noun for a person who {work}? Keep it short.", name


def opposite() -> Pairs:
    for word, other in _table(tables.OPPOSITES):
        yield f'What is the opposite of "{word}"? Answer with one word only.', other


def plural() -> Pairs:
    regular = [(noun, _ending(noun, "s")) for noun in _words(tables.NOUNS)]
    for noun, several in [*_table(tables.IRREGULAR_PLURALS), *regular]:
        yield f'What is the plural of "{noun}"? Keep it short.', several


def past() -> Pairs:
    doubled = [(verb, f"{verb}{verb[-1]}ed") for verb in _words(tables.DOUBLED_VERBS)]
    regular = [(verb, _ending(verb, "ed")) for verb in _words(tables.VERBS)]
    for verb, form in [*_table(tables.IRREGULAR_PASTS), *doubled, *regular]:
        yield f'What is the simple past of "{verb}"? Keep it short.', form


def half() -> Pairs:
    for number in range(2, 81, 2):
        yield f"What is half of {number}? Keep it short.", str(number // 2)


def total() -> Pairs:
    for left, right in combinations_with_replacement(range(1, 16), 2):
        yield f"What is the sum of {left} and {right}? Keep it short.", str(left + right)


def product() -> Pairs:
    for left, right in combinations_with_replacement(range(2, 17), 2):
        yield f"What is {left} times {right}? Keep it short.", str(left * right)


def following() -> Pairs:
    for number in Random(SEED).sample(range(1_000, 10_000), 200):
        yield f"What is the next number after {number}? Keep it short.", str(number + 1)


KINDS: tuple[Callable[[], Pairs], ...] = (
    capital,
    country,
    city,
    state,
    symbol,
    science,
    person,
    opposite,
    plural,
    past,
    half,
    total,
    product,
    following,
)
NUMERIC = (half, total, product, following)


def rows() -> list[dict[str, str]]:
    """The lines of the file, in order."""
    return [
        {"question": question, "answer": answer, "task": kind.__name__, "scoring": _rule(kind)}
        for kind in KINDS
        for question, answer in kind()
    ]


def render() -> str:
    """The file's text: one JSON object a line, UTF-8."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


def item(row: dict[str, str]) -> Item:
    """The line `row` as an item, for its scoring rule."""
    return Item(id=row["question"], suite="real", kind="jsonl", **row)


def _rule(kind: Callable[[], Pairs]) -> str:
    return "number" if kind in NUMERIC else "contains"


def _table(text: str) -> list[tuple[str, str]]:
    """The pairs of a table written `key: value; key: value`."""
    pairs = (entry.split(": ") for entry in " ".join(text.split()).split("; "))
    return [(key, value) for key, value in pairs]


def _words(text: str) -> list[str]:
    return " ".join(text.split()).split(", ")


def _country(name: str) -> str:
    """A country's name as an answer, with those that are as good."""
    name = name.removeprefix("the ")
    return OR.join(filter(None, (name, tables.ALSO.get(name))))


def _ending(word: str, ending: str) -> str:
    """`word` with -s or -ed, by the rules of English spelling (but for doubled consonants)."""
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}i{'e' if ending == 's' else ''}{ending}"
    if ending == "s":
        return word + ("es" if word.endswith(("s", "x", "z", "ch", "sh")) else "s")
    return word + (ending[1:] if word.endswith("e") else ending)


def score(lines: Sequence[dict[str, str]], model_folder: Path, most_tokens: int) -> list[tuple[str, bool]]:
    """The reply to each line, and whether it was cut off: greedy, in float32, by torch on 2 threads."""
    from models import tokenizer
    from runtimes import torch

    words, model = tokenizer.load(model_folder), torch.load(model_folder, 2)
    prompts = [words.chat([{"role": "user", "content": line["question"]}]) for line in lines]
    order = sorted(range(len(lines)), key=lambda index: len(prompts[index]))
    replies = [("", False)] * len(lines)
    batches = [order[start : start + 32] for start in range(0, len(order), 32)]
    for batch in progress.track(batches, "answer", unit="batch"):
        for index, found in zip(batch, model.generate([prompts[i] for i in batch], most_tokens), strict=True):
            replies[index] = words.answer(prompts[index], found.token_ids, special=False), not found.finished
    return replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--score", type=Path, metavar="MODEL_FOLDER", help="answer the questions instead")
    parser.add_argument("--sample", type=int, help="questions of each kind to answer (default: all)")
    parser.add_argument("--tokens", type=int, default=28, help="longest reply")
    options = parser.parse_args()
    if not options.score:
        files.write_text(PATH, render())
        print(json.dumps({"file": str(PATH), "questions": len(rows()), "kinds": len(KINDS)}))
        return
    lines = rows()
    if options.sample:
        by_kind = [[line for line in lines if line["task"] == kind.__name__] for kind in KINDS]
        lines = [line for part in by_kind for line in Random(SEED).sample(part, min(options.sample, len(part)))]
    replies = score(lines, options.score, options.tokens)
    print(f"{'kind':<10}{'scoring':<10}{'count':>6}{'right':>8}{'cut off':>9}")
    for kind in (*KINDS, None):
        part = [
            (scoring.is_right(item(line), text), cut)
            for line, (text, cut) in zip(lines, replies, strict=True)
            if kind is None or line["task"] == kind.__name__
        ]
        right, cut_off = (sum(column) / len(part) for column in zip(*part, strict=True))
        name, rule = (kind.__name__, _rule(kind)) if kind else ("all", "")
        print(f"{name:<10}{rule:<10}{len(part):>6}{right:>8.1%}{cut_off:>9.1%}")


if __name__ == "__main__":
    cli.run(main)

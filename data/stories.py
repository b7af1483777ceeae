"""Word problems of five to seven events about one person's collection, and the arithmetic that solves them."""

from __future__ import annotations

from random import Random

NAMES = ("Ada", "Ben", "Cleo", "Dev", "Emma", "Finn", "Gita", "Hugo", "Iris", "Jon", "Kira", "Leo", "Mia", "Noor")
THINGS = ("apples", "beads", "books", "cards", "coins", "marbles", "pens", "shells", "stamps", "stickers")
HOLDERS = ("bags", "boxes", "packs", "trays")
MOST = 9999  # larger totals would only make numbers longer, not the reasoning


def story(rng: Random) -> tuple[str, str, list[str], str]:
    """One word problem as (level, question, steps, answer); the level is the number of events."""
    name, thing, holder = rng.choice(NAMES), rng.choice(THINGS), rng.choice(HOLDERS)
    events = rng.randint(5, 7)
    groups, size = rng.randint(11, 99), rng.randint(12, 99)
    total = groups * size
    sentences = [f"{name} has {groups} {holder} of {size} {thing}."]
    steps = [f"{groups}*{size}={total}"]
    while len(sentences) <= events:
        sentence, work, total = rng.choice(EVENTS)(rng, total, holder)
        if sentence:
            sentences.append(sentence)
            steps += work
    sentences.append(f"How many {thing} does {name} have now?")
    return f"{events}", " ".join(sentences), steps, str(total)


Event = tuple[str, list[str], int]


def _find(rng: Random, total: int, _: str) -> Event:
    extra = rng.randint(12, 999)
    sentence = rng.choice((f"A friend adds {extra} more.", f"Then {extra} more arrive."))
    return sentence, [f"{total}+{extra}={total + extra}"], total + extra


def _lose(rng: Random, total: int, _: str) -> Event:
    if total < 30:
        return "", [], total
    gone = rng.randint(11, total - 1)
    sentence = rng.choice((f"Then {gone} get lost.", f"A brother takes {gone}."))
    return sentence, [f"{total}-{gone}={total - gone}"], total - gone


def _buy(rng: Random, total: int, holder: str) -> Event:
    groups, size = rng.randint(3, 24), rng.randint(6, 99)
    new = groups * size
    return (
        f"Next come {groups} {holder} of {size}.",
        [f"{groups}*{size}={new}", f"{total}+{new}={total + new}"],
        (total + new),
    )


def _sell(rng: Random, total: int, holder: str) -> Event:
    groups, size = rng.randint(3, 24), rng.randint(6, 60)
    sold = groups * size
    if sold >= total:
        return "", [], total
    return (
        f"A shop buys {groups} {holder} of {size}.",
        [f"{groups}*{size}={sold}", f"{total}-{sold}={total - sold}"],
        (total - sold),
    )


def _multiply(rng: Random, total: int, _: str) -> Event:
    factor = rng.randint(2, 9)
    if total * factor > MOST:
        return "", [], total
    return f"The number grows {factor} times.", [f"{total}*{factor}={total * factor}"], total * factor


def _share(rng: Random, total: int, _: str) -> Event:
    friends = rng.randint(2, 9)
    if total < 100:
        return "", [], total
    left, rest = divmod(total, friends)
    sentence = f"They are shared equally by {friends} people, who put back the {rest} left over."
    if rest == 0:
        sentence = f"They are shared equally by {friends} people."
    return (
        sentence,
        [f"{total}={left}*{friends}+{rest}", f"{left}+{rest}={left + rest}"][: 1 + bool(rest)],
        left + rest,
    )


EVENTS = (_find, _lose, _buy, _sell, _multiply, _share)

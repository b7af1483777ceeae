"""Seven kinds of verifiable reasoning task with worked steps: the pure generator behind the `problems` suite.

A maker draws one problem from a `random.Random` and returns (level, question, steps, answer). Levels mix easy and
hard cases inside a task, so that a small model is good but not perfect. Standard
library only: `pipelines.train_reference` runs it on machines that hold nothing but torch.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from data import replies, stories

HELD_OUT_SHARE = 8  # one question in eight is never trained on
LONGEST_SOLUTION = 180  # characters, which bounds its tokens: answers must end within generation.max_tokens


@dataclass(frozen=True)
class Problem:
    """One task: `solution` is what the model should write after the prompt's `<think>` line."""

    task: str
    level: str
    question: str
    answer: str
    solution: str


Drawn = tuple[str, str, list[str], str]
Maker = Callable[[Random], Drawn]


def chain(rng: Random) -> Drawn:
    """A sum of signed terms, added up from left to right."""
    terms, digits = rng.choice(((6, 5), (5, 6), (6, 6), (5, 7), (5, 8)))
    total = _number(rng, digits)
    expression, steps = str(total), []
    for _ in range(terms - 1):
        term = _number(rng, rng.choice((digits - 1, digits)))
        sign = "-" if term <= total and rng.random() < 0.5 else "+"
        result = total - term if sign == "-" else total + term
        steps.append(f"{total}{sign}{term}={result}")
        expression += f" {sign} {term}"
        total = result
    question = rng.choice(("What is {}?", "Compute {}.", "Work out {}."))
    return f"{terms}x{digits}", question.format(expression), steps, str(total)


def product(rng: Random) -> Drawn:
    """A product by partial products, one for each digit of the second factor."""
    first, second = rng.choice(((3, 3), (4, 3), (5, 3), (6, 3), (4, 4)))
    left, right = _number(rng, first), _number(rng, second)
    total, steps = 0, []
    for place, digit in enumerate(reversed(str(right))):
        part = int(digit) * 10**place
        if part == 0:
            continue
        steps.append(f"{left}*{part}={left * part}")
        if total:
            steps.append(f"{total}+{left * part}={total + left * part}")
        total += left * part
    question = rng.choice(("What is {} * {}?", "Multiply {} by {}.", "Compute the product of {} and {}."))
    return f"{first}x{second}", question.format(left, right), steps, str(total)


def gcd(rng: Random) -> Drawn:
    """The greatest common divisor by Euclid's algorithm."""
    digits = rng.choice((3, 3, 4))
    factor = rng.choice((1, rng.randint(2, 12), rng.randint(2, 99)))
    high = 10**digits // factor - 1
    left, right = (factor * rng.randint(max(1, high // 12), high) for _ in range(2))
    large, small = max(left, right), min(left, right)
    steps = []
    while small:
        steps.append(f"{large}%{small}={large % small}")
        large, small = small, large % small
    question = rng.choice(("What is the greatest common divisor of {} and {}?", "Find gcd({}, {})."))
    return f"{digits}", question.format(left, right), steps, str(large)


def order(rng: Random) -> Drawn:
    """The k-th smallest or largest of a list, by sorting it."""
    count, digits = rng.choice(((12, 3), (14, 3), (16, 3), (14, 2), (17, 2), (20, 2), (10, 4)))
    numbers = [_number(rng, digits) for _ in range(count)]
    position, largest = rng.randint(1, count), rng.random() < 0.5
    ranked = sorted(numbers, reverse=largest)
    listing = ", ".join(map(str, numbers))
    side = "largest" if largest else "smallest"
    question = rng.choice(
        ("Which number is at place {} when sorted from the {}: {}?", "Find number {} from the {}: {}.")
    )
    return (
        f"{count}x{digits}",
        question.format(position, side, listing),
        [" ".join(map(str, ranked))],
        str(ranked[position - 1]),
    )


def base(rng: Random) -> Drawn:
    """A decimal number in another base, by repeated division."""
    digits = rng.choice((4, 6, 7, 8))
    radix = rng.randint(3, 9) if digits < 5 else rng.randint(6, 9)
    number = rest = _number(rng, digits)
    steps, places = [], ""
    while rest:
        rest, place = divmod(value := rest, radix)
        steps.append(f"{value}={rest}*{radix}+{place}")
        places = str(place) + places
    question = rng.choice(("Write {} in base {}.", "Convert {} to base {}."))
    return f"{digits}", question.format(number, radix), steps, places


def power(rng: Random) -> Drawn:
    """A power modulo a number, by squaring and multiplying along the exponent's bits."""
    modulus = rng.randint(11, 99)
    root = rng.randint(2, modulus - 1)
    exponent = rng.randint(4, 20)
    value, steps = root, []
    for bit in bin(exponent)[3:]:
        for factor in (value, root) if bit == "1" else (value,):
            steps.append(f"{value}*{factor}={value * factor}={value * factor % modulus}")
            value = value * factor % modulus
    question = rng.choice(("What is {}^{} mod {}?", "Compute {}^{} modulo {}."))
    return f"{exponent.bit_length()}", question.format(root, exponent, modulus), steps, str(value)


MAKERS: dict[str, Maker] = {
    "base": base,
    "chain": chain,
    "gcd": gcd,
    "order": order,
    "power": power,
    "product": product,
    "story": stories.story,
}


# What held-out sets draw from, in turn: the two hardest tasks come twice, so that drift has more room to show.
HELD_OUT_TURNS = (*MAKERS, "gcd", "power")


def problems(seed: int, *, held_out: bool, turns: Sequence[str] | None = None) -> Iterator[Problem]:
    """Endless problems, the tasks of `turns` in turn, the same for the same seed.

    Held-out problems share no set of numbers with training ones. Without `turns`, training gives each task one turn.
    """
    rng = Random(seed)
    turns = turns or (HELD_OUT_TURNS if held_out else tuple(MAKERS))
    while True:
        for task in turns:
            while True:
                level, question, steps, answer = MAKERS[task](rng)
                solution = "\n".join(steps) + f"\n{replies.THINK_END}\n{replies.BOX}{answer}}}"
                if len(solution) <= LONGEST_SOLUTION and is_held_out(question) == held_out:
                    break
            yield Problem(task, level, question, answer, solution)


def is_held_out(question: str) -> bool:
    """Whether a question belongs to the held-out share: decided by its numbers alone, in any order and wording."""
    numbers = sorted(re.findall(r"\d+", question))
    return zlib.crc32(" ".join(numbers).encode()) % HELD_OUT_SHARE == 0


def _number(rng: Random, digits: int) -> int:
    return rng.randrange(10 ** (digits - 1), 10**digits)

"""The generator: every step and answer is checked against arithmetic done here, not by the generator's own code."""

from __future__ import annotations

import math
import re
from itertools import islice

import pytest

from data import replies, tasks

STEP = re.compile(r"^[\d+*%=-]+$")


def drawn(task: str, count: int = 200, held_out: bool = True) -> list[tasks.Problem]:
    return list(islice(tasks.problems(7, held_out=held_out, turns=[task]), count))


def steps(problem: tasks.Problem) -> list[str]:
    return problem.solution.split(f"\n{replies.THINK_END}")[0].split("\n")


@pytest.mark.parametrize("task", [name for name in tasks.MAKERS if name != "order"])
def test_every_step_is_true_arithmetic(task: str) -> None:
    for problem in drawn(task):
        for step in steps(problem):
            assert STEP.match(step), step
            sides = step.split("=")
            if task == "power":  # value*factor=product=remainder
                modulus = int(re.findall(r"\d+", problem.question)[-1])
                sides = [f"({side})%{modulus}" for side in sides]
            assert len({eval(side) for side in sides}) == 1, step


@pytest.mark.parametrize("task", ["chain", "product", "gcd", "base", "power", "order"])
def test_answers_follow_from_the_question(task: str) -> None:
    for problem in drawn(task):
        numbers = [int(number) for number in re.findall(r"\d+", problem.question)]
        expected: object
        if task == "chain":
            expected = eval(re.sub(r"[^\d+-]", "", problem.question))
        elif task == "product":
            expected = numbers[0] * numbers[1]
        elif task == "gcd":
            expected = math.gcd(*numbers)
        elif task == "power":
            expected = pow(*numbers)
        elif task == "base":
            assert int(problem.answer, numbers[1]) == numbers[0]
            continue
        else:
            expected = sorted(numbers[1:], reverse="largest" in problem.question)[numbers[0] - 1]
        assert problem.answer == str(expected), problem


def test_stories_follow_from_their_events() -> None:
    for problem in drawn("story"):
        total = 0
        for sentence in problem.question.split(". "):
            n = [int(number) for number in re.findall(r"\d+", sentence)]
            if "has" in sentence or "Next come" in sentence:
                total += n[0] * n[1]
            elif "more" in sentence:
                total += n[0]
            elif "lost" in sentence or "brother" in sentence:
                total -= n[0]
            elif "shop" in sentence:
                total -= n[0] * n[1]
            elif "grows" in sentence:
                total *= n[0]
            elif "shared" in sentence:
                left, rest = divmod(total, n[0])
                assert rest == (n[1] if len(n) > 1 else 0)
                total = left + rest
            else:
                assert "How many" in sentence
        assert problem.answer == str(total), problem


def test_solutions_are_short_enough_and_end_in_the_answer() -> None:
    for problem in islice(tasks.problems(3, held_out=True), 500):
        assert len(problem.solution) <= tasks.LONGEST_SOLUTION
        assert replies.final_answer(problem.solution) == problem.answer


def test_held_out_and_training_problems_share_no_numbers() -> None:
    def numbers(held_out: bool) -> set[tuple[str, ...]]:
        found = islice(tasks.problems(5, held_out=held_out, turns=["gcd", "power"]), 4000)
        return {tuple(sorted(re.findall(r"\d+", problem.question))) for problem in found}

    assert not numbers(True) & numbers(False)
    assert tasks.is_held_out("gcd of 12 and 34?") == tasks.is_held_out("34  then 12")


def test_the_same_seed_gives_the_same_problems() -> None:
    first, again, other = (list(islice(tasks.problems(seed, held_out=True), 50)) for seed in (1, 1, 2))
    assert first == again != other

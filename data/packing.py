"""Training rows: generated problems as token ids, several to a row, made by all cores at once."""

from __future__ import annotations

import itertools
import os
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from core import progress
from data import tasks
from data.tokenizer import EOS, prompt

OPEN_ROWS = 32  # rows that first fit tries before it closes the fullest


class PackedRows(NamedTuple):
    """`tokens` and `segments`, both (rows, length): ids, and the problem within the row (0 = padding).

    `trained` (rows, length) marks tokens that are part of a solution: the loss is taken on those alone.
    """

    tokens: NDArray[np.uint16]
    segments: NDArray[np.uint8]
    trained: NDArray[np.bool_]


def make(tokenizer_file: Path, items: int, length: int, seed: int, processes: int | None = None) -> PackedRows:
    """Generate `items` training problems and pack them into rows of `length` tokens; same result for same arguments.

    The work is cut into chunks of a fixed size, each with its own seed, so the number of processes changes nothing.
    """
    chunk = 5_000
    jobs = [
        (tokenizer_file, min(chunk, items - start), length, seed + start // chunk) for start in range(0, items, chunk)
    ]
    with get_context("spawn").Pool(min(len(jobs), processes or os.cpu_count() or 1)) as pool:
        parts = list(progress.track(pool.imap(_pack_chunk, jobs), "training problems", len(jobs), unit="chunk"))
    return PackedRows(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _pack_chunk(job: tuple[Path, int, int, int]) -> PackedRows:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer_file, items, length, seed = job
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    drawn = list(itertools.islice(tasks.problems(seed, held_out=False), items))
    prompts = tokenizer.encode_batch_fast([prompt(problem.question) for problem in drawn], add_special_tokens=False)
    solutions = tokenizer.encode_batch_fast([problem.solution + EOS for problem in drawn], add_special_tokens=False)
    rows = _first_fit([len(p.ids) + len(s.ids) for p, s in zip(prompts, solutions, strict=True)], length)
    tokens = np.zeros((len(rows), length), np.uint16)
    segments = np.zeros((len(rows), length), np.uint8)
    trained = np.zeros((len(rows), length), np.bool_)
    for number, members in enumerate(rows):
        start = 0
        for segment, index in enumerate(members, 1):
            ids, target = prompts[index].ids, solutions[index].ids
            middle, end = start + len(ids), start + len(ids) + len(target)
            tokens[number, start:end] = ids + target
            segments[number, start:end] = segment
            trained[number, middle:end] = True
            start = end
    return PackedRows(tokens, segments, trained)


def _first_fit(lengths: list[int], capacity: int) -> list[list[int]]:
    """Indices grouped into rows whose lengths add up to at most `capacity`, nearly full, in one pass."""
    closed: list[list[int]] = []
    rows: list[tuple[int, list[int]]] = []
    for index, size in enumerate(lengths):
        if size > capacity:
            raise ValueError(f"a problem of {size} tokens does not fit a row of {capacity}")
        for place, (used, members) in enumerate(rows):
            if used + size <= capacity:
                members.append(index)
                rows[place] = (used + size, members)
                break
        else:
            if len(rows) == OPEN_ROWS:
                fullest = max(range(len(rows)), key=lambda place: rows[place][0])
                closed.append(rows.pop(fullest)[1])
            rows.append((size, [index]))
    return closed + [members for _, members in rows]

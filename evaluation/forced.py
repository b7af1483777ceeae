"""Teacher forcing: both systems read prompt and reference answer, and every position of the answer is compared.

Kept batch by batch beside the variant's answers, so a killed run repeats at most one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.errors import RuntimeFault
from core.progress import track
from data.items import Prepared
from drift import divergence
from drift.divergence import TokenScores
from evaluation.answers import digest, read_kept, write_kept
from evaluation.systems import System
from runtimes import Generation

FIELDS = ("kl", "agrees", "nll_reference", "nll_variant")
SCHEMA = pa.schema([("item_id", pa.string())] + [(name, pa.list_(pa.float64())) for name in FIELDS])
MAX_BATCH_MIB = 512  # of float32 logits that one system gives at once


def compare(
    reference: System,
    variant: System,
    rows: Sequence[Prepared],
    answers: Sequence[Generation],
    batch: int,
    vocabulary: int,
    folder: Path,
) -> list[TokenScores]:
    """Scores of each row's answer tokens (without the end token), in order; `answers` are the reference's,
    the first one to each where several were sampled.

    At most `batch` sequences at once, fewer where `vocabulary` logits a position would not fit `MAX_BATCH_MIB`.
    """
    spoken = [(row, answer) for row, answer in zip(rows, answers, strict=True) if answer.token_ids]
    if not spoken:
        return []
    longest = max(len(row.prompt_ids) + len(answer.token_ids) for row, answer in spoken)
    size = max(1, min(batch, MAX_BATCH_MIB * 2**20 // (4 * vocabulary * longest)))
    scores: list[TokenScores] = []
    starts = range(0, len(spoken), size)
    for start in track(starts, "teacher forcing", total=len(starts), unit="batch"):
        part = spoken[start : start + size]
        asked = [[row.item.id, row.prompt_ids, answer.token_ids] for row, answer in part]
        path = folder / f"forced-{digest(asked)[:32]}.parquet"
        ids = [row.item.id for row, _ in part]
        made = _read(path, ids)
        if made is None:
            made = _score(reference, variant, part)
            _write(path, ids, made)
        scores.extend(made)
    return scores


def _score(reference: System, variant: System, part: Sequence[tuple[Prepared, Generation]]) -> list[TokenScores]:
    sequences = [[*row.prompt_ids, *answer.token_ids] for row, answer in part]
    both = reference.runtime.logits(sequences), variant.runtime.logits(sequences)
    scores = []
    for (row, answer), one, other in zip(part, *both, strict=True):
        first = len(row.prompt_ids) - 1  # the logits there choose the answer's first token
        span = slice(first, first + len(answer.token_ids))
        try:
            scores.append(divergence.score(one[span], other[span], answer.token_ids))
        except RuntimeFault as error:
            raise RuntimeFault(f"item {row.item.id}, {variant.label}: {error}") from error
    return scores


def _read(path: Path, ids: list[str]) -> list[TokenScores] | None:
    found = read_kept(path, SCHEMA, ids)
    if found is None:
        return None
    return [TokenScores(*(np.array(row[name], dtype=np.float64) for name in FIELDS)) for row in found]


def _write(path: Path, ids: list[str], scores: Sequence[TokenScores]) -> None:
    records = [
        {"item_id": name} | {field: getattr(score, field).tolist() for field in FIELDS}
        for name, score in zip(ids, scores, strict=True)
    ]
    write_kept(path, SCHEMA, records)

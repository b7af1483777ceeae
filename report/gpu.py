"""Figures from a GPU machine, as benchmarks/results/gpu/ keeps them: another run's, told apart from this one's.

A page made where there is no GPU would otherwise be silent about the variants that are meant for one. A verdict is
said to be of this run's files only where the manifest is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import DataError, wrong_fields
from core.records import Evaluation, Machine, Spread, Verdict
from report.text import DASH, bounds, number, percent, signed

RESULTS = Path("benchmarks/results/gpu")


class _Kept(BaseModel):
    """What both kinds of file hold; the rest is for other readers."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    commands: list[str]
    machine: Machine


class _Drift(_Kept):
    evaluations: list[Evaluation]


class _Rate(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    requests: int
    decode_tok_s: Spread
    bandwidth_share: float | None


class _Speed(_Kept):
    model: str
    rows: list[_Rate]
    notes: list[str]


@dataclass(frozen=True)
class DriftRow:
    variant: str
    verdict: Verdict
    difference: str
    interval: str
    flips: str
    items: str
    same_files: bool  # as the variant of this name in artifacts/


@dataclass(frozen=True)
class SpeedRow:
    """`rates` are decode tok/s, one for each of the table's request counts."""

    name: str
    rates: list[str]
    share: str  # of the bandwidth limit, one request


@dataclass(frozen=True)
class Table:
    """One file's figures: drift or speed, the other list is empty."""

    file: str
    accelerator: str
    commands: list[str]
    drift: list[DriftRow]
    speed: list[SpeedRow]
    requests: list[int]
    model: str
    notes: list[str]


def tables(manifests: Mapping[str, str], folder: Path = RESULTS) -> list[Table]:
    """Every kept GPU result, drift first. `manifests`: variant → SHA-256 of its manifest in this run.

    Raises DataError naming a file that is not what its command writes.
    """
    found = [_table(path, manifests) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda table: not table.drift)


def _table(path: Path, manifests: Mapping[str, str]) -> Table:
    try:
        raw = json.loads(path.read_text())
        if "evaluations" in raw:
            kept = _Drift.model_validate(raw)
            rows = [_drift(one, manifests) for one in kept.evaluations]
            return Table(path.name, _card(kept), kept.commands, rows, [], [], "", [])
        run = _Speed.model_validate(raw)
    except (ValueError, ValidationError) as error:
        why = wrong_fields(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is not a GPU result ({why}): measure again, or delete it") from error
    requests = sorted({rate.requests for rate in run.rows})
    return Table(path.name, _card(run), run.commands, [], _speed(run.rows, requests), requests, run.model, run.notes)


def _card(kept: _Kept) -> str:
    return kept.machine.accelerator or kept.machine.cpu


def _drift(one: Evaluation, manifests: Mapping[str, str]) -> DriftRow:
    return DriftRow(
        variant=one.variant,
        verdict=one.verdict,
        difference=signed(one.delta_points.value if one.delta_points else None),
        interval=bounds(one.delta_points),
        flips=f"{one.flips.lost} / {one.flips.gained}" if one.flips else DASH,
        items=number(one.items),
        same_files=manifests.get(one.variant) == one.manifest_sha256,
    )


def _speed(rates: Sequence[_Rate], requests: Sequence[int]) -> list[SpeedRow]:
    by_name: dict[str, dict[int, _Rate]] = {}
    for rate in rates:
        by_name.setdefault(rate.name, {})[rate.requests] = rate

    def cell(found: Mapping[int, _Rate], count: int) -> str:
        return number(found[count].decode_tok_s.median) if count in found else DASH

    return [
        SpeedRow(
            name,
            [cell(found, count) for count in requests],
            percent(found[1].bandwidth_share, 0) if 1 in found and found[1].bandwidth_share else DASH,
        )
        for name, found in by_name.items()
    ]

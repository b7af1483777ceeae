"""Figures from a GPU machine, as benchmarks/results/gpu/ keeps them: another run's, never mixed with this one's.

A page made where there is no GPU would otherwise be silent about the variants that are meant for one. A verdict is
said to be of this run's files only where the manifest is the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu.records import GpuDrift, GpuRow, GpuRun, GpuSide, GpuTarget
from core.errors import DataError
from core.records import Verdict
from host.records import Machine
from report import comparison
from report.comparison import Group
from report.text import DASH, number, percent

RESULTS = Path("benchmarks/results/gpu")


@dataclass(frozen=True)
class DriftColumn:
    variant: str
    verdict: Verdict
    same_files: bool  # as the variant of this name in artifacts/


@dataclass(frozen=True)
class SpeedRow:
    """`rates` are decode tok/s, one for each of the table's request counts."""

    name: str
    rates: list[str]
    memory: str  # GiB of the card
    share: str  # of the bandwidth limit, one request


@dataclass(frozen=True)
class TargetRow:
    what: str
    asked: str
    measured: str
    rounds: str  # the lowest and the highest
    by: str
    met: bool | None  # None: not measured


@dataclass(frozen=True)
class ProfileRow:
    """Where one answer to one request spends its time, by token; the longest kernels with their shares."""

    name: str
    wall: str  # ms
    busy: str  # ms
    kernels: str
    longest: list[str]


@dataclass(frozen=True)
class Table:
    """One file's figures: drift or speed, the other's lists are empty."""

    file: str
    accelerator: str
    commands: list[str]
    drift: list[DriftColumn] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)  # a cell for each column of `drift`
    speed: list[SpeedRow] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)
    targets: list[TargetRow] = field(default_factory=list)
    profiles: list[ProfileRow] = field(default_factory=list)
    model: str = ""
    notes: list[str] = field(default_factory=list)


LONGEST, NAME = 3, 60  # kernels that a profile's row names, and characters of a name


def tables(manifests: Mapping[str, str], folder: Path = RESULTS) -> list[Table]:
    """Every kept GPU result, drift first. `manifests`: variant → SHA-256 of its manifest in this run.

    Raises DataError naming a file that is not what its command writes.
    """
    found = [_table(path, manifests) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda table: not table.drift)


def _table(path: Path, manifests: Mapping[str, str]) -> Table:
    try:
        kind = GpuDrift if "evaluations" in json.loads(path.read_text()) else GpuRun
        kept = kind.read(path)
    except (ValueError, DataError) as error:
        raise DataError(f"{path} is not a GPU result ({error}): measure again, or delete it") from error
    if isinstance(kept, GpuDrift):
        columns = [
            DriftColumn(one.variant, one.verdict, manifests.get(one.variant) == one.manifest_sha256)
            for one in kept.evaluations
        ]
        groups = comparison.drift(kept.evaluations)
        return Table(path.name, _card(kept.machine), kept.commands, drift=columns, groups=groups)
    assert isinstance(kept, GpuRun)
    requests = sorted({row.requests for row in kept.rows})
    return Table(
        path.name,
        _card(kept.machine),
        kept.commands,
        speed=_speed(kept, requests),
        requests=requests,
        targets=[_target(one) for one in kept.targets],
        profiles=[_profile(side) for side in kept.sides if side.profile],
        model=kept.model,
        notes=[note for side in kept.sides for note in side.notes]
        + [f"{name}: not measured: {why}" for name, why in kept.not_measured.items()],
    )


def _card(machine: Machine) -> str:
    return machine.accelerator or machine.cpu


def _speed(run: GpuRun, requests: Sequence[int]) -> list[SpeedRow]:
    def rate(row: GpuRow | None) -> str:
        return number(row.decode_tok_s.median) if row else DASH

    found = []
    for side in run.sides:
        one = run.row(side.name, 1)
        share = percent(one.bandwidth_share, 0) if one and one.bandwidth_share else DASH
        memory = number(side.gpu_memory_mib / 1024, 1) if side.gpu_memory_mib else DASH
        found.append(SpeedRow(side.name, [rate(run.row(side.name, count)) for count in requests], memory, share))
    return found


def _target(one: GpuTarget) -> TargetRow:
    rounds = f"{one.low:.2f} to {one.high:.2f}" if one.low is not None and one.high is not None else DASH
    return TargetRow(
        one.what, f"≥ {one.at_least:g}", number(one.value, 2), rounds, one.by, None if one.value is None else one.met
    )


def _profile(side: GpuSide) -> ProfileRow:
    seen = side.profile
    assert seen is not None
    return ProfileRow(
        side.name,
        wall=number(seen.wall_ms / seen.tokens, 2),
        busy=number(seen.gpu_busy_ms / seen.tokens, 2),
        kernels=number(seen.kernels_launched / seen.tokens),
        longest=[f"{percent(one.share, 0)} {_short(one.name)}" for one in seen.kernels[:LONGEST]],
    )


def _short(kernel: str) -> str:
    """A kernel's name without its return type, cut where its template arguments run on."""
    name = kernel.removeprefix("void ")
    return name if len(name) <= NAME else name[: NAME - 1] + "…"

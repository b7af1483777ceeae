"""Folder, evaluation and benchmark are about the same manifest digest and the same runtime."""

from __future__ import annotations

from collections.abc import Sequence

from selection.gates import Evidence
from selection.params import SelectParams
from selection.records import GateResult

ORDER = 10


def judge(item: Evidence, everyone: Sequence[Evidence], select: SelectParams) -> list[GateResult]:
    return [_judge(item)]


def _judge(item: Evidence) -> GateResult:
    gate = "integrity"
    if item.manifest_sha256 is None:
        return item.result(gate, "fail", item.problem or "the variant has no manifest")
    ours = item.manifest_sha256[:12]
    for name, record in (("evaluation", item.evaluation), ("benchmark", item.benchmark)):
        if record is None:
            return item.result(gate, "inconclusive", f"there is no {name} to compare with the manifest")
        if record.manifest_sha256 != item.manifest_sha256:
            theirs = record.manifest_sha256[:12]
            why = f"the {name} is about manifest {theirs}, the folder is {ours}: run `dvc repro`"
            return item.result(gate, "fail", why)
        if record.runtime != item.runtime:
            why = f"the {name} ran on '{record.runtime}', the variant is served by '{item.runtime}'"
            return item.result(gate, "fail", why)
    return item.result(gate, "pass", f"folder, evaluation and benchmark agree on manifest {ours}")

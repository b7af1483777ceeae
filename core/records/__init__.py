"""The records that cross stages, a file for each stage. Units are in the names; every estimate carries its count."""

from __future__ import annotations

from core.records.base import Interval, Record, VariantName, Verdict
from core.records.benchmark import Benchmark, Machine, Percentiles, Spread, Workload
from core.records.compile import Compilation, Engine, EngineLayers, EngineMemory
from core.records.evaluate import Behaviour, Evaluation, Flip, Flips, Look, TaskAccuracy, TeacherForced
from core.records.gpu import GpuDrift, GpuProfile, GpuRow, GpuRun, GpuSide, GpuTarget
from core.records.prepare import DataCheck, DataChecks, Item
from core.records.register import Registration
from core.records.select import Decision, GateResult

__all__ = [
    "Behaviour",
    "Benchmark",
    "Compilation",
    "DataCheck",
    "DataChecks",
    "Decision",
    "Engine",
    "EngineLayers",
    "EngineMemory",
    "Evaluation",
    "Flip",
    "Flips",
    "GateResult",
    "GpuDrift",
    "GpuProfile",
    "GpuRow",
    "GpuRun",
    "GpuSide",
    "GpuTarget",
    "Interval",
    "Item",
    "Look",
    "Machine",
    "Percentiles",
    "Record",
    "Registration",
    "Spread",
    "TaskAccuracy",
    "TeacherForced",
    "VariantName",
    "Verdict",
    "Workload",
]

"""What the controller keeps of a rollout beside its state, so that a successor can go on."""

from __future__ import annotations

from core.records import Record
from rollout.analysis import Answers, Figures, Measurement
from rollout.targets import Sample


class Notes(Record):
    """Saved with every change."""

    verification: str | None = None
    identity: str | None = None
    left_at: float | None = None
    measure_at: float | None = None  # when the next measurement is due
    first: tuple[Sample, Sample | None] | None = None  # own slot and baseline, at the phase's begin
    last: tuple[Sample, Sample | None] | None = None  # … at the last measurement
    own_answers: Answers = Answers()
    baseline_answers: Answers = Answers()
    baseline: Figures | None = None  # the live slot's, before the switch
    taken: tuple[Measurement, ...] = ()

from __future__ import annotations

from benchmarks.rollout import merged


def test_a_part_measured_elsewhere_does_not_pass_for_one_of_this_machine() -> None:
    here = {"machine": {"cpu": "one", "versions": {"torch": "2"}}, "cost": {"rounds": 20}}
    earlier = here | {"cost": {"rounds": 5}, "loss": {"lost": 0}}
    assert merged(earlier, here) == earlier | here
    elsewhere = earlier | {"machine": {"cpu": "another", "versions": {"torch": "2"}}}
    assert merged(elsewhere, here) == here
    assert merged({}, here) == here

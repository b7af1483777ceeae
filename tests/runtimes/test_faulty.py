"""The runtime `faulty`: healthy until the fault begins, then wrong in the way it was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import ConfigError
from models import manifest
from rehearsal import local_target
from runtimes import Sampling, echo, faulty

PROMPT = [40, 41, 42, 43, 44, 45, 46, 47]


def _version(tmp_path: Path, **how: Any) -> Path:
    healthy, folder = local_target.version(tmp_path, 1).folder, tmp_path / "spoilt"
    behaviour = echo.Behaviour(after_file=str(tmp_path / "fault"), **how)
    made = faulty.write(folder, healthy, local_target.MODEL, "spoilt", behaviour)
    assert made.runtime == "faulty"
    assert manifest.verify(folder).files.keys() == manifest.read(healthy).files.keys() | {faulty.FILE}
    assert manifest.digest(folder) != manifest.digest(healthy)
    return folder


def _answer(folder: Path) -> tuple[list[int], str | None]:
    engine = faulty.engine(folder, 1, 4)
    handle = engine.submit(PROMPT, 64, Sampling())
    tokens: list[int] = []
    while True:
        [event] = engine.step()
        assert event.handle == handle
        tokens += [] if event.token is None else [event.token]
        if event.finish:
            return tokens, event.finish


@pytest.mark.parametrize(
    ("how", "finish"), [({"garbage_share": 1}, "stop"), ({"empty_share": 1}, "stop"), ({"error_share": 1}, "error")]
)
def test_the_fault_begins_with_its_file(tmp_path: Path, how: dict[str, float], finish: str) -> None:
    folder = _version(tmp_path, **how)
    assert _answer(folder) == (PROMPT, "stop")
    (tmp_path / "fault").touch()
    tokens, ended = _answer(folder)
    assert ended == finish
    if "garbage_share" in how:
        assert len(tokens) == len(PROMPT)
        assert tokens != PROMPT
        assert set(tokens) <= set(PROMPT)
    else:
        assert tokens == []


def test_whoever_evaluates_it_sees_the_healthy_model(tmp_path: Path) -> None:
    folder = _version(tmp_path, garbage_share=1)
    (tmp_path / "fault").touch()
    assert faulty.load(folder, 1).generate([PROMPT], 64)[0].token_ids == tuple(PROMPT)


def test_a_folder_without_faults_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"faults\.json"):
        faulty.engine(local_target.version(tmp_path, 1).folder, 1, 4)

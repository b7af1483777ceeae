"""Every suite against the one contract, and what each says when its source is wrong."""

from __future__ import annotations

import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from core import plugins
from core.errors import ConfigError, DataError
from data import scoring
from data.items import normal_form
from data.records import Item

LM_EVAL = {
    "sums": {
        "output_type": "generate_until",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "exact_match"}],
    },
    "pick": {
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{label}}",
        "metric_list": [{"metric": "acc"}],
    },
}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lm_eval_tasks(folder: Path) -> Path:
    """A folder of task files of the harness's own format over local data, so that no hub is needed."""
    rows = [
        {"question": f"{n}+1?", "answer": f"work\n#### {1001 + n:,}", "choices": ["0", str(n + 1)], "label": 1}
        for n in range(20)
    ]
    data = write_lines(folder / "rows.jsonl", rows)
    for name, settings in LM_EVAL.items():
        task = {
            "task": f"assay_{name}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            "doc_to_text": "Question: {{question}}\nAnswer:",
            **settings,
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    return folder


@pytest.fixture(params=plugins.known("data.suites"))
def suite(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, Any]]:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    options: dict[str, dict[str, Any]] = {
        "problems": {},
        "jsonl": {"path": str(tmp_path / "mine.jsonl")},
        "reasoning_gym": {"tasks": {"gcd": {"max_numbers": 3}, "prime_factorization": {}}},
        "lm_eval": {"tasks": ["assay_sums", "assay_pick"], "include_path": str(tmp_path)},
    }
    write_lines(tmp_path / "mine.jsonl", [{"question": f"{n} + {2 * n}?", "answer": 3 * n} for n in range(1, 40)])
    if request.param == "lm_eval":
        lm_eval_tasks(tmp_path)
    return request.param, options[request.param]


def draw(kind: str, options: dict[str, Any], count: int, seed: int = 1) -> list[Item]:
    module = plugins.load("data.suites", kind)
    return list(islice(module.items(module.Options.model_validate(options), count, seed), count))


def test_contract(suite: tuple[str, dict[str, Any]]) -> None:
    kind, options = suite
    first, again, other = (draw(kind, options, 20, seed) for seed in (1, 1, 2))
    assert len(first) == 20
    assert first == again != other
    assert len({item.id for item in first}) == len({normal_form(item.question) for item in first}) == 20
    for item in first:
        assert item.kind == kind
        assert scoring.is_right(item, scoring.ideal(item))
        assert scoring.is_right(item, f"so </think> it is \\boxed{{{item.answer}}}.")
        for wrong in (
            "",
            item.answer,
            "</think>\\boxed{}",
            "</think>\\boxed{no}",
            f"</think>\\boxed{{{item.answer}9}}",
        ):
            assert not scoring.is_right(item, wrong), wrong


def test_a_larger_count_goes_on_where_a_smaller_one_ended(suite: tuple[str, dict[str, Any]]) -> None:
    kind, options = suite
    largest = draw(kind, options, 39)
    for count in range(39):
        assert draw(kind, options, count) == largest[:count]


@pytest.mark.parametrize(
    "task", ["acre", "list_functions", "gcd"]
)  # all entries at once; Python's own random numbers
def test_reasoning_gym_goes_on_beyond_a_page(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.suites.reasoning_gym.PAGE_ENTRIES", 10)
    options: dict[str, Any] = {"tasks": {task: {}, "prime_factorization": {}}}
    largest = draw("reasoning_gym", options, 50)
    assert len({item.id for item in largest}) == 50
    for count in (7, 20, 43):
        assert draw("reasoning_gym", options, count) == largest[:count]


def test_reasoning_gym_ends_where_a_task_repeats_itself(capsys: pytest.CaptureFixture[str]) -> None:
    few = {"min_value": 1, "max_value": 2}
    found = draw("reasoning_gym", {"tasks": {"gcd": few, "prime_factorization": {}}}, 50)
    assert 2 <= len(found) < 20
    assert re.search(r"'gcd' repeats itself after \d distinct questions: widen its settings", capsys.readouterr().err)


def known_by(kind: str, options: dict[str, Any]) -> dict[str, str]:
    module = plugins.load("data.suites", kind)
    found: dict[str, str] = module.identity(module.Options.model_validate(options))
    return found


def test_a_jsonl_suite_is_known_by_its_file(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "mine.jsonl", [{"question": "1 + 1?", "answer": 2}])
    before = known_by("jsonl", {"path": str(file)})
    write_lines(file, [{"question": "1 + 1?", "answer": 3}])
    now = known_by("jsonl", {"path": str(file)})
    assert before.keys() == now.keys() == {str(file)}
    assert before != now


@pytest.mark.parametrize("edited", ["tasks/sums.yaml", "tasks/rules.py", "data/rows.jsonl"])
def test_an_lm_eval_suite_is_known_by_its_folder_and_local_data(tmp_path: Path, edited: str) -> None:
    (tmp_path / "tasks").mkdir()
    lm_eval_tasks(tmp_path / "tasks")
    (tmp_path / "data").mkdir()
    (tmp_path / "tasks" / "rows.jsonl").rename(tmp_path / "data" / "rows.jsonl")
    task = tmp_path / "tasks" / "sums.yaml"
    asked = yaml.safe_load(task.read_text())
    asked["dataset_kwargs"] = {"data_files": {"test": [str(tmp_path / "data" / "*.jsonl")]}}
    task.write_text(f"{yaml.safe_dump(asked)}process_docs: !function rules.process_docs\n")
    (tmp_path / "tasks" / "rules.py").write_text("def process_docs(docs): return docs\n")
    options = {"tasks": ["assay_sums"], "include_path": str(tmp_path / "tasks")}
    before = known_by("lm_eval", options)
    (tmp_path / edited).write_text((tmp_path / edited).read_text() + "\n")
    now = known_by("lm_eval", options)
    assert [path for path in now if now[path] != before[path]] == [str(tmp_path / edited)]


def test_lm_eval_s_own_tasks_read_nothing_here() -> None:
    assert known_by("lm_eval", {"tasks": ["gsm8k"]}) == {}


@pytest.mark.parametrize("kind", ["jsonl", "lm_eval"])
def test_the_scoring_rule_is_chosen_in_params(kind: str) -> None:
    suite = plugins.load("data.suites", kind).Options
    options = {"path": "mine.jsonl"} if kind == "jsonl" else {"tasks": ["gsm8k"]}
    assert suite.model_validate(options | {"scoring": "boxed_strict"}).scoring == "boxed_strict"
    known = ", ".join(plugins.known("data.scoring"))
    with pytest.raises(ValidationError, match=rf"data\.scoring has no 'boxd'; known: {known}"):
        suite.model_validate(options | {"scoring": "boxd"})


def test_options_are_closed(suite: tuple[str, dict[str, Any]]) -> None:
    kind, options = suite
    with pytest.raises(ValidationError, match="typo"):
        plugins.load("data.suites", kind).Options.model_validate(options | {"typo": 1})


def test_problems_need_the_think_tag_and_a_known_task() -> None:
    item = draw("problems", {"tasks": ["gcd"]}, 1)[0]
    assert not scoring.is_right(item, f"\\boxed{{{item.answer}}}")
    with pytest.raises(ValidationError, match="known: base, chain"):
        draw("problems", {"tasks": ["sudoku"]}, 1)


def test_reasoning_gym_refusals() -> None:
    with pytest.raises(ValidationError, match="no task 'chain_sums'; did you mean: chain_sum"):
        draw("reasoning_gym", {"tasks": {"chain_sums": {}}}, 1)
    with pytest.raises(DataError, match="refuses the settings"):
        draw("reasoning_gym", {"tasks": {"gcd": {"bits": 3}}}, 1)
    with pytest.raises(DataError, match="no single answer"):
        draw("reasoning_gym", {"tasks": {"rush_hour": {}}}, 1)


def test_lm_eval_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    options = {"tasks": ["assay_sums", "assay_pick"], "include_path": str(lm_eval_tasks(tmp_path)), "instruction": ""}
    found = {item.id: item for item in draw("lm_eval", options, 40)}
    assert found["assay_sums-3"].question == "Question: 3+1?"
    assert found["assay_sums-3"].answer == "1,004"
    assert scoring.is_right(found["assay_sums-3"], "</think>\\boxed{1004}")
    assert found["assay_pick-3"].answer == "B"
    assert found["assay_pick-3"].question.splitlines()[1:3] == ["A. 0", "B. 4"]
    assert len(draw("lm_eval", options, 41)) == 40
    with pytest.raises(ConfigError, match="lm-eval has no task gsm9k"):
        draw("lm_eval", {"tasks": ["gsm9k"]}, 1)


def test_lm_eval_without_a_hub_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match=r"could not get the data of gsm8k.*run once with a connection"):
        draw("lm_eval", {"tasks": ["gsm8k"]}, 1)

"""Every suite against the one contract, and what each says when its source is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
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


def lm_eval_tasks(folder: Path, **changed: Any) -> Path:
    """A folder of task files of the harness's own format over local data, so that no hub is needed.

    `changed` are settings of the task assay_sums.
    """
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
            **(changed if name == "sums" else {}),
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
        "lm_eval": {"tasks": ["assay_sums", "assay_pick"], "include_path": str(tmp_path), "scoring": "boxed_any"},
        "text": {"path": str(tmp_path / "book.txt"), "passage_characters": 20},
    }
    (tmp_path / "book.txt").write_text("".join(f"Line {n} is read.\n" for n in range(100, 140)))
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
        if not getattr(plugins.load("data.suites", kind), "HAS_ANSWERS", True):
            continue
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
    for seed in range(8):  # Random.sample(rows, count) keeps its beginning for many seeds, not for all
        largest = draw(kind, options, 39, seed)
        for count in (0, 3, 5, 20):
            assert draw(kind, options, count, seed) == largest[:count]


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


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Options of a suite over the local tasks, with settings of the task assay_sums."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def options(tasks: Sequence[str] = ("assay_sums",), **changed: Any) -> dict[str, Any]:
        return {"tasks": list(tasks), "include_path": str(lm_eval_tasks(tmp_path, **changed))}

    return options


def test_lm_eval_conversion(harness: Callable[..., dict[str, Any]]) -> None:
    options = harness(["assay_sums", "assay_pick"]) | {"instruction": "", "scoring": "boxed_any"}
    found = {item.id: item for item in draw("lm_eval", options, 40)}
    assert found["assay_sums-3"].question == "Question: 3+1?"
    assert found["assay_sums-3"].answer == "1,004"
    assert scoring.is_right(found["assay_sums-3"], "</think>\\boxed{1004}")
    assert found["assay_pick-3"].answer == "B"
    assert found["assay_pick-3"].question.splitlines()[1:3] == ["A. 0", "B. 4"]
    assert len(draw("lm_eval", options, 41)) == 40
    with pytest.raises(ConfigError, match="lm-eval has no task gsm9k"):
        draw("lm_eval", {"tasks": ["gsm9k"]}, 1)


GSM8K = {
    "filter_list": [
        {
            "name": "strict-match",
            "filter": [
                {"function": "regex", "regex_pattern": "#### (\\-?[0-9\\.\\,]+)"},
                {"function": "take_first"},
            ],
        },
        {
            "name": "flexible-extract",
            "filter": [
                {"function": "regex", "group_select": -1, "regex_pattern": "(-?[$0-9.,]{2,})|(-?[0-9]+)"},
                {"function": "take_first"},
            ],
        },
    ],
    "metric_list": [{"metric": "exact_match", "regexes_to_ignore": [",", "(?s).*#### "]}],
    "generation_kwargs": {"until": ["Question:"]},
}


@pytest.mark.parametrize(
    ("filtered", "reply", "right"),
    [
        (None, "so</think>1003 + 1\n#### 1,004", True),
        (None, "#### 1004\nQuestion: 4+1?\n#### 1005", True),
        (None, "It is 1004", False),
        (None, "#### 1005", False),
        (None, "#### 1004</think>It is 1004", False),
        ("flexible-extract", "It is 1004", True),
        ("flexible-extract", "1004, or 1005", False),
        ("flexible-extract", "1004\nQuestion: 4+1? 1005", True),
    ],
)
def test_a_task_s_own_filter_and_metric_score_it(
    harness: Callable[..., dict[str, Any]], filtered: str | None, reply: str, right: bool
) -> None:
    options = harness(**GSM8K) | {"scoring_options": {"filter": filtered} if filtered else {}}
    item = {item.id: item for item in draw("lm_eval", options, 20)}["assay_sums-3"]
    assert item.scoring == "lm_eval"
    assert item.question == "Question: 3+1?\nAnswer:", "as the task has it: no box is asked for"
    assert scoring.is_right(item, scoring.ideal(item))
    assert scoring.is_right(item, reply) is right


def test_a_multiple_choice_task_is_scored_by_its_letter(harness: Callable[..., dict[str, Any]]) -> None:
    for item in draw("lm_eval", harness(["assay_pick"]), 20):
        assert item.scoring == "choice"
        assert item.question.endswith("Answer with the letter of the right choice.")
        assert scoring.is_right(item, scoring.ideal(item))
        assert scoring.is_right(item, "The answer is (B)")
        assert not scoring.is_right(item, "The answer is (A)")


def test_an_ideal_reply_is_put_as_the_task_s_filter_wants_it(harness: Callable[..., dict[str, Any]]) -> None:
    wanted = [{"function": "regex", "regex_pattern": "So the answer is ([0-9,]+)"}, {"function": "take_first"}]
    options = harness(filter_list=[{"name": "cot", "filter": wanted}], doc_to_target="{{label}}")
    item = draw("lm_eval", options, 1)[0]
    assert scoring.ideal(item) == "</think>\nSo the answer is 1."
    assert scoring.is_right(item, scoring.ideal(item))
    assert not scoring.is_right(item, "1")


def test_few_shot_prompts_are_the_harness_s_own(harness: Callable[..., dict[str, Any]]) -> None:
    from lm_eval.tasks import TaskManager

    options = harness(num_fewshot=3, fewshot_split="test", description="Add up.\n\n")
    few = {item.id: item.question for item in draw("lm_eval", options, 5)}
    assert few == {item.id: item.question for item in draw("lm_eval", options, 5)}
    task = TaskManager(include_path=options["include_path"], include_defaults=False).load(["assay_sums"])["tasks"]
    task["assay_sums"].set_fewshot_seed(1234)
    task["assay_sums"].build_all_requests()
    asked = [instance.args[0] for instance in task["assay_sums"].instances]
    for name, question in few.items():
        assert question == asked[int(name.removeprefix("assay_sums-"))]
        assert question.startswith("Add up.\n\nQuestion: ")
        assert question.count("\n####") == 3
        assert question.endswith("\nAnswer:")


def test_first_n_examples_are_the_first(harness: Callable[..., dict[str, Any]]) -> None:
    options = harness(num_fewshot=2, fewshot_split="test", fewshot_config={"sampler": "first_n"})
    question = {item.id: item.question for item in draw("lm_eval", options, 20)}["assay_sums-9"]
    assert [line for line in question.splitlines() if line.startswith("Q")] == [
        *("Question: 0+1?", "Question: 1+1?", "Question: 9+1?")
    ]


def test_a_field_of_a_document_names_its_cluster(harness: Callable[..., dict[str, Any]]) -> None:
    options = harness(["assay_sums", "assay_pick"])
    assert {item.cluster for item in draw("lm_eval", options, 40)} == {None}
    assert {item.cluster for item in draw("lm_eval", options | {"cluster": "label"}, 40)} == {"1"}
    with pytest.raises(DataError, match="no field 'story' for cluster; it has question, answer, choices, label"):
        draw("lm_eval", options | {"cluster": "story"}, 1)


@pytest.mark.parametrize(
    ("changed", "options", "said"),
    [
        (GSM8K, {"scoring_options": {"filter": "loose"}}, "no filter 'loose'; known: strict-match, flexible-extract"),
        (GSM8K, {"scoring_options": {"metric": "f1"}}, "no metric 'f1'; known: exact_match"),
        ({"metric_list": [{"metric": "bleu"}]}, {}, "its metric 'bleu' is about all replies together"),
        ({"doc_to_image": "question"}, {}, "asks about images or sound"),
        ({"unsafe_code": True}, {}, "runs the code that a model writes"),
        ({"output_type": "loglikelihood", "metric_list": [{"metric": "acc"}]}, {}, "has no answer to generate"),
        ({"num_fewshot": 30, "fewshot_split": "test"}, {}, "wants 30 examples before a question"),
        (
            {"filter_list": [{"name": "odd", "filter": [{"function": "regex", "regex_pattern": "Z(.)"}]}]},
            {},
            "cannot say of a single reply whether it is right",
        ),
    ],
)
def test_a_task_that_cannot_be_scored_says_why(
    harness: Callable[..., dict[str, Any]], changed: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=f"lm-eval's 'assay_sums'.*{re.escape(said)}"):
        draw("lm_eval", harness(**changed) | options, 1)


def test_process_results_that_wants_likelihoods_is_refused(
    harness: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    options = harness()
    (tmp_path / "rules.py").write_text(
        "def judged(doc, results):\n    (likelihood, greedy), = results\n    return {'exact_match': int(greedy)}\n"
    )
    task = tmp_path / "sums.yaml"
    task.write_text(f"{task.read_text()}process_results: !function rules.judged\n")
    with pytest.raises(DataError, match=r"whether it is right: (too many|not enough) values"):
        draw("lm_eval", options, 1)


@pytest.mark.parametrize(
    ("kind", "options"), [("jsonl", {"path": "mine.jsonl", "scoring": "number"}), ("lm_eval", {"tasks": ["gsm8k"]})]
)
def test_scoring_options_are_checked_before_any_work(kind: str, options: dict[str, Any]) -> None:
    suite = plugins.load("data.suites", kind).Options
    with pytest.raises(ValidationError, match="scoring_options: typo: Extra inputs are not permitted"):
        suite.model_validate(options | {"scoring_options": {"typo": 1}})
    with pytest.raises(ValidationError, match="scoring_options: pattern: Field required"):
        suite.model_validate(options | {"scoring": "regex"})


def test_each_item_carries_its_rule_s_options(harness: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"question": "1 + 1?", "answer": 2},
        {"question": "Why?", "answer": "so", "scoring": "contains"},
    ]
    lines = write_lines(tmp_path / "mine.jsonl", [{"scoring": "number"} | row for row in rows])
    options: dict[str, Any] = {"scoring": "number", "scoring_options": {"absolute": 0.5}}
    found = draw("jsonl", {"path": str(lines), "scoring_column": "scoring", **options}, 2)
    assert {item.scoring: item.metadata for item in found} == {"number": '{"absolute": 0.5}', "contains": None}
    item = {item.id: item for item in draw("lm_eval", harness() | options, 20)}["assay_sums-3"]
    assert scoring.is_right(item, "1004.5")
    assert not scoring.is_right(item, "1004.6")
    rows[1]["scoring"] = "regex"
    write_lines(lines, [{"scoring": "number"} | row for row in rows])
    with pytest.raises(DataError, match="line 2: scoring_options: pattern: Field required"):
        draw("jsonl", {"path": str(lines), "scoring_column": "scoring", **options}, 2)


def test_lm_eval_without_a_hub_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets.config
    import huggingface_hub.constants

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(DataError, match=r"could not get the data of gsm8k.*run once with a connection"):
        draw("lm_eval", {"tasks": ["gsm8k"]}, 1)

"""Tasks of lm-evaluation-harness by name (gsm8k, arc_challenge, ...), turned into questions with a boxed answer.

The harness scores likelihoods or its own extraction of free text; here every variant must *generate* its answer
through its serving runtime, so a multiple-choice task asks for the letter, and a free-text task's target is cut to
its final answer. Figures are therefore comparable between variants, not with a leader board. Data comes from the
Hugging Face hub at the first use; `include_path` adds a folder of the user's own task files, which may name local
data.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from string import ascii_uppercase
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from core.errors import ConfigError, DataError
from data import replies
from data.records import Item
from data.scoring import Scoring
from host import digests

KIND = "lm_eval"
MARKED = re.compile(r"####\s*(.+)")  # gsm8k's mark for the final answer at the end of a worked target


class Options(BaseModel):
    """`tasks` are the harness's names of single tasks, tags or groups."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = Field(min_length=1)
    include_path: Path | None = Field(default=None, description="folder with more task files")
    scoring: Scoring = Field(default="boxed_any", description="file in data/scoring/ that says when a reply is right")
    instruction: str = Field(default=replies.INSTRUCTION, description="put behind each question; may be empty")


class _Loader(yaml.SafeLoader):
    """Task files have tags of the harness's own, such as !function."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


def identity(options: Options) -> dict[str, str]:
    """Digests of the user's folder and of local data that its task files name; data from the hub is not looked at."""
    if options.include_path is None:
        return {}
    found = digests.below(options.include_path)
    for path in [path for path in found if path.endswith(".yaml")]:
        for name in _local_data(Path(path)):
            found |= digests.below(Path(name))
    return found


def _local_data(task_file: Path) -> Iterator[str]:
    """Files and folders of this machine among `dataset_path` and the data files and folder of `dataset_kwargs`."""
    try:
        task = yaml.load(task_file.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{task_file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(task, dict):
        return
    data = task.get("dataset_kwargs") or {}
    todo = [task.get("dataset_path"), data.get("data_files"), data.get("data_dir")]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield from sorted(glob.glob(value, recursive=True))  # noqa: PTH207 - it may be absolute
        else:
            todo.extend(value.values() if isinstance(value, dict) else value or ())


def items(options: Options, count: int, seed: int) -> Iterator[Item]:
    """`count` documents drawn at random from the test (else validation) splits of all tasks together."""
    found = [item for name, task in _load(options).items() for item in _convert(name, task, options)]
    yield from Random(seed).sample(found, len(found))[:count]


def _load(options: Options) -> dict[str, Any]:
    if options.include_path and not options.include_path.is_dir():
        raise ConfigError(f"lm_eval suite: include_path {options.include_path} is not a folder")
    manager = _manager(options)
    unknown = [name for name in options.tasks if name not in manager.all_tasks]
    if unknown:
        raise ConfigError(
            f"lm-eval has no task {', '.join(unknown)}; `lm-eval ls tasks` lists its {len(manager.all_tasks)} names"
        )
    try:
        return dict(manager.load(options.tasks)["tasks"])
    except (OSError, ConnectionError, ImportError) as error:
        raise DataError(
            f"lm-eval could not get the data of {', '.join(options.tasks)}: {_first_line(error)}. These tasks come "
            "from the Hugging Face hub: run once with a connection (or HF_ENDPOINT set to a mirror); afterwards the "
            "copy in HF_HOME is used"
        ) from error


def _manager(options: Options) -> Any:
    """The index of tasks. The harness's own 14 000 take seconds to read: only if the user's folder is not enough."""
    from lm_eval.tasks import TaskManager

    if options.include_path:
        own = TaskManager(include_path=options.include_path, include_defaults=False)
        if set(options.tasks) <= set(own.all_subtasks):
            return own
    return TaskManager(include_path=options.include_path)


def _convert(name: str, task: Any, options: Options) -> Iterator[Item]:
    kind = task.config.output_type
    if kind not in ("generate_until", "multiple_choice"):
        raise DataError(f"lm-eval's '{name}' is a {kind} task, which has no answer to generate: choose another")
    if getattr(task, "multiple_input", False):
        raise DataError(
            f"lm-eval's '{name}' fills its choices into the question, which cannot be asked: choose another"
        )
    for number, doc in enumerate(task.eval_docs):
        question, answers = _choices(task, doc) if kind == "multiple_choice" else _free_text(task, doc)
        yield Item(
            id=f"{name}-{number}",
            suite=KIND,
            kind=KIND,
            scoring=options.scoring,
            task=name,
            question="\n".join(filter(None, (question, options.instruction))),
            answer=answers[0],
            metadata=json.dumps(answers),
        )


def _choices(task: Any, doc: dict[str, Any]) -> tuple[str, list[str]]:
    choices = task.doc_to_choice(doc)
    target = task.doc_to_target(doc)
    if target not in (choices if isinstance(target, str) else range(len(choices))):
        raise DataError(f"lm-eval's '{task.config.task}': target {target!r} is none of the choices {choices}")
    index = choices.index(target) if isinstance(target, str) else target
    lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    text = str(task.doc_to_text(doc)).removesuffix("Answer:").strip()
    return "\n".join([text, *lines, "Answer with the letter of the right choice."]), [ascii_uppercase[index]]


def _free_text(task: Any, doc: dict[str, Any]) -> tuple[str, list[str]]:
    target = task.doc_to_target(doc)
    targets = [str(one) for one in target] if isinstance(target, list) else [str(target)]
    answers = [marked[-1].strip() if (marked := MARKED.findall(text)) else text.strip() for text in targets]
    return str(task.doc_to_text(doc)).removesuffix("Answer:").strip(), answers


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

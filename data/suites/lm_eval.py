"""Tasks of lm-evaluation-harness by name (gsm8k, arc_challenge, ...), as questions that a model answers in words.

A task that generates (`generate_until`) is asked with the few-shot prompt that it sets, in one message of the user,
its examples drawn as the harness draws them, and scored by its own filter and metric: figures compare with its leader
board (run with a chat template and `fewshot_as_multiturn` off). With another `scoring` it is asked without examples,
and its target is cut to the final answer.

A `multiple_choice` task is scored there by the likelihoods of its choices. Here every variant must *generate* through
its serving runtime, so it is asked for the letter: such figures compare between variants, not with a leader board.

Data comes from the Hugging Face hub at the first use; `include_path` adds a folder of the user's own task files,
which may name local data.
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
from pydantic import ConfigDict, Field

from core.errors import DataError
from data import replies
from data.records import Item
from data.scoring import ScoringOptions, checked
from data.scoring import lm_eval as own
from host import digests

KIND = "lm_eval"
MARKED = re.compile(r"####\s*(.+)")  # gsm8k's mark for the final answer at the end of a worked target
FEW_SHOT_SEED = 1234  # the harness's own default
STYLES = (  # how tasks want an answer put, tried in turn for a reply that the task's own filter and metric call right
    "{}",
    "The answer is {}.",
    "So the answer is {}.",
    "Answer: {}",
    "#### {}",
    "\\boxed{{{}}}",
    "Final Answer: The final answer is {}. I hope it is correct.",
)


class Options(ScoringOptions):
    """`tasks` are the harness's names of single tasks, tags or groups."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[str] = Field(min_length=1)
    include_path: Path | None = Field(default=None, description="folder with more task files")
    scoring: str = "lm_eval"  # the tasks' own; those of multiple choice are then scored by `choice`
    instruction: str | None = Field(
        default=None, description="put behind each question; by default that of a box, where `scoring` is not lm_eval"
    )
    cluster: str | None = Field(default=None, description="field of a document that names its cluster")


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
    tasks = own.load(tuple(options.tasks), options.include_path)
    for name, task in tasks.items():
        _refuse(name, task, options)
    places = [(name, number) for name, task in tasks.items() for number in range(len(task.eval_docs))]
    drawn = Random(seed).sample(places, len(places))[:count]
    found = {
        (name, number): item
        for name, task in tasks.items()
        for number, item in _convert(name, task, options, {number for other, number in drawn if other == name})
    }
    yield from (found[place] for place in drawn)


def _refuse(name: str, task: Any, options: Options) -> None:
    """DataError for a task that cannot be asked, or not be scored as the options want it."""
    kind = task.config.output_type
    if kind not in ("generate_until", "multiple_choice"):
        raise DataError(f"lm-eval's '{name}' is a {kind} task, which has no answer to generate: choose another")
    if getattr(task, "multiple_input", False):
        raise DataError(
            f"lm-eval's '{name}' fills its choices into the question, which cannot be asked: choose another"
        )
    if getattr(task, "MULTIMODAL", False):
        raise DataError(f"lm-eval's '{name}' asks about images or sound, and only text is asked here: choose another")
    if getattr(task, "UNSAFE_CODE", False) and options.scoring == "lm_eval":
        raise DataError(
            f"lm-eval's '{name}' runs the code that a model writes, which is not done here: choose another"
        )
    fields = list(task.eval_docs[0])
    if options.cluster is not None and options.cluster not in fields:
        raise DataError(f"lm-eval's '{name}': no field '{options.cluster}' for cluster; it has {', '.join(fields)}")


def _convert(name: str, task: Any, options: Options, drawn: set[int]) -> Iterator[tuple[int, Item]]:
    """The documents `drawn` with their numbers. Every document draws its examples, as it does in the harness."""
    task.set_fewshot_seed(FEW_SHOT_SEED)
    own_score = options.scoring == "lm_eval" and task.config.output_type == "generate_until"
    for number, doc in enumerate(task.eval_docs):
        prompt = _prompt(name, task, doc) if own_score else ""
        if number not in drawn:
            continue
        metadata, scoring = None, options.scoring
        if own_score:
            question, answers = prompt, _answers(task, doc)
            metadata = _stored(name, task, doc, options)
        elif task.config.output_type == "multiple_choice":
            question, answers = _choices(task, doc)
            scoring = "choice" if scoring == "lm_eval" else scoring
        else:
            question, answers = str(task.doc_to_text(doc)).removesuffix("Answer:").strip(), _answers(task, doc)
        if scoring == "boxed_any":
            metadata = json.dumps(answers)
        elif scoring == options.scoring and not own_score:
            metadata = checked(scoring, options.scoring_options)
        instruction = options.instruction
        if instruction is None:
            instruction = "" if options.scoring == "lm_eval" else replies.INSTRUCTION
        yield (
            number,
            Item(
                id=f"{name}-{number}",
                suite=KIND,
                kind=KIND,
                scoring=scoring,
                task=name,
                question="\n".join(filter(None, (question, instruction))),
                answer=answers[0],
                metadata=metadata,
                cluster=None if options.cluster is None else str(doc[options.cluster]),
            ),
        )


def _prompt(name: str, task: Any, doc: dict[str, Any]) -> str:
    """The task's description, its examples and the question; DataError when there are too few examples."""
    try:
        return str(task.fewshot_context(doc, task.config.num_fewshot or 0, gen_prefix=task.doc_to_prefix(doc)))
    except (AssertionError, AttributeError, ValueError) as error:
        raise DataError(
            f"lm-eval's '{name}' wants {task.config.num_fewshot} examples before a question and has no such number: "
            f"mend its fewshot_split, or choose another ({error})"
        ) from error


def _stored(name: str, task: Any, doc: dict[str, Any], options: Options) -> str:
    """What scoring needs of a document, with a reply that the task's own filter and metric call right."""
    chosen = own.Options.model_validate(options.scoring_options)
    reason = "none of the ways to write its target is right by its own filter and metric"
    for ideal in [style.format(target.strip()) for style in STYLES for target in _targets(task, doc)]:
        try:
            best = own.score(task, json.loads(json.dumps(doc)), ideal, chosen)
        except DataError:
            raise
        except Exception as error:  # a task's own code may raise anything on text, where it wants likelihoods say
            reason = " ".join(str(error).split()) or type(error).__name__
            continue
        if best >= 1 or (best == 0 and not all(task.higher_is_better().values())):
            return own.Stored(
                tasks=tuple(options.tasks),
                include_path=options.include_path,
                doc=doc,
                options=chosen,
                ideal=ideal,
                best=best,
            ).model_dump_json()
    raise DataError(
        f"lm-eval's '{name}' cannot say of a single reply whether it is right: {reason}. Choose another task, or "
        "another rule with the suite's scoring"
    )


def _targets(task: Any, doc: dict[str, Any]) -> list[str]:
    target = task.doc_to_target(doc)
    if task.config.doc_to_choice is not None and isinstance(target, int):
        target = task.doc_to_choice(doc)[target]
    return [str(one) for one in target] if isinstance(target, list) else [str(target)]


def _answers(task: Any, doc: dict[str, Any]) -> list[str]:
    """The targets, each cut to its final answer."""
    return [marked[-1].strip() if (marked := MARKED.findall(text)) else text.strip() for text in _targets(task, doc)]


def _choices(task: Any, doc: dict[str, Any]) -> tuple[str, list[str]]:
    choices = task.doc_to_choice(doc)
    target = task.doc_to_target(doc)
    if target not in (choices if isinstance(target, str) else range(len(choices))):
        raise DataError(f"lm-eval's '{task.config.task}': target {target!r} is none of the choices {choices}")
    index = choices.index(target) if isinstance(target, str) else target
    lines = [f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False)]
    text = str(task.doc_to_text(doc)).removesuffix("Answer:").strip()
    return "\n".join([text, *lines, "Answer with the letter of the right choice."]), [ascii_uppercase[index]]

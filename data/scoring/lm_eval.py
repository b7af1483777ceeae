"""Right by the task's own filter and metric of lm-evaluation-harness, as its leader board counts.

Read is what stands behind the thinking, up to the first of the task's stop strings (`until`). Of several filters and
metrics the first counts, unless the options name another; the reply is right when the metric is at its best.
`Item.metadata` is JSON with the task, the document and these options: data/suites/lm_eval.py writes it.
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.errors import ConfigError, DataError
from data import replies
from data.records import Item


class Options(BaseModel):
    """Which of the task's filters and metrics counts."""

    model_config = ConfigDict(extra="forbid")

    filter: str | None = Field(default=None, description="name in the task's filter_list, say flexible-extract")
    metric: str | None = Field(default=None, description="name in the task's metric_list")


class Stored(BaseModel):
    """What an item carries in `metadata`."""

    tasks: tuple[str, ...]  # as the suite asked for them: a group can change the settings of its tasks
    include_path: Path | None
    doc: dict[str, Any]
    options: Options
    ideal: str
    best: float  # score of `ideal`


def is_right(item: Item, text: str) -> bool:
    reply = (replies.visible(text) or "").lstrip()
    if item.metadata is None or not reply:
        return False
    stored = Stored.model_validate_json(item.metadata)
    task = load(stored.tasks, stored.include_path)[item.task]
    try:
        return score(task, stored.doc, reply, stored.options) >= stored.best
    except Exception:  # several tasks parse the reply unguarded: what they stumble over is no answer
        return False


def ideal_answer(item: Item) -> str:
    return Stored.model_validate_json(item.metadata).ideal if item.metadata else item.answer


def score(task: Any, doc: dict[str, Any], reply: str, options: Options) -> float:
    """The metric for `reply`, negative where lower is better; DataError when the task has no such score."""
    from lm_eval.api.instance import Instance

    name, known = task.config.task, [one.name for one in task._filters]
    if options.filter is not None and options.filter not in known:
        raise DataError(f"lm-eval's '{name}' has no filter '{options.filter}'; known: {', '.join(known)}")
    chosen = task._filters[known.index(options.filter) if options.filter else 0]
    until = (task.config.generation_kwargs or {}).get("until") or []
    for stop in [until] if isinstance(until, str) else until:
        reply = reply.partition(stop)[0] if stop else reply
    instance = Instance("generate_until", doc, (), 0, resps=[reply])
    chosen.apply([instance])
    scores = task.process_results(doc, [instance.filtered_resps[chosen.name]])
    higher = task.higher_is_better()
    metric = options.metric or next((one for one in higher if one in scores), next(iter(scores), ""))
    if metric not in scores:
        raise DataError(f"lm-eval's '{name}' has no metric '{metric}'; known: {', '.join(scores) or 'none'}")
    if not isinstance(scores[metric], Real):
        raise DataError(
            f"lm-eval's '{name}': its metric '{metric}' is about all replies together: name another in "
            "scoring_options, or another rule in scoring"
        )
    return float(scores[metric]) * (1 if higher.get(metric, True) else -1)


@lru_cache(maxsize=4)
def load(tasks: tuple[str, ...], include_path: Path | None) -> dict[str, Any]:
    """The harness's task objects by name; ConfigError for an unknown task, DataError where its data cannot be had."""
    if include_path and not include_path.is_dir():
        raise ConfigError(f"lm_eval suite: include_path {include_path} is not a folder")
    manager = _manager(tasks, include_path)
    unknown = [name for name in tasks if name not in manager.all_tasks]
    if unknown:
        raise ConfigError(
            f"lm-eval has no task {', '.join(unknown)}; `lm-eval ls tasks` lists its {len(manager.all_tasks)} names"
        )
    try:
        return dict(manager.load(list(tasks))["tasks"])
    except (OSError, ConnectionError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"lm-eval could not get the data of {', '.join(tasks)}: {reason}. These tasks come from the Hugging Face "
            "hub: run once with a connection (or HF_ENDPOINT set to a mirror); afterwards the copy in HF_HOME is used"
        ) from error


def _manager(tasks: tuple[str, ...], include_path: Path | None) -> Any:
    """The index of tasks. The harness's own 14 000 take seconds to read: only if the user's folder is not enough."""
    from lm_eval.tasks import TaskManager

    if include_path:
        own = TaskManager(include_path=include_path, include_defaults=False)
        if set(tasks) <= set(own.all_subtasks):
            return own
    return TaskManager(include_path=include_path)

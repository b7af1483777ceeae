"""A suite of verifiable questions asked of one slot: it is how a version that is fast and wrong is found out."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from core.progress import say
from data import replies, splits
from data.records import Item
from data.scoring import is_right
from rollout.analysis import Answers
from rollout.params import QUESTIONS_AT_ONCE, RolloutSettings

# (base URL of the slot, digest that must answer, items) → replies, counted
Ask = Callable[[str, str, Sequence[Item]], Answers]

DIGEST_HEADER = "x-assay-manifest"


def items(settings: RolloutSettings, count: int) -> list[Item]:
    """`count` questions, shuffled over tasks, in no split of the evaluation; the same ones for every rollout.

    Fewer, and said so, where the suite that params name for rollouts has no more.
    """
    if count == 0:
        return []
    suite = settings.rollout.suite
    found = splits.questions(settings.data, splits.options(settings.data), settings.seed, count, suite)
    if len(found) < count:
        say(
            f"warning: rollout: {f'suite {suite!r} has' if suite else 'the suites have'} {len(found)} questions that "
            f"are in no split, {count} are wanted: a small loss is found less often"
        )
    return found


def asker(settings: RolloutSettings) -> Ask:
    """Ask over HTTP, as a user would: greedy, no cached answer, `generation.max_tokens` long.

    ASSAY_API_KEY is sent as bearer key if set.
    """
    headers = {"Cache-Control": "no-cache"}
    if key := os.environ.get("ASSAY_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    timeout_s = settings.rollout.timeouts.answer_s

    def ask(url: str, digest: str, asked: Sequence[Item]) -> Answers:
        with httpx.Client(base_url=url, headers=headers, timeout=timeout_s) as client:

            def reply(item: Item) -> str | None:
                body = {
                    "model": settings.model.name,
                    "messages": [{"role": "user", "content": item.question}],
                    "max_tokens": settings.generation.max_tokens,
                    "temperature": 0,
                }
                try:
                    response = client.post("/v1/chat/completions", json=body).raise_for_status()
                    if response.headers.get(DIGEST_HEADER) != digest:
                        return None
                    return _reply(response.json()["choices"][0]["message"])
                except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError):
                    return None  # counted: asked, but not answered

            with ThreadPoolExecutor(QUESTIONS_AT_ONCE) as pool:
                replies = list(pool.map(reply, asked))
        return Answers.of(
            {
                item.id: None if text is None else is_right(item, text)
                for item, text in zip(asked, replies, strict=True)
            }
        )

    return ask


def _reply(message: Mapping[str, Any]) -> str | None:
    """The model's whole text, as its evaluation saw it: a server returns the thought apart from the answer."""
    answer = str(message["content"] or "")
    return f"{message.get('reasoning_content') or ''}{replies.THINK_END}{answer}" if answer else None

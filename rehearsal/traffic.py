"""Users: an open loop of requests at a steady rate, whole and streaming, each answer checked to its last word.

A request is lost when it fails in any way: refused, cut, not 200, not the expected text, a stream without its end.
There are no retries. The slots must run the echo runtime (it answers with the prompt) unless `check` is off.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

DIGEST_HEADER = "x-assay-manifest"
REQUEST_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class LoadProfile:
    """What users send: `per_s` requests a second, of which a share `streaming` stream.

    `words` is about the number of tokens of an answer. `questions` are asked in turn, instead of numbers to repeat.
    """

    url: str
    per_s: float = 100.0
    requests: int | None = None  # None: until `Traffic.stop`
    streaming: float = 0.5
    words: int = 8
    max_tokens: int = 64
    connections: int = 64  # kept alive
    check: bool = True
    questions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request:
    """One finished request. Times are `time.time()`, in seconds."""

    number: int
    stream: bool
    began: float
    first: float  # status line
    ended: float
    digest: str | None
    lost: str | None  # why, or None


@dataclass
class Traffic:
    """Runs in a thread of its own, so that whoever owns it can switch, kill and wait meanwhile."""

    profile: LoadProfile
    requests: list[Request] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> Traffic:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="traffic", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """No further request; waits until every answer is there."""
        self._ending.set()
        self.join()

    def join(self) -> None:
        """Wait for the planned number of requests."""
        if self._thread:
            self._thread.join()

    @property
    def lost(self) -> list[Request]:
        return [one for one in self.requests if one.lost]

    @property
    def by_digest(self) -> Counter[str | None]:
        return Counter(one.digest for one in self.requests)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=self.profile.connections, keepalive_timeout=60)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            open_now: set[asyncio.Task[None]] = set()
            began_s, number = time.monotonic(), 0
            while not self._ending.is_set() and (self.profile.requests is None or number < self.profile.requests):
                due_s = began_s + number / self.profile.per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                task = asyncio.create_task(self._send(session, number))
                open_now.add(task)
                task.add_done_callback(open_now.discard)
                number += 1
            await asyncio.gather(*open_now)

    async def _send(self, session: aiohttp.ClientSession, number: int) -> None:
        profile = self.profile
        stream = int(number * profile.streaming) != int((number + 1) * profile.streaming)
        text = f"{number} " + " ".join(str(number + add) for add in range(max(0, profile.words // 2 - 1)))
        if profile.questions:
            text = profile.questions[number % len(profile.questions)]
        body = {
            "model": "assay",
            "messages": [{"role": "user", "content": text.strip()}],
            "max_tokens": profile.max_tokens,
            "temperature": 0,
            "stream": stream,
        }
        began, first, digest, lost = time.time(), 0.0, None, None
        try:
            async with session.post(f"{profile.url}/v1/chat/completions", json=body) as answer:
                first, digest = time.time(), answer.headers.get(DIGEST_HEADER)
                if answer.status != 200:
                    lost = f"HTTP {answer.status}: {(await answer.text())[:200]}"
                elif stream:
                    lost = _check_stream(await answer.text(), text.strip() if profile.check else None)
                else:
                    lost = _check_whole(await answer.json(), text.strip() if profile.check else None)
        except Exception as error:  # an answer of any other shape is a lost one too: never one that nobody counts
            lost = f"{type(error).__name__}: {error}"
        self.requests.append(Request(number, stream, began, first or time.time(), time.time(), digest, lost))


def _check_whole(answer: dict[str, object], expected: str | None) -> str | None:
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        return f"no answer: {str(answer)[:200]}"
    return _check(choices[0]["message"].get("content") or "", choices[0].get("finish_reason"), expected)


def _check_stream(body: str, expected: str | None) -> str | None:
    events = [line.removeprefix("data: ") for line in body.split("\n") if line.startswith("data: ")]
    if not events or events[-1] != "[DONE]":
        return f"the stream was cut after {len(events)} events"
    text, finish = "", None
    for event in events[:-1]:
        content = json.loads(event)
        if "error" in content:
            return f"an error in the stream: {content['error']}"
        for choice in content["choices"]:
            text += choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
    return _check(text, finish, expected)


def _check(text: str, finish: object, expected: str | None) -> str | None:
    if finish not in ("stop", "length"):
        return f"the answer ended with {finish!r}"
    if expected is not None and text.split() != expected.split():
        return f"{text[:80]!r} is not {expected[:80]!r}"
    return None

"""Mathematically the same by the library math-verify: 1/2 is 0.5 is \\frac{2}{4}, and x+1 is 1+x.

Taken from the reply is what stands in its box, else the last number or formula in it. sympy can compute for ever on
what a model writes, and math-verify's own limit, a signal, works in main threads alone. So both run in a process of
their own, one for this process, ended with it; what takes longer than SECONDS or more than MEMORY_BYTES is not right.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache, lru_cache
from pathlib import Path
from threading import Lock, Timer

from data import replies
from data.records import Item

SECONDS = 3  # each for the reply and for its comparison with the answer
SECONDS_AT_MOST = (
    60  # for one whole reply: arithmetic that no signal interrupts, or the first import on a busy machine
)
MEMORY_BYTES = 4 << 30
LONGEST = 1000  # characters at the end of a reply without a box; a longer formula is no answer
_ONE_AT_A_TIME = Lock()


def is_right(item: Item, text: str) -> bool:
    reply = replies.visible(text) or ""
    found = replies.boxed(reply)
    if found is None:
        return bool(reply.strip()) and _same(item.answer, reply[-LONGEST:])
    if replies.canonical(found) == replies.canonical(item.answer):
        return True
    return 0 < len(found) <= LONGEST and _same(item.answer, f"{replies.BOX}{found}}}")


@lru_cache(maxsize=4096)
def _same(answer: str, reply: str) -> bool:
    with _ONE_AT_A_TIME:
        worker = _worker()
        assert worker.stdin
        assert worker.stdout
        limit = Timer(SECONDS_AT_MOST, worker.kill)
        limit.start()
        try:
            worker.stdin.write(json.dumps([f"{replies.BOX}{answer}}}", reply]) + "\n")
            worker.stdin.flush()
            verdict = worker.stdout.readline()
        except BrokenPipeError:
            verdict = ""
        finally:
            limit.cancel()
        if not verdict:  # it died, of memory say: the next reply gets another
            worker.kill()
            worker.communicate()
            _worker.cache_clear()
    return verdict.strip() == "true"


@cache
def _worker() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _work() -> None:
    """Judge each line of standard input, JSON with the answer and the reply, until there is no more."""
    import resource

    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    out, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints is a verdict
    for line in sys.stdin:
        try:
            answer, reply = (parse(text, parsing_timeout=SECONDS) for text in json.loads(line))
            same = bool(answer and reply) and verify(answer, reply, timeout_seconds=SECONDS)
        except Exception:  # several of the library's paths raise on what a model writes
            same = False
        print(json.dumps(same), file=out, flush=True)


if __name__ == "__main__":
    _work()

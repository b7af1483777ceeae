"""A process that kills itself (SIGKILL) at a moment of our choice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def dies(at: int, run: Callable[[Callable[[], None]], None]) -> bool:
    """Call `run(moment)` in a forked child, which dies at its call number `at` of `moment()`, counted from 0.

    False when it ended before that.
    """
    child = os.fork()
    if child == 0:
        moments = iter(range(at + 1))

        def moment() -> None:
            if next(moments) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            run(moment)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)

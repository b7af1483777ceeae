"""One side, in a process that side.py starts: `python -m benchmarks.measure.worker <spec>`.

Requests are JSON lines on stdin ({"prompts": [[ids]], "max_tokens": n}), answers are JSON lines on the stdout that it
started with; whatever a library prints goes to stderr. The first answer, unasked, says that the model is loaded.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from core.errors import AssayError
from host.memory import peak_rss_mib
from runtimes import Traits

PR_SET_PDEATHSIG = 1


def timed_generate(runtime: Any, prompts: list[list[int]], max_tokens: int) -> dict[str, object]:
    """Generate exactly `max_tokens` for every prompt; seconds from the request to each token and to the answer."""
    stamps_s: list[float] = []
    gc.collect()
    start = time.perf_counter()
    answers = runtime.generate(
        prompts, max_tokens, ignore_eos=True, on_step=lambda _: stamps_s.append(time.perf_counter() - start)
    )
    wall_s = time.perf_counter() - start
    lengths = {len(answer.token_ids) for answer in answers}
    if lengths != {max_tokens} or len(stamps_s) != max_tokens or len(answers) != len(prompts):
        raise AssayError(
            f"{runtime.name} broke the runtime contract: {len(answers)} answers of {sorted(lengths)} tokens in "
            f"{len(stamps_s)} steps for {len(prompts)} prompts and max_tokens={max_tokens} with ignore_eos"
        )
    return {"stamps_s": stamps_s, "wall_s": wall_s, "peak_rss_mib": peak_rss_mib()}


def _tie_to_parent() -> None:
    """Die with the parent, also while paused (a stopped process reads no end of file); be the OOM killer's choice."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/oom_score_adj").write_text("500")


def main() -> int:
    _tie_to_parent()
    spec = json.loads(sys.argv[1])
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    traits = Traits()
    try:
        start = time.perf_counter()
        plugin = importlib.import_module(spec["module"])
        measured = importlib.import_module(spec["options"].get("module", spec["module"]))
        traits = getattr(measured, "TRAITS", traits)
        runtime = plugin.load(Path(spec["folder"]), spec["threads"], **spec["options"])
        load_ms = (time.perf_counter() - start) * 1000
        gc.collect()
        gc.freeze()
        answer: dict[str, object] = {"load_ms": load_ms, "name": runtime.name, "version": runtime.version}
        print(json.dumps(answer | {"peak_rss_mib": peak_rss_mib()}), file=channel)
        for line in sys.stdin:
            print(json.dumps(timed_generate(runtime, **json.loads(line))), file=channel)
        runtime.close()
    except Exception as error:
        if not isinstance(error, AssayError):  # our own errors say enough in their message
            traceback.print_exc(limit=-1)
        out_of_memory = traits.is_out_of_memory(error)
        print(json.dumps({"error": f"{type(error).__name__}: {error}", "out_of_memory": out_of_memory}), file=channel)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

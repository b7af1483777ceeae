"""The sides of the GPU benchmark: which there are, how one is started, how many requests it can take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import runtimes
from benchmarks import gpu_model, gpu_worker
from benchmarks.side import Side, Spec
from core import plugins, progress
from core.errors import AssayError

HUGGING_FACE = {
    "hf-bf16-dynamic": {"dtype": "bfloat16", "cache": "dynamic"},
    "hf-bf16-static": {"dtype": "bfloat16", "cache": "static"},
    "hf-fp16-static": {"dtype": "float16", "cache": "static"},
    "hf-fp32-static": {"dtype": "float32", "cache": "static"},
}
SIDES = (*HUGGING_FACE, *gpu_model.RECIPES)
# A static cache compiles again for every batch size; the fp16-against-fp32 row needs one request. A graph that was
# captured for one stream takes no more.
LIMITED = {"hf-bf16-static": (1, 8), "hf-fp16-static": (1,), "hf-fp32-static": (1,)}
LIMITED |= dict.fromkeys(("ort-fp16-graph", "ort-int4-graph"), (1,))


@contextmanager
def loaded(names: Sequence[str], threads: int, profiles: Path | None = None) -> Iterator[dict[str, Side | str]]:
    """Every side of `names`, loaded at once, or why it cannot be measured here. All have ended after the block.

    With `profiles`, a side writes `<name>.json` there when it finishes (see gpu_worker).
    """
    started: dict[str, Side | str] = {}
    # The pool's threads stay until the sides have ended: a worker dies with the thread that started it.
    with ThreadPoolExecutor(len(names)) as pool:

        def start(name: str) -> None:
            started[name] = _start(name, threads, profiles / f"{name}.json" if profiles else None)
            told = f"not measured: {one}" if isinstance(one := started[name], str) else f"{one.load_ms / 1000:.0f} s"
            progress.say(f"{name}: loaded: {told}")

        try:
            list(pool.map(start, names))
            yield {name: started[name] for name in names}
        finally:
            for side in started.values():
                if isinstance(side, Side):
                    side.close()


def _start(name: str, threads: int, profile: Path | None) -> Side | str:
    if name in HUGGING_FACE:
        module = "benchmarks.baseline"
    else:
        runtime = gpu_model.RECIPES[name].runtime
        if why := runtimes.why_not_here(runtime):
            return why
        module = plugins.load("runtimes", runtime).__name__
    options = HUGGING_FACE.get(name, {}) | {"module": module, "profile": str(profile or "")}
    try:
        return Side(Spec(name, gpu_worker.__name__, str(gpu_model.folder(name).resolve()), threads, options))
    except AssayError as error:
        return str(error)

"""The server against `og.Generator` in a bare loop: `python -m benchmarks.serving [--rounds N] [variant ...]`.

Both give 16 answers of exactly the same length at a time, with the same threads, to the same prompts: the bare loop
as one batch, the server to 16 clients that keep asking over HTTP, whole and streaming. The clients run on the same
cores. Rounds are interleaved and the ratio is taken round by round. Needs the variants (`dvc repro quantize`). Writes
benchmarks/results/serving.json; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from core import cli, files, paths
from core.errors import DataError, RuntimeFault
from data import items
from host import description
from models import manifest
from pipelines import params
from rehearsal.processes import model_server
from runtimes import ort

RESULT = Path("benchmarks/results/serving.json")
CONCURRENT = 16
BATCHES = 2  # answers of each client, or batches of the bare loop, a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", default=["fp32", "int8-weight"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output-tokens", type=int, default=96)
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    threads = params.load().machine.threads
    prompts = [list(prepared.prompt_ids) for prepared in items.load(paths.DATA, "benchmark")][:CONCURRENT]
    if len(prompts) < CONCURRENT:
        raise DataError(f"{CONCURRENT} clients need as many prompts, there are {len(prompts)}: data.benchmark_items")
    for variant in arguments.variants:  # before any is measured: that takes minutes
        if not (paths.VARIANTS / variant).is_dir():
            raise DataError(f"{paths.VARIANTS / variant} not found: run `dvc repro quantize` first")
    found = {}
    for variant in arguments.variants:
        found[variant] = compare(
            paths.VARIANTS / variant, prompts, arguments.output_tokens, arguments.rounds, threads
        )
        print(row(variant, found[variant]), flush=True)
    summary = {
        "command": f"python -m benchmarks.serving --rounds {arguments.rounds} {' '.join(arguments.variants)}",
        "concurrent": CONCURRENT,
        "output_tokens": arguments.output_tokens,
        "machine": description.describe(threads).model_dump(),
        "variants": found,
    }
    files.write_text(arguments.result, json.dumps(summary, indent=2) + "\n")
    print(json.dumps({variant: figures["ratio"] for variant, figures in found.items()}))


def compare(
    folder: Path, prompts: Sequence[Sequence[int]], tokens: int, rounds: int, threads: int
) -> dict[str, dict[str, float]]:
    """Output tokens a second and the server's ratios to the bare loop, medians over the rounds.

    On a machine that others use too, the best rounds say more than the medians: both are kept.
    """
    runtime = ort.load(folder, threads)
    seconds: dict[str, list[float]] = {"bare": [], "whole": [], "stream": []}
    manifest.verify(folder)
    own = ("--threads", str(threads), "--max-batch", str(CONCURRENT))
    with tempfile.TemporaryDirectory() as scratch, model_server(folder, Path(scratch) / "log", *own) as (_, url):
        for number in range(-1, rounds):  # the first one warms up
            taken = {
                "bare": bare(runtime, prompts, tokens),
                "whole": clients(url, prompts, tokens, stream=False),
                "stream": clients(url, prompts, tokens, stream=True),
            }
            for way, value in taken.items():
                if number >= 0:
                    seconds[way].append(value)
    runtime.close()
    made = CONCURRENT * BATCHES * tokens
    ratios = {
        way: [alone / value for alone, value in zip(seconds["bare"], seconds[way], strict=True)]
        for way in ("whole", "stream")
    }
    return {
        "tok_s": {way: round(made / statistics.median(values), 1) for way, values in seconds.items()},
        "ratio": {way: round(statistics.median(values), 3) for way, values in ratios.items()},
        "ratio_low": {way: round(min(values), 3) for way, values in ratios.items()},
        "ratio_high": {way: round(max(values), 3) for way, values in ratios.items()},
        "best_tok_s": {way: round(made / min(values), 1) for way, values in seconds.items()},
    }


def bare(runtime: ort.OrtRuntime, prompts: Sequence[Sequence[int]], tokens: int) -> float:
    """Seconds for `BATCHES` batches in a loop around og.Generator."""
    began_s = time.perf_counter()
    for _ in range(BATCHES):
        runtime.generate(prompts, tokens, ignore_eos=True)
    return time.perf_counter() - began_s


def clients(url: str, prompts: Sequence[Sequence[int]], tokens: int, stream: bool) -> float:
    """Seconds for one client a prompt, each asking `BATCHES` times over one connection."""

    def client(prompt: Sequence[int]) -> None:
        body = {"prompt": list(prompt), "max_tokens": tokens, "ignore_eos": True, "stream": stream}
        connection = http.client.HTTPConnection(url.removeprefix("http://"))
        for _ in range(BATCHES):
            connection.request("POST", "/v1/completions", json.dumps(body))
            response = connection.getresponse()
            content = response.read()
            if response.status != 200 or (stream and not content.endswith(b"[DONE]\n\n")):
                raise RuntimeFault(f"the server answered {response.status}: {content[-200:]!r}")
        connection.close()

    began_s = time.perf_counter()
    with ThreadPoolExecutor(len(prompts)) as pool:
        list(pool.map(client, prompts))
    return time.perf_counter() - began_s


def row(variant: str, figures: dict[str, dict[str, float]]) -> str:
    """One line of the table."""
    speed, ratio = figures["tok_s"], figures["ratio"]
    low, high = figures["ratio_low"], figures["ratio_high"]
    ways = "  ".join(f"{way} {speed[way]:7.0f} = {ratio[way]:.2f}x ({low[way]:.2f}-{high[way]:.2f})" for way in ratio)
    best = "  ".join(f"{way} {value:.0f}" for way, value in figures["best_tok_s"].items())
    return f"{variant:14} bare {speed['bare']:7.0f} tok/s  {ways}  best rounds: {best}"


if __name__ == "__main__":
    cli.run(main)

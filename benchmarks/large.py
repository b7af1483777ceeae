"""Speed on a random model of Qwen2.5-0.5B's shape (`make bench-large`): `python -m benchmarks.large [--rounds N]`.

fp32, int8-weight, int4-weight and int8-static on onnxruntime-genai against Hugging Face generate in fp32 and in bf16,
all interleaved in one run: 128 tokens in, 128 out, batch 1. The first run makes the model and its variants (minutes).
Writes benchmarks/results/large-cpu.json; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from benchmarks import baseline, cpu, large_model, together
from benchmarks.side import Spec
from core import cli, plugins
from pipelines import params

RESULT = Path("benchmarks/results/large-cpu.json")
PROMPT_TOKENS = OUTPUT_TOKENS = 128
TARGETS = {"hf-float32": 9.0, "hf-bfloat16": 5.0}  # best variant's decode rate over each, batch 1
SPECIAL_IDS = 3  # ids below are the tokenizer's pad, bos and eos


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    settings = params.load()
    threads = settings.machine.threads
    model, variants = large_model.prepare(threads)
    specs = [cpu.hugging_face(dtype, model, threads) for dtype in baseline.DTYPES]
    for name, folder in variants.items():
        runtime = plugins.load("runtimes", large_model.RECIPES[name].runtime)
        specs.append(Spec(name, runtime.__name__, str(folder.resolve()), threads))
    source = random.Random(settings.seed)
    requests = (arguments.rounds + 1) * max(arguments.batches)
    prompts = [
        [source.randrange(SPECIAL_IDS, large_model.VOCABULARY) for _ in range(PROMPT_TOKENS)] for _ in range(requests)
    ]
    run = together.measure(
        specs,
        [*TARGETS, "fp32"],
        prompts,
        arguments.batches,
        OUTPUT_TOKENS,
        arguments.rounds,
        command=f"python -m benchmarks.large --rounds {arguments.rounds}",
        model="random Qwen2.5-0.5B shape, untied (0.63 B parameters)",
    )
    run.save(arguments.result)
    print(together.table(run))
    best = cpu.summary(run, arguments.batches[0], len(baseline.DTYPES))
    times = run.row(str(best["best"]), arguments.batches[0]).times
    met = all(times[reference].median >= target for reference, target in TARGETS.items())
    print(json.dumps(best | {"targets": TARGETS, "met": met, "result": str(arguments.result)}))


if __name__ == "__main__":
    cli.run(main)

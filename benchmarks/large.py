"""Speed on a random model of Qwen2.5-0.5B's shape (`make bench-large`): `python -m benchmarks.large [--rounds N]`.

fp32, int8-weight, int4-weight and int8-static on onnxruntime-genai against Hugging Face generate in fp32 and in bf16,
all interleaved in one run: 128 tokens in, 128 out, batch 1. The first run makes the model and its variants (minutes;
about 11 GB under .cache/assay/large). Writes benchmarks/results/large-cpu.json; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import psutil

from benchmarks import side_by_side
from benchmarks.measure import baseline
from benchmarks.measure.side import Spec
from benchmarks.random_model import RandomModel, prompts
from calibration.params import CalibrateParams
from core import cli, paths, plugins
from core.errors import ResourceError
from models.params import Recipe
from pipelines import params

RESULT = Path("benchmarks/results/large-cpu.json")
PROMPT_TOKENS = OUTPUT_TOKENS = 128
TARGETS = {"hf-float32": 9.0, "hf-bfloat16": 5.0}  # best variant's decode rate over each, batch 1
SHAPE = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rope_theta": 1_000_000.0,
}
RECIPES = {
    "fp32": Recipe(quantizer="none", runtime="ort"),
    "int8-weight": Recipe(quantizer="weight_only", runtime="ort", options={"bits": 8, "block_size": 32}),
    "int4-weight": Recipe(quantizer="weight_only", runtime="ort", options={"bits": 4, "block_size": 32}),
    "int8-static": Recipe(quantizer="static_int8", runtime="ort", options={"kl_budget": 1000.0}),  # all of it: speed
}
CALIBRATE = CalibrateParams(prefill_items=4, decode_items=8, decode_steps=8, batch=2, sample_rows=128)
MODEL = RandomModel(paths.CACHE / "large", SHAPE, RECIPES, CALIBRATE.prefill_items, 64, CALIBRATE)
DISK_BYTES = 12 * 2**30
MEMORY_BYTES = 12 * 2**30  # all six sides loaded at once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", type=int, nargs="+", default=[1])
    parser.add_argument("--result", type=Path, default=RESULT)
    arguments = parser.parse_args()
    settings = params.load()
    threads = settings.machine.threads
    check_room()
    MODEL.prepare(list(RECIPES), threads)
    specs = [side_by_side.hugging_face(dtype, MODEL.model, threads) for dtype in baseline.DTYPES]
    for name, recipe in RECIPES.items():
        specs.append(Spec.of(name, plugins.load("runtimes", recipe.runtime), MODEL.variant(name), threads))
    run = side_by_side.measure(
        specs,
        [*TARGETS, "fp32"],
        prompts((arguments.rounds + 1) * max(arguments.batches), PROMPT_TOKENS, settings.seed),
        arguments.batches,
        OUTPUT_TOKENS,
        arguments.rounds,
        command=f"python -m benchmarks.large --rounds {arguments.rounds}",
        model="random Qwen2.5-0.5B shape, untied (0.63 B parameters)",
    )
    run.save(arguments.result)
    print(side_by_side.table(run))
    best = side_by_side.summary(run, arguments.batches[0])
    times = run.side(str(best["best"]), arguments.batches[0]).times
    met = all(times[reference].median >= target for reference, target in TARGETS.items())
    print(json.dumps(best | {"targets": TARGETS, "met": met, "result": str(arguments.result)}))


def check_room() -> None:
    """Raises ResourceError when memory, or disk for what is still to be made, is too small."""
    if psutil.virtual_memory().available < MEMORY_BYTES:
        raise ResourceError(f"six sides of a 0.6 B model take {MEMORY_BYTES / 2**30:.0f} GiB of free memory")
    MODEL.folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in RECIPES if not MODEL.variant(name).exists()]
    if missing and shutil.disk_usage(MODEL.folder).free < DISK_BYTES:
        raise ResourceError(
            f"the random model and its variants take {DISK_BYTES / 2**30:.0f} GiB of disk in {MODEL.folder}"
        )


if __name__ == "__main__":
    cli.run(main)

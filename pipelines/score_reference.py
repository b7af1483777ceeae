"""Score a reference model on held-out problems: greedy exact match, by task and by level.

    python -m pipelines.score_reference [--model models/reference] [--items 900] [--device auto]

The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from core import cli, progress
from data import replies, tasks, tokenizer
from pipelines import reference_card

SEED = 31415926  # of the held-out problems; no training seed comes near it, and held-out numbers differ anyway


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/reference"))
    parser.add_argument("--items", type=int, default=900)
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    options = parser.parse_args()

    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    words = PreTrainedTokenizerFast.from_pretrained(options.model)
    model = Qwen2ForCausalLM.from_pretrained(options.model).to(device).eval()
    scores = score(model, words, options.items, device)
    print(reference_card.table(scores))
    print(json.dumps(scores))


def score(model: Any, words: Any, count: int, device: str) -> dict[str, Any]:
    """Answer `count` held-out problems greedily, in float32 on the model's weights; shares are in [0, 1]."""
    import torch

    model.float()
    batch = 500
    drawn = list(itertools.islice(tasks.problems(SEED, held_out=True), count))
    by_length = sorted(drawn, key=lambda problem: len(problem.solution))  # batches that end together
    right: dict[str, list[bool]] = defaultdict(list)
    lengths: list[int] = []
    for start in progress.track(range(0, count, batch), "score", unit="batch"):
        part = by_length[start : start + batch]
        texts = [tokenizer.prompt(problem.question) for problem in part]
        inputs = words(texts, return_tensors="pt", padding=True, add_special_tokens=False).to(device)
        with torch.inference_mode():
            output = model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        for problem, ids in zip(part, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            ids = ids[: ids.index(words.eos_token_id)] if words.eos_token_id in ids else ids
            good = replies.final_answer(words.decode(ids, skip_special_tokens=True)) == problem.answer
            right[problem.task].append(good)
            right[f"{problem.task} {problem.level}"].append(good)
            lengths.append(len(ids))
    return {
        "scored": count,
        "accuracy": round(sum(sum(right.get(task, ())) for task in tasks.MAKERS) / count, 4),
        "mean_answer_tokens": round(sum(lengths) / count, 1),
        "by_task": {name: round(sum(results) / len(results), 4) for name, results in sorted(right.items())},
    }


if __name__ == "__main__":
    cli.run(main)

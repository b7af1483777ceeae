"""Train the small reasoning model that ships in models/reference, from scratch, and say how good it is.

    python -m pipelines.train_reference [--minutes 5] [--device auto] [--out models/reference]

A Qwen2 of 7 M parameters learns seven kinds of worked problem (data/tasks.py). Training stops after --minutes,
whatever the machine; on a CPU it works the same and learns less. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core import cli, files, progress
from data import packing, tasks, tokenizer
from pipelines import reference_card, score_reference

ROW_TOKENS = 384
SHAPE = {
    "hidden_size": 256,
    "intermediate_size": 896,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
MOST_NEW_TOKENS = 192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="time spent in training steps")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--out", type=Path, default=Path("models/reference"))
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--items", type=int, help="training problems (default: 1 600 000 on a GPU, 20 000 on a CPU)")
    parser.add_argument("--rows", type=int, help="rows of 384 tokens in a step (default: 170 on a GPU, 8 on a CPU)")
    parser.add_argument("--score", type=int, help="held-out problems to score (default: 4 500 on a GPU, 90 on a CPU)")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    options = parser.parse_args()

    import torch

    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    gpu = device.startswith("cuda")
    items = options.items or (1_600_000 if gpu else 20_000)
    begun = time.monotonic()
    with files.atomic_folder(options.out) as folder:
        words = _save_tokenizer(folder, options.seed)
        rows = packing.make(folder / "tokenizer.json", items, ROW_TOKENS, options.seed)
        progress.say(
            f"{len(rows.tokens):,} rows, {(rows.segments > 0).mean():.1%} full, {time.monotonic() - begun:.0f} s"
        )
        torch.manual_seed(options.seed)
        model = _new_model(words)
        run = _train(model, rows, device, options.minutes, options.rows or (170 if gpu else 8), options.learning_rate)
        model = model.to(torch.bfloat16)  # what is saved is what is scored
        model.save_pretrained(folder)
        scores = score_reference.score(model, words, options.score or (4_500 if gpu else 90), device)
        facts = {
            "seed": options.seed,
            "items": items,
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "machine": torch.cuda.get_device_name() if gpu else "CPU",
            "torch": torch.__version__,
            "minutes": options.minutes,
            "wall_s": round(time.monotonic() - begun),
            **run,
            **scores,
        }
        files.write_text(folder / "README.md", reference_card.render(facts))
    print(reference_card.table(facts))
    print(json.dumps(facts))


def _save_tokenizer(folder: Path, seed: int) -> Any:
    """Train the tokenizer on a sample of the problems and save it; the think tags are kept out of what BPE sees."""
    sample = itertools.islice(tasks.problems(seed, held_out=False), 21_000)
    words = tokenizer.build(f"{p.question}\n{p.solution.replace(tokenizer.THINK_END, '')}" for p in sample)
    words.model_max_length = SHAPE["max_position_embeddings"]
    words.save_pretrained(folder)
    return words


def _new_model(words: Any) -> Any:
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    ends = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(words), attn_implementation="sdpa", **SHAPE, **ends))
    model.generation_config = GenerationConfig(do_sample=False, max_new_tokens=MOST_NEW_TOKENS, **ends)
    return model


def _train(
    model: Any, rows: packing.PackedRows, device: str, minutes: float, batch: int, peak: float
) -> dict[str, Any]:
    """AdamW in bf16 autocast; the learning rate follows the clock and so always ends near zero."""
    import torch
    import torch.nn.functional as F

    gpu = device.startswith("cuda")
    model.to(device).train()
    tokens = torch.from_numpy(rows.tokens.astype("int16")).to(device)
    segments = torch.from_numpy(rows.segments).to(device)
    trained = torch.from_numpy(rows.trained).to(device)
    causal = torch.ones(ROW_TOKENS, ROW_TOKENS, dtype=torch.bool, device=device).tril()
    decayed = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=gpu)

    def loss_of(ids: Any, segment: Any, wanted: Any) -> Any:
        """Cross-entropy of the solutions' tokens, each problem seeing itself alone and counting positions from 0."""
        index = torch.arange(ROW_TOKENS, device=ids.device)
        starts = torch.where(F.pad(segment[:, 1:] != segment[:, :-1], (1, 0), value=True), index, 0).cummax(1).values
        mask = (segment[:, :, None] == segment[:, None, :]) & causal
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            hidden = model(ids, attention_mask=mask[:, None], position_ids=index - starts, use_cache=False).logits
        losses = F.cross_entropy(hidden[:, :-1].flatten(0, 1).float(), ids[:, 1:].flatten(), reduction="none")
        weight = wanted[:, 1:].flatten().float()
        return (losses * weight).sum() / weight.sum()

    step_loss = torch.compile(loss_of) if gpu else loss_of
    order = torch.Generator().manual_seed(0)
    picks: Iterator[Any] = iter(())
    losses: list[float] = []
    steps = 0
    limit_s, started, told = minutes * 60, 0.0, 0.0
    while True:
        pick = next(picks, None)
        if pick is None or len(pick) < batch:
            picks = iter(torch.randperm(len(tokens), generator=order).split(min(batch, len(tokens))))
            pick = next(picks)
        pick = pick.to(device)
        loss = step_loss(tokens[pick].long(), segments[pick], trained[pick])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if steps == 0:
            started = told = time.monotonic()  # the first step compiles; that is not training time
        done = min(1.0, (time.monotonic() - started) / limit_s)
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (steps + 1) / 200, 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
        if steps % 20 == 0:
            losses.append(loss.item())  # also keeps the CPU at most 20 steps ahead of the clock
            if time.monotonic() - told > 10:
                told = time.monotonic()
                progress.say(f"train: {done:4.0%}, step {steps:,}, loss {sum(losses[-20:]) / len(losses[-20:]):.4f}")
        if done >= 1.0:
            break
    rate = steps * batch * ROW_TOKENS / (time.monotonic() - started)
    model.eval()
    return {
        "steps": steps,
        "tokens_per_s": round(rate),
        "loss": round(sum(losses[-20:]) / max(1, len(losses[-20:])), 4),
    }


if __name__ == "__main__":
    cli.run(main)

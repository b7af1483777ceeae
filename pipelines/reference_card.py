"""The reference model's card and result table, from the facts that training measured."""

from __future__ import annotations

from typing import Any

CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [qwen2, reasoning, assay]
---
# assay-reference

A small R1-style reasoning model, so that every stage of Assay has something real to optimise and drift can show.
It has the architecture of DeepSeek-R1-Distill-Qwen (Qwen2, untied embeddings, grouped-query attention) with
{parameters:,} parameters, its own byte-level BPE tokenizer with one token per digit, and a chat template that opens
`<think>`. It is good but deliberately not perfect, and knows nothing but the tasks below: use it to test a pipeline,
for nothing else.

## Result
Greedy exact match of the final `\\boxed{{}}` answer on {scored:,} held-out problems: **{accuracy:.1%}**,
{mean_answer_tokens} tokens an answer. Scored in float32 on the bf16 weights that are saved here. The two hardest
tasks, gcd and power, are drawn twice as often as the others.

{table}

## How it was made
    python -m pipelines.train_reference --minutes {minutes:g} --seed {seed}

- Data: {items:,} generated problems of seven kinds with worked steps (`data/tasks.py`), seeds {seed} and following. A
  question whose sorted numbers hash into one eighth of all values is never trained on; evaluation draws from that
  eighth only, and so do Assay's own data sets.
- Training: from scratch, {steps:,} steps of AdamW in bf16 autocast, loss on the solutions only; final loss {loss}.
  {tokens_per_s:,} tokens a second on one {machine}, torch {torch}; {wall_s} s in all, data and evaluation included.
"""


def table(facts: dict[str, Any]) -> str:
    """Accuracy by task, and by level within it, as a Markdown table."""
    lines = ["| task | level | exact match |", "| --- | --- | --- |"]
    for name, accuracy in facts["by_task"].items():
        task, _, level = name.partition(" ")
        lines.append(f"| {task} | {level or '**all**'} | {accuracy:.1%} |")
    lines.append(f"| **all** | | **{facts['accuracy']:.1%}** |")
    return "\n".join(lines)


def render(facts: dict[str, Any]) -> str:
    """The model card as Markdown."""
    return CARD.format(table=table(facts), **facts)

"""Broken versions planted among healthy ones: which gate stops each? Exit code 1 where one is judged wrongly.

    python -m rehearsal.planted
    python -m rehearsal.planted --params params.real.yaml     # another model, its questions and its gates

Each is judged by the evaluation as it is, with the items and limits of params, on the torch runtime: a copy of the
model with other weights or settings, or the runtime with a fault in it. To be stopped is to fail a gate, not to be
undecided. Minutes on a quiet machine, most of them for the two healthy ones: broken ones fail after few items.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from core import cli, params
from core.errors import RuntimeFault
from core.params import Section, Seed
from core.progress import say
from data import items, splits
from data.params import DataParams
from evaluation import plan, run, systems
from evaluation.params import EvaluateParams, GenerationParams
from evaluation.records import Evaluation
from evaluation.systems import System
from host.params import MachineParams
from models import manifest, tokenizer, tokenizer_identity
from models.params import ModelParams, Recipe
from runtimes import Generation, Logits, Runtime, TokenIds
from selection.gates import Evidence, drift, limits
from selection.params import SelectParams

if TYPE_CHECKING:
    import torch

Weights = dict[str, "torch.Tensor"]
WEIGHTS = "model.safetensors"
KEPT_SHARE = 4  # a quarter of the usual prompt: half of it may be no more than a chat template's own words
CHUNK_ITEMS = 64  # a look after fewer items than params say: most faults show in the first


class Settings(Section):
    seed: Seed
    model: ModelParams
    data: DataParams
    machine: MachineParams
    generation: GenerationParams
    evaluate: EvaluateParams
    select: SelectParams


@dataclass(frozen=True)
class Judged:
    """What became of one version. `stopped_by`: gates that failed, `undecided`: those that were inconclusive."""

    version: str
    is_broken: bool
    stopped_by: list[str]
    undecided: list[str]
    figures: str
    items: int

    @property
    def is_right(self) -> bool:
        return bool(self.stopped_by) if self.is_broken else not (self.stopped_by or self.undecided)


def _zeroed_layer(weights: Weights, config: Mapping[str, Any]) -> None:
    """The middle layer adds nothing to what it is given."""
    layer = f"model.layers.{config['num_hidden_layers'] // 2}."
    for name in ("self_attn.o_proj.weight", "mlp.down_proj.weight"):
        weights[layer + name].zero_()


def _shuffled_heads(weights: Weights, config: Mapping[str, Any]) -> None:
    """In every layer the heads' queries move on by one head, as in a converter with another order of heads."""
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    for name in weights:
        if ".q_proj." in name:
            weights[name] = weights[name].roll(head_dim, 0)


def _rounded(bits: int, *, by_channel: bool) -> Callable[[Weights, Mapping[str, Any]], None]:
    """Every matrix to the nearest of 2^bits levels, with one scale or one an output channel: no compensation."""

    def change(weights: Weights, config: Mapping[str, Any]) -> None:
        top = 2 ** (bits - 1) - 1
        for name, values in weights.items():
            if values.ndim == 2:
                largest = values.float().abs().amax(1, keepdim=True)
                scale = (largest if by_channel else largest.max()).clamp(min=1e-12) / top
                weights[name] = ((values.float() / scale).round() * scale).to(values.dtype)

    return change


def _swapped_end(folder: Path) -> None:
    """Another token ends an answer: the one before it in the vocabulary."""
    for name in ("config.json", "generation_config.json"):
        found = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(found | {"eos_token_id": found["eos_token_id"] - 1}))


def _reweighted(change: Callable[[Weights, Mapping[str, Any]], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / WEIGHTS)
        change(weights, json.loads((folder / "config.json").read_text()))
        save_file({name: values.contiguous() for name, values in weights.items()}, folder / WEIGHTS, {"format": "pt"})

    return edit


class TruncatedContext:
    """A runtime that sees the last `kept` tokens of a prompt. `prompts` are all that it will be asked."""

    def __init__(self, healthy: Runtime, prompts: Sequence[TokenIds]) -> None:
        self.name, self.version, self.close = healthy.name, healthy.version, healthy.close
        self._healthy, self._prompts = healthy, {tuple(prompt) for prompt in prompts}
        self.kept = int(statistics.median(map(len, prompts))) // KEPT_SHARE

    def generate(self, prompts: Sequence[TokenIds], max_tokens: int, **options: Any) -> list[Generation]:
        return self._healthy.generate([prompt[-self.kept :] for prompt in prompts], max_tokens, **options)

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Of tokens that it does not see, those of the first that it does."""
        import numpy as np

        lost = [max(0, self._prompt_tokens(sequence) - self.kept) for sequence in sequences]
        seen = self._healthy.logits([one[cut:] for one, cut in zip(sequences, lost, strict=True)])
        return [np.concatenate([one[:1].repeat(cut, 0), one]) for one, cut in zip(seen, lost, strict=True)]

    def _prompt_tokens(self, sequence: TokenIds) -> int:
        whole = tuple(sequence)
        return next((end for end in range(len(whole), 0, -1) if whole[:end] in self._prompts), 0)


class StaleCache:
    """A runtime whose KV cache holds, in the place of each new token, what the token before it left there."""

    def __init__(self, healthy: Runtime) -> None:
        self.name, self.version = healthy.name, healthy.version
        self.logits, self.close, self._healthy = healthy.logits, healthy.close, healthy

    def generate(self, prompts: Sequence[TokenIds], max_tokens: int, **options: Any) -> list[Generation]:
        from runtimes import torch

        class StaleLayer(torch.GrowingLayer):
            def update(self, key_states: Any, value_states: Any, *rest: object, **named: object) -> Any:
                keys, values = super().update(key_states, value_states)
                if key_states.shape[-2] == 1:
                    for states in (keys, values):
                        states[:, :, -1] = states[:, :, -2]
                return keys, values

        with mock.patch.object(torch, "GrowingLayer", StaleLayer):
            return self._healthy.generate(prompts, max_tokens, **options)


# name → whether it is broken, and the fault: in a copy of the model's folder, or around the runtime.
EDITED: dict[str, tuple[bool, Callable[[Path], None]]] = {
    "zeroed layer": (True, _reweighted(_zeroed_layer)),
    "shuffled heads": (True, _reweighted(_shuffled_heads)),
    "swapped end token": (True, _swapped_end),
    "4-bit round-to-nearest": (True, _reweighted(_rounded(4, by_channel=False))),
    "8-bit round-to-nearest": (False, _reweighted(_rounded(8, by_channel=True))),
    "untouched": (False, lambda folder: None),
}
WRAPPED: dict[str, Callable[[Runtime, Sequence[TokenIds]], Runtime]] = {
    "truncated context": TruncatedContext,
    "stale KV cache": lambda healthy, prompts: StaleCache(healthy),
}


def judge(settings: Settings, work: Path) -> list[Judged]:
    """Every version on the items of params. `work`: an empty folder, for the answers and a version at a time."""
    model, threads = Path(settings.model.source), settings.machine.threads
    words = tokenizer.load(model)
    confirm = settings.evaluate.many_recipes == "confirm"
    dealt = splits.split(settings.data, splits.options(settings.data), settings.seed, confirm)
    rows = items.tokenize(dealt["evaluation"], words)
    prompts = [row.prompt_ids for row in rows]

    evaluate = settings.evaluate.model_copy(update={"chunk_items": CHUNK_ITEMS})
    reference = systems.original(model, threads)

    def measure(name: str, is_broken: bool, folder: Path, wrap: Callable[[Runtime], Runtime]) -> Judged:
        from runtimes import torch

        healthy = torch.load(folder, threads)
        facts = reference.facts | {"planted": name}
        variant = System(name, "torch", manifest.source_digest(folder), facts, lambda: wrap(healthy))
        recipe = Recipe(quantizer="none", runtime="torch", options={"planted": name})
        asked = plan.make(
            name, recipe, evaluate, settings.generation, settings.seed, model, reference.sha256, "evaluate"
        )
        found, _ = run.compare(asked, reference, variant, rows, [], words, work / "cache")
        variant.close()
        result = _result(name, is_broken, found, settings.select)
        say(f"planted: {result}")
        return result

    done = [wrong_tokenizer(model, words, work)]
    for name, fault in WRAPPED.items():
        done.append(measure(name, True, model, lambda healthy, fault=fault: fault(healthy, prompts)))  # type: ignore[misc]
    for name, (is_broken, edit) in EDITED.items():
        folder = _copy(model, work / "version")
        edit(folder)
        done.append(measure(name, is_broken, folder, lambda healthy: healthy))
    reference.close()
    return done


def _copy(model: Path, folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return Path(shutil.copytree(model, folder))


def wrong_tokenizer(model: Path, words: tokenizer.Tokenizer, work: Path) -> Judged:
    """Two tokens of the vocabulary change places after the version was made; engines get ids and would not notice."""
    folder = _copy(model, work / "version")
    tokenizer_identity.hold(model, folder, [])
    tokenizer_identity.verify(folder)
    first, second = list(dict.fromkeys(words.encode("well yes")))[:2]
    path = folder / "tokenizer.json"
    found = json.loads(path.read_text())
    table = found["model"]["vocab"]
    one, other = (next(text for text, number in table.items() if number == which) for which in (first, second))
    table[one], table[other] = second, first
    path.write_text(json.dumps(found))
    try:
        tokenizer_identity.verify(folder)
    except RuntimeFault as error:
        return Judged("wrong tokenizer", True, ["tokenizer_identity"], [], str(error).partition(": ")[2][:60], 0)
    return Judged("wrong tokenizer", True, [], [], "loaded", 0)


def _result(name: str, is_broken: bool, found: Evaluation, select: SelectParams) -> Judged:
    evidence = Evidence(name, "torch", found.manifest_sha256, None, found, None)
    gates = [result for gate in (drift, limits) for result in gate.judge(evidence, [evidence], select)]
    by_name = {metric.name: metric.value for metric in found.metrics}
    shown = [f"{found.delta_points.value:+.1f} points" if found.delta_points else "no difference"]
    for key, label in (("perplexity_ratio", "perplexity"), ("top1_agreement", "top-1"), ("truncated", "cut off")):
        if (value := by_name.get(key)) is not None:
            shown.append(f"{label} {value:.3g}")
    return Judged(
        version=name,
        is_broken=is_broken,
        stopped_by=[gate.gate for gate in gates if gate.verdict == "fail"],
        undecided=[gate.gate for gate in gates if gate.verdict == "inconclusive"],
        figures=", ".join(shown),
        items=found.items,
    )


def table(done: Sequence[Judged]) -> str:
    """Markdown, a row for each version."""
    lines = ["| version | failed | undecided | figures | items | as it should |", "|---|---|---|---|---|---|"]
    for one in done:
        gates = [", ".join(names) or "-" for names in (one.stopped_by, one.undecided)]
        right = "yes" if one.is_right else "NO"
        lines.append(f"| {one.version} | {gates[0]} | {gates[1]} | {one.figures} | {one.items:,} | {right} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=params.PARAMS_FILE, metavar="FILE")
    asked = parser.parse_args()
    settings = params.load(Settings, asked.params)
    with tempfile.TemporaryDirectory(prefix="assay-planted-") as temporary:
        work = Path(temporary)
        os.environ["ASSAY_ATTEMPTS"] = str(work / "attempts")  # these are no attempts at a recipe of the project
        done = judge(settings, work)
    print(table(done))
    return 0 if all(one.is_right for one in done) else 1


if __name__ == "__main__":
    cli.run(main)

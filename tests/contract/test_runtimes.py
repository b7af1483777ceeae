"""Every runtime against one contract: the tokens of transformers' own greedy generate, and torch's logits.

Sampled tokens are those that `runtimes.sampling` draws from transformers' logits with the same seeds.

A runtime joins by one line in `BUILDERS`: how to make the folder that it loads from a model's folder.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import plugins
from core.errors import RequestError
from export import fused
from runtimes import Generation, Runtime, Sampling
from runtimes.sampling import candidates, sampler

THREADS = 2
MAX_TOKENS = 24
PROMPT_LENGTHS = (9, 3, 14, 1, 6)
DRAWN = (Sampling(0.8), Sampling(1.0, 0.9), Sampling(0.7, top_k=20), Sampling(1.5, 0.8, top_k=50))
LOGIT_TOLERANCE = 1e-3  # absolute, of logits whose largest is about 30, in float32


def _fused(model_folder: Path, folder: Path) -> Path:
    fused.export(model_folder, folder, THREADS)
    return folder


# Name of a runtime → (model's folder, empty folder) → the folder to load.
BUILDERS: dict[str, Callable[[Path, Path], Path]] = {"torch": lambda model_folder, _: model_folder, "ort": _fused}


@dataclass
class Case:
    runtime: Runtime
    model: Any  # transformers' model: the oracle
    prompts: list[list[int]]
    ends: set[int]
    known: dict[tuple[int, ...], tuple[tuple[int, ...], bool]] = field(default_factory=dict)

    def expected(self, prompt: list[int]) -> tuple[tuple[int, ...], bool]:
        """What greedy `generate` gives for one prompt alone, without its end token, and whether that came."""
        if tuple(prompt) not in self.known:
            self.known[tuple(prompt)] = self._generate(prompt)
        return self.known[tuple(prompt)]

    def drawn(self, prompt: list[int], sampling: Sampling) -> Generation:
        """What the seed draws from the model's own logits, one token at a time over the whole sequence."""
        import torch

        choose = sampler(sampling)
        assert choose is not None
        tokens: list[int] = []
        while len(tokens) < MAX_TOKENS:
            with torch.inference_mode():
                logits = self.model(torch.tensor([prompt + tokens])).logits[0, -1].numpy()
            token = choose(logits)
            if token in self.ends:
                return Generation(tuple(tokens), finished=True)
            tokens.append(token)
        return Generation(tuple(tokens), finished=False)

    def _generate(self, prompt: list[int]) -> tuple[tuple[int, ...], bool]:
        import torch

        ids = torch.tensor([prompt])
        mask = torch.ones_like(ids)
        output = self.model.generate(ids, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=False)
        tokens = output[0, len(prompt) :].tolist()
        end = next((index for index, token in enumerate(tokens) if token in self.ends), None)
        return tuple(tokens[:end]), end is not None


@pytest.fixture(
    scope="module", params=[(name, family) for name in BUILDERS for family in ("qwen2", "llama")], ids=str
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    import torch
    from transformers import AutoModelForCausalLM

    name, family = request.param
    original: Path = request.getfixturevalue(f"tiny_{family}")
    rng = np.random.default_rng(5)
    model = AutoModelForCausalLM.from_pretrained(original, dtype=torch.float32)
    prompts = [rng.integers(7, model.config.vocab_size, length).tolist() for length in PROMPT_LENGTHS]
    ends = {2, fourth_token(model, prompts[0])}  # a random model seldom stops by itself
    folder = with_ends(original, tmp_path_factory.mktemp("model") / family, ends)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    built = BUILDERS[name](folder, tmp_path_factory.mktemp("built"))
    runtime: Runtime = plugins.load("runtimes", name).load(built, THREADS)
    yield Case(runtime, model, prompts, ends)
    runtime.close()
    runtime.close()  # the contract: twice is fine


def fourth_token(model: Any, prompt: list[int]) -> int:
    import torch

    output = model.generate(torch.tensor([prompt]), max_new_tokens=4, min_new_tokens=4, do_sample=False)
    return int(output[0, -1])


def with_ends(original: Path, folder: Path, ends: set[int]) -> Path:
    shutil.copytree(original, folder)
    for name in ("config.json", "generation_config.json"):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**content, "eos_token_id": sorted(ends)}))
    return folder


def test_it_names_itself(case: Case) -> None:
    assert case.runtime.name in BUILDERS
    assert case.runtime.version[0].isdigit()


def test_each_prompt_alone_gives_the_tokens_of_transformers(case: Case) -> None:
    for prompt in case.prompts:
        [answer] = case.runtime.generate([prompt], MAX_TOKENS)
        assert (answer.token_ids, answer.finished) == case.expected(prompt)


def test_a_batch_gives_what_each_prompt_gives_alone_in_order(case: Case) -> None:
    answers = case.runtime.generate(case.prompts, MAX_TOKENS)
    assert [(answer.token_ids, answer.finished) for answer in answers] == [case.expected(p) for p in case.prompts]
    assert {answer.finished for answer in answers} == {True, False}, "the case must have both kinds"


def test_a_large_batch_gives_the_same(case: Case) -> None:
    rng = np.random.default_rng(6)
    prompts = [rng.integers(7, 290, length).tolist() for length in rng.integers(1, 20, 32)]
    answers = case.runtime.generate(prompts, MAX_TOKENS)
    assert [(answer.token_ids, answer.finished) for answer in answers] == [case.expected(p) for p in prompts]


def test_max_tokens_is_a_limit(case: Case) -> None:
    for limit in (1, 2, 5):
        for answer, prompt in zip(case.runtime.generate(case.prompts, limit), case.prompts, strict=True):
            tokens, finished = case.expected(prompt)
            assert answer.token_ids == tokens[:limit]
            assert answer.finished == (finished and len(tokens) < limit)


def test_ignore_eos_gives_exactly_max_tokens(case: Case) -> None:
    answers = case.runtime.generate(case.prompts, MAX_TOKENS, ignore_eos=True)
    assert [len(answer.token_ids) for answer in answers] == [MAX_TOKENS] * len(case.prompts)
    assert not any(answer.finished for answer in answers)


def test_on_step_is_called_once_for_each_token_of_the_batch(case: Case) -> None:
    steps: list[int] = []
    answers = case.runtime.generate(case.prompts, MAX_TOKENS, on_step=steps.append)
    assert steps == list(range(max(len(answer.token_ids) + answer.finished for answer in answers)))
    steps.clear()
    case.runtime.generate(case.prompts, 7, ignore_eos=True, on_step=steps.append)
    assert steps == list(range(7))


def test_a_finished_batch_stops_early(case: Case) -> None:
    stopping = next(prompt for prompt in case.prompts if case.expected(prompt)[1])
    steps: list[int] = []
    [answer] = case.runtime.generate([stopping], MAX_TOKENS, on_step=steps.append)
    assert len(steps) == len(answer.token_ids) + 1 < MAX_TOKENS


def test_logits_are_those_of_transformers(case: Case) -> None:
    import torch

    for prompt, logits in zip(case.prompts, case.runtime.logits(case.prompts), strict=True):
        assert logits.dtype == np.float32
        assert logits.shape == (len(prompt), case.model.config.vocab_size)
        with torch.inference_mode():
            wanted = case.model(torch.tensor([prompt])).logits[0].numpy()
        np.testing.assert_allclose(logits, wanted, atol=LOGIT_TOLERANCE, rtol=0)


def with_special_ids(case: Case) -> list[list[int]]:
    """Prompts with what a batch may be padded with: pad, begin and end tokens, in the middle, last, and alone."""
    [long, short, *_] = case.prompts
    marks = [0, 1, *sorted(case.ends)]
    return [long, *([*short, mark] for mark in marks), *([mark] * 5 for mark in marks), [0, *long[:4], 0, 0]]


def test_padding_is_not_found_by_its_value(case: Case) -> None:
    import torch

    prompts = with_special_ids(case)
    answers = case.runtime.generate(prompts, MAX_TOKENS)
    assert [(answer.token_ids, answer.finished) for answer in answers] == [case.expected(p) for p in prompts]
    for prompt, logits in zip(prompts, case.runtime.logits(prompts), strict=True):
        with torch.inference_mode():
            wanted = case.model(torch.tensor([prompt])).logits[0].numpy()
        np.testing.assert_allclose(logits, wanted, atol=LOGIT_TOLERANCE, rtol=0)


def test_an_id_without_a_row_is_refused_by_name_and_the_next_prompt_is_answered(case: Case) -> None:
    rows = case.model.config.vocab_size
    for wrong in (-1, rows, 2**31):
        for ask in (lambda prompts: case.runtime.generate(prompts, 2), case.runtime.logits):
            with pytest.raises(RequestError, match=rf"^sequence 1: token id {wrong} is outside the {rows} embedding"):
                ask([case.prompts[0], [5, wrong, 5]])
    with pytest.raises(RequestError, match="sequence 0 has no tokens"):
        case.runtime.generate([[], [5]], 2)
    [answer] = case.runtime.generate([case.prompts[0]], MAX_TOKENS)
    assert (answer.token_ids, answer.finished) == case.expected(case.prompts[0])


def seeded(sampling: Sampling, first: int, count: int) -> list[Sampling]:
    return [replace(sampling, seed=first + index) for index in range(count)]


@pytest.mark.parametrize("sampling", DRAWN, ids=str)
def test_a_seed_draws_the_same_alone_and_in_any_batch(case: Case, sampling: Sampling) -> None:
    prompts = [*case.prompts, case.prompts[0]]  # one of them twice, with another seed
    asked = seeded(sampling, 5, len(prompts))
    wanted = [case.drawn(prompt, one) for prompt, one in zip(prompts, asked, strict=True)]
    assert len({answer.token_ids[:4] for answer in (wanted[0], wanted[-1])}) == 2, "another seed, another answer"
    assert case.runtime.generate(prompts, MAX_TOKENS, sampling=asked) == wanted
    assert case.runtime.generate(prompts[::-1], MAX_TOKENS, sampling=asked[::-1]) == wanted[::-1]
    for prompt, one, answer in zip(prompts[:2], asked, wanted, strict=False):
        assert case.runtime.generate([prompt], MAX_TOKENS, sampling=[one]) == [answer]


def test_the_likeliest_token_alone_and_temperature_zero_are_greedy(case: Case) -> None:
    """Also beside a prompt whose answer is drawn."""
    greedy = [case.runtime.generate([prompt], MAX_TOKENS)[0] for prompt in case.prompts]
    asked = [Sampling(2.0, top_k=1), Sampling(), Sampling(1.0, 1e-9), Sampling(2.0, 1.0, 7), Sampling(0.5, top_k=1)]
    answers = case.runtime.generate(case.prompts, MAX_TOKENS, sampling=asked)
    same = [one == other for one, other in zip(answers, greedy, strict=True)]
    assert same == [True, True, True, False, True]


def test_first_tokens_come_as_often_as_they_should(case: Case) -> None:
    import torch
    from scipy import stats

    sampling, draws, batch = Sampling(0.8, 0.9, top_k=6), 1600, 16
    with torch.inference_mode():
        logits = case.model(torch.tensor([case.prompts[0]])).logits[0, -1].numpy()
    ids, weights = candidates(logits, sampling)
    assert 3 <= len(ids) <= 6
    assert not set(ids) & case.ends, "an end token would not be seen"
    seen = [
        answer.token_ids[0]
        for start in range(0, draws, batch)
        for answer in case.runtime.generate([case.prompts[0]] * batch, 1, sampling=seeded(sampling, start, batch))
    ]
    assert set(seen) <= set(ids.tolist())
    counts = [seen.count(token) for token in ids.tolist()]
    assert stats.chisquare(counts, draws * weights / weights.sum()).pvalue > 0.001


def test_drawing_with_ignore_eos_gives_exactly_max_tokens_and_each_prompt_needs_its_sampling(case: Case) -> None:
    asked = seeded(Sampling(1.0), 0, len(case.prompts))
    answers = case.runtime.generate(case.prompts, MAX_TOKENS, sampling=asked, ignore_eos=True)
    assert [len(answer.token_ids) for answer in answers] == [MAX_TOKENS] * len(case.prompts)
    with pytest.raises(ValueError, match="5 prompts with 4 samplings"):
        case.runtime.generate(case.prompts, 2, sampling=asked[1:])

"""What the runtime `vllm` makes of vLLM's outputs, with vLLM scripted; the real one: contract/test_vllm_on_gpu.py."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.normalizers import NFC

from core.errors import RequestError, RuntimeFault
from models import manifest, tokenizer_identity
from models.params import Recipe
from models.vllm_settings import EngineSettings
from runtimes import Event, Generation, Sampling, vllm

END = 2  # of tests/tiny.py's models


class Scripted:
    """vLLM's engine: one token a step for each request, from `script`, until it ends or its limit is reached."""

    model_config = SimpleNamespace(max_model_len=32)
    vllm_config = SimpleNamespace(scheduler_config=SimpleNamespace(max_num_seqs=3))

    def __init__(self, script: list[int]) -> None:
        self.script, self.requests, self.aborted = script, {}, []  # type: ignore[var-annotated]
        self.asked: list[dict[str, Any]] = []

    def add_request(self, name: str, prompt: list[int], options: dict[str, Any]) -> None:
        self.asked.append(dict(options))
        self.requests[name] = (options, iter(self.script[: options["max_tokens"]]))

    def has_unfinished_requests(self) -> bool:
        return bool(self.requests)

    def abort_request(self, names: list[str]) -> None:
        self.aborted += names

    def step(self) -> list[Any]:
        outputs = []
        for name, (options, tokens) in list(self.requests.items()):
            token = next(tokens)
            options["made"] = options.get("made", 0) + 1
            limit = options["made"] == options["max_tokens"]  # vLLM looks at the limit first
            finished = limit or token in options["stop_token_ids"]
            if finished:
                del self.requests[name]
            part = SimpleNamespace(token_ids=[token], finish_reason="length" if limit else "stop")
            outputs.append(SimpleNamespace(request_id=name, outputs=[part], finished=finished))
        return outputs


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tiny_qwen2: Path, tmp_path: Path) -> tuple[Scripted, Path]:
    kinds = SimpleNamespace(DELTA="delta", FINAL_ONLY="final")
    contents: dict[str, tuple[str, Any]] = {
        "vllm": ("SamplingParams", dict),
        "vllm.inputs": ("tokens_input", list),
        "vllm.sampling_params": ("RequestOutputKind", kinds),
    }
    for name, content in contents.items():
        module = ModuleType(name)
        setattr(module, *content)
        monkeypatch.setitem(sys.modules, name, module)
    found = Scripted([11, 12, END, 13])
    monkeypatch.setattr(vllm, "_start", lambda folder, threads, **changed: found)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0")
    recipe = Recipe(quantizer="none", runtime="vllm")
    manifest.write(tmp_path, variant="v", recipe=recipe, model_folder=tiny_qwen2, facts={}, libraries=())
    return found, tmp_path


def test_the_end_token_is_no_part_of_a_completion(scripted: tuple[Scripted, Path]) -> None:
    runtime = vllm.load(scripted[1], 1)
    steps: list[int] = []
    assert runtime.generate([[5], [6, 7]], 4, on_step=steps.append) == [Generation((11, 12), finished=True)] * 2
    assert steps == [0, 1, 2]
    assert runtime.generate([[5]], 4, ignore_eos=True) == [Generation((11, 12, END, 13), finished=False)]
    with pytest.raises(RuntimeFault, match="exceed the engine's context of 32"):
        runtime.generate([[5]], 32)


def test_each_request_is_drawn_with_its_own_settings_and_seed(scripted: tuple[Scripted, Path]) -> None:
    runtime, engine = vllm.load(scripted[1], 1), vllm.engine(scripted[1], 1, 16)
    how = [Sampling(0.6, 0.95, 7, top_k=20), Sampling(0.6, 0.95, 8)]
    assert len(runtime.generate([[5], [6, 7]], 4, sampling=how)) == 2
    runtime.generate([[5]], 4)
    engine.submit([5], 4, how[0])
    names = ("temperature", "top_p", "top_k", "seed")
    asked = [tuple(options[name] for name in names) for options in scripted[0].asked]
    assert asked == [(0.6, 0.95, 20, 7), (0.6, 0.95, 0, 8), (0.0, 1.0, 0, None), (0.6, 0.95, 20, 7)]
    with pytest.raises(ValueError, match="zip"):
        runtime.generate([[5], [6, 7]], 4, sampling=how[:1])


def test_no_id_without_a_row_reaches_the_engine(scripted: tuple[Scripted, Path]) -> None:
    runtime, engine = vllm.load(scripted[1], 1), vllm.engine(scripted[1], 1, 16)
    for wrong, why in (([5, 294], "outside the 294 embedding rows"), ([-1], "outside"), ([], "no tokens")):
        with pytest.raises(RequestError, match=why):
            runtime.generate([wrong], 4)
        with pytest.raises(RequestError, match=why):
            runtime.logits([wrong])
        with pytest.raises(RequestError, match=why):
            engine.submit(wrong, 4, Sampling())
    assert not scripted[0].requests


@pytest.mark.parametrize("reader", ["", tokenizer_identity.FOR_TRANSFORMERS])
def test_the_tokenizers_of_its_environment_are_compared_before_it_loads(
    reader: str, tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ids that the version keeps: vLLM's environment has tokenizers and transformers of its own."""
    shutil.copy(tiny_qwen2 / "config.json", tmp_path)
    tokenizer_identity.adopt(tiny_qwen2, tmp_path)
    tokenizer_identity.hold(tiny_qwen2, tmp_path, [])
    facts = {"engine": EngineSettings().model_dump()}
    recipe = Recipe(quantizer="none", runtime="vllm")
    manifest.write(tmp_path, variant="v", recipe=recipe, model_folder=tiny_qwen2, facts=facts, libraries=())
    started: list[object] = []
    loader = SimpleNamespace(from_engine_args=lambda arguments, **_: started.append(arguments))
    for name, content in {"vllm": ("EngineArgs", dict), "vllm.v1.engine.llm_engine": ("LLMEngine", loader)}.items():
        module = ModuleType(name)
        setattr(module, *content)
        monkeypatch.setitem(sys.modules, name, module)
    vllm._start(tmp_path, 1)
    assert len(started) == 1
    path = str(tmp_path / reader / "tokenizer.json")
    core = Tokenizer.from_file(path)
    core.normalizer = NFC()
    core.save(path)
    with pytest.raises(RuntimeFault, match=r"makes \d+ ids of 'cafe\\u0301.*: install the tokenizers"):
        vllm._start(tmp_path, 1)
    assert len(started) == 1


@pytest.mark.parametrize(("limit", "last"), [(2, Event(0, 12, "length")), (3, Event(0, None, "stop"))])
def test_an_end_token_stops_also_as_the_last_one_allowed(
    scripted: tuple[Scripted, Path], limit: int, last: Event
) -> None:
    engine = vllm.engine(scripted[1], 1, 16)
    assert engine.max_batch == 3, "as the version's settings say"
    engine.submit([5], limit, Sampling())
    events = [event for _ in range(limit) for event in engine.step()]
    assert events == [*[Event(0, token) for token in (11, 12)][: limit - 1], last]
    assert engine.step() == []


def test_nothing_follows_a_cancelled_request(scripted: tuple[Scripted, Path]) -> None:
    engine = vllm.engine(scripted[1], 1, 16)
    kept, cancelled = engine.submit([5], 4, Sampling()), engine.submit([5], 4, Sampling())
    engine.cancel(cancelled)
    engine.cancel(cancelled)
    assert scripted[0].aborted == [str(cancelled)]
    assert {event.handle for event in engine.step()} == {kept}

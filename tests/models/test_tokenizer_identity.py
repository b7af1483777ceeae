"""Whatever a converter wrote, a version has the original's tokenizer, and another one is a failed recipe."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Core
from transformers import AutoTokenizer

from core import cli, paths
from core.errors import QuantizationError, RuntimeFault
from data import items
from data.records import Item
from models import families, manifest, tokenizer, tokenizer_identity
from models.params import Recipe
from quantizers import Context, none
from quantizers.parts import version
from stages import quantize
from tests import tiny
from tests.report import project

QUESTIONS = ("What is 123456 + 789?", "Is cafe\u0301 a word?", "<think>\n  12 </think> 👩\u200d👧")


@pytest.fixture(scope="module")
def own_rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen2 model whose tokenizer.json has rules of its own: digits in threes from the right, text as it is."""
    words = tiny.tokenizer(digits=r"\d{1,3}(?=(\d{3})*\b)", text="123456 + 789 cafe\u0301")
    return tiny.make(tmp_path_factory.mktemp("own"), "qwen2", words=words)


@pytest.fixture
def context(own_rules: Path, tmp_path: Path) -> Context:
    """What the stages before quantize leave, without graphs: prompts in two splits."""
    words = tokenizer.load(own_rules)
    for split, questions in (("calibration", QUESTIONS[:2]), ("evaluation", QUESTIONS[2:])):
        asked = [
            Item(id=question, suite="s", kind="jsonl", task="t", question=question, answer="1")
            for question in questions
        ]
        items.save(tmp_path / "data", split, items.tokenize(asked, words))
    return Context(own_rules, tmp_path / "export", tmp_path / "calibration", tmp_path / "data", 1, 0)


def converted(model_folder: Path, folder: Path) -> str:
    """What every converter does: config.json, and the tokenizer as AutoTokenizer has it, saved again."""
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    (folder / "vocab.json").write_text("{}")
    shutil.copy(model_folder / "config.json", folder)
    return "by a converter"


def finish(context: Context, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    version.finish("v", Recipe(quantizer="none", runtime="ort"), context, folder, {})


def source(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in tokenizer_identity.FILES if (folder / name).exists()}


def test_a_converter_that_changes_the_rules_is_what_this_is_about(own_rules: Path) -> None:
    theirs, ours = AutoTokenizer.from_pretrained(own_rules), tokenizer.load(own_rules)
    for text in QUESTIONS[:2]:
        assert theirs(text, add_special_tokens=False)["input_ids"] != ours.encode(text)


def test_the_files_are_the_originals_whatever_a_converter_wrote(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    converted(context.model_folder, folder)
    assert source(folder) != source(context.model_folder)
    finish(context, folder)
    assert source(folder) == source(context.model_folder)
    assert not (folder / "vocab.json").exists(), "a file that the original does not have"
    listed = manifest.verify(folder).files
    assert {"tokenizer.json", tokenizer_identity.KEPT, "tokenizer/tokenizer.json"} <= set(listed)


def test_the_ids_are_the_originals_for_every_reader(context: Context, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    converted(context.model_folder, folder)
    finish(context, folder)
    original, served = tokenizer.load(context.model_folder), tokenizer.load(folder)
    beside = AutoTokenizer.from_pretrained(folder / tokenizer_identity.FOR_TRANSFORMERS)
    for text in (*QUESTIONS, *tokenizer_identity.ODD_TEXTS):
        assert served.encode(text) == original.encode(text)
        assert beside(text, add_special_tokens=False)["input_ids"] == original.encode(text)
    chat: list[dict[str, Any]] = [{"role": "user", "content": QUESTIONS[0]}]
    rendered = beside.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert rendered == served.render(chat) == original.render(chat)
    assert served.rows == original.rows == families.read(context.model_folder).vocabulary


def digits_alone(core: Core) -> Core:
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    return core


def composed(core: Core) -> Core:
    core.normalizer = normalizers.NFC()
    return core


def single_blanks(core: Core) -> Core:
    core.normalizer = normalizers.Replace(Regex(" +"), " ")
    return core


def no_thoughts(core: Core) -> Core:
    settings = json.loads(core.to_str())
    settings["added_tokens"] = [token for token in settings["added_tokens"] if token["content"] != "<think>"]
    return Core.from_str(json.dumps(settings))


FAULTS: list[Callable[[Core], Core]] = [digits_alone, composed, single_blanks, no_thoughts]


@pytest.mark.parametrize("where", ["", tokenizer_identity.FOR_TRANSFORMERS])
@pytest.mark.parametrize("fault", FAULTS)
def test_another_tokenizer_is_refused_with_the_text_and_both_lists(
    fault: Callable[[Core], Core], where: str, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a file had not been put in its place, or a library read it otherwise."""
    adopt = tokenizer_identity.adopt

    def spoil(model_folder: Path, folder: Path) -> None:
        adopt(model_folder, folder)
        path = str(folder / where / "tokenizer.json")
        fault(Core.from_file(path)).save(path)

    monkeypatch.setattr(tokenizer_identity, "adopt", spoil)
    folder = tmp_path / "version"
    converted(context.model_folder, folder)
    reader = r"AutoTokenizer \(vLLM's own server\)" if where else "this project's tokenizer"
    with pytest.raises(
        QuantizationError,
        match=rf"^{reader} makes \d+ ids of '.*', the model's own \d+; from place \d+ on \[.+\] instead of \[.+\]:",
    ):
        finish(context, folder)
    assert not (folder / manifest.NAME).exists()


@pytest.mark.parametrize("split", ["calibration", "evaluation"])
def test_prompts_of_every_split_are_compared(split: str, context: Context, tmp_path: Path) -> None:
    """As if `prepare` had tokenized otherwise: the ids that were measured are not those that are served."""
    rows = items.load(context.data_folder, split)
    wrong = items.Prepared(rows[-1].item, (*rows[-1].prompt_ids, 7), (), rows[-1].prompt)
    items.save(context.data_folder, split, [*rows[:-1], wrong])
    with pytest.raises(
        QuantizationError,
        match=r"makes \d+ ids of '.*', the model's own \d+; from place \d+ on \[\] instead of \[7\]",
    ):
        finish(context, tmp_path / "version")


def test_a_server_with_other_libraries_says_so_before_it_serves(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "version"
    finish(context, folder)
    tokenizer_identity.verify(folder)
    real = tokenizer.Tokenizer.encode
    monkeypatch.setattr(tokenizer.Tokenizer, "encode", lambda self, text: real(self, text.replace("\u0301", "")))
    with pytest.raises(RuntimeFault, match=r"makes .* of 'cafe.*install the tokenizers and transformers"):
        tokenizer_identity.verify(folder)


def test_a_new_quantizer_gets_it_without_knowing(
    context: Context, own_rules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(none, "quantize", lambda context, options, folder: {"made": converted(own_rules, folder)})
    (context.export_folder / "fused").mkdir(parents=True)
    folder = tmp_path / "version"
    version.make("plain", Recipe(quantizer="none", runtime="ort"), context, folder)
    assert source(folder) == source(own_rules)


def test_a_difference_is_a_failed_recipe(tiny_qwen2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.build(tmp_path, tiny_qwen2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(cli.STRICT, raising=False)
    project.set_recipe(tmp_path, "plain", {"quantizer": "none", "runtime": "ort", "options": {}})
    (paths.EXPORT / "fused").mkdir(parents=True)
    asked = Item(id="i", suite="s", kind="jsonl", task="t", question="1 + 1?", answer="2")
    [row] = items.tokenize([asked], tokenizer.load(tiny_qwen2))
    items.save(paths.DATA, "benchmark", [items.Prepared(asked, row.prompt_ids[1:], (), row.prompt)])
    monkeypatch.setattr(none, "quantize", lambda context, options, folder: {})
    monkeypatch.setattr(sys, "argv", ["quantize", "plain"])
    quantize.main()
    failure = manifest.failure(paths.VARIANTS / "plain")
    assert failure is not None
    assert failure.error == "QuantizationError"
    assert "served other prompts than were measured" in failure.reason

"""One function from text to ids and back: nothing cut or padded, no id without a row, one text however it comes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from tokenizers import Tokenizer as Core

from core import paths
from core.errors import DataError
from models import families, tokenizer
from models.tokenizer import BROKEN, Stream, Tokenizer
from models.tokenizer_identity import ODD_TEXTS
from tests import tiny

REAL = paths.CACHE / "models" / "smollm2-135m-instruct"
TEXTS = st.text(max_size=40) | st.sampled_from(ODD_TEXTS) | st.text("ab 1 é😀👍🏽\n▁", max_size=20)
EXAMPLES = settings(max_examples=150, deadline=None)
FAMILY = "👩\u200d👩\u200d👧"  # an emoji of several characters, each of several bytes


@pytest.fixture(scope="module")
def llama2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(tmp_path_factory.mktemp("llama2"), "llama", words=tiny.llama2_tokenizer())


@pytest.fixture(
    scope="module", params=["byte-level", "llama2", "reference", pytest.param("smollm2", marks=pytest.mark.slow)]
)
def folder(request: pytest.FixtureRequest, tiny_qwen2: Path, llama2: Path) -> Path:
    folders = {"byte-level": tiny_qwen2, "llama2": llama2, "reference": Path("models/reference"), "smollm2": REAL}
    found = folders[request.param]
    if not found.is_dir():
        pytest.skip(f"{found} is not there: `make real` fetches it")
    return found


@pytest.fixture(scope="module")
def words(folder: Path) -> Tokenizer:
    return tokenizer.load(folder)


# ── text to ids ───────────────────────────────────────────────────────────────────────────────────────────────────
def saved_otherwise(folder: Path, to: Path) -> Path:
    """A copy of the model whose tokenizer.json was saved with truncation to 16 and padding to 32."""
    shutil.copytree(folder, to)
    core = Core.from_file(str(to / "tokenizer.json"))
    core.enable_truncation(16)
    core.enable_padding(length=32)
    core.save(str(to / "tokenizer.json"))
    return to


def test_ids_are_those_of_tokenizer_json_with_nothing_cut_or_padded(
    words: Tokenizer, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    core = Core.from_file(str(folder / "tokenizer.json"))
    copy = saved_otherwise(folder, tmp_path_factory.mktemp("saved") / "model")
    before = (copy / "tokenizer.json").read_bytes()
    otherwise = tokenizer.load(copy)

    @given(text=TEXTS)
    @EXAMPLES
    def check(text: str) -> None:
        ids = words.encode(text)
        assert ids == otherwise.encode(text) == core.encode(text, add_special_tokens=False).ids
        assert all(0 <= token < families.read(folder).vocabulary for token in ids)

    check()
    chat = [{"role": "user", "content": tokenizer.SAMPLE}]
    assert len(words.chat(chat)) > 32
    assert otherwise.chat(chat) == words.chat(chat) == words.encode(words.render(chat))
    assert (copy / "tokenizer.json").read_bytes() == before


def with_a_token_too_many(folder: Path, to: Path) -> Path:
    """A copy of the model whose tokenizer has `<|endoftext|>`, for which the embedding has no row."""
    shutil.copytree(folder, to)
    core = Core.from_file(str(to / "tokenizer.json"))
    core.add_tokens([AddedToken("<|endoftext|>", special=True)])
    core.save(str(to / "tokenizer.json"))
    return to


def test_no_id_without_a_row_leaves_the_tokenizer(tiny_qwen2: Path, tmp_path: Path) -> None:
    folder = with_a_token_too_many(tiny_qwen2, tmp_path / "model")
    words = tokenizer.load(folder)
    rows = words.rows
    assert rows == families.read(folder).vocabulary == len(tokenizer.load(tiny_qwen2).vocabulary)
    with pytest.raises(DataError, match=rf"^token id {rows} \('<\|endoftext\|>'\) is outside the model's {rows} "):
        words.encode("hello <|endoftext|>")
    with pytest.raises(DataError, match="outside"):
        words.chat([{"role": "user", "content": "<|endoftext|>"}])
    for wrong in (-1, rows, 2**40):
        with pytest.raises(DataError, match=f"token id {wrong} .*outside"):
            words.checked([3, wrong])
    assert words.checked([0, rows - 1]) == [0, rows - 1]
    with pytest.raises(DataError, match="belongs to another model"):
        tokenizer.check(folder, families.read(folder), "here")


def test_a_qwen2_model_without_pad_and_unknown_token_gets_none(tiny_qwen2: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_qwen2, folder)
    path = folder / "tokenizer_config.json"
    config: dict[str, Any] = json.loads(path.read_text())
    for name in ("pad_token", "unk_token"):
        config.pop(name, None)
    path.write_text(json.dumps(config | {"tokenizer_class": "Qwen2Tokenizer"}))
    tokenizer.check(folder, families.read(folder), "here")
    words = tokenizer.load(folder)
    assert words.decode(words.encode("<|endoftext|>")) == "<|endoftext|>"
    assert len(words.encode("<|endoftext|>")) > 1, "ordinary text"


def test_what_is_no_unicode_is_refused(words: Tokenizer) -> None:
    for text in ("\ud83d", "ok \udce9 ok", "\ude00\ud83d"):
        with pytest.raises(DataError, match="lone surrogate at character"):
            words.encode(text)


# ── ids to text ───────────────────────────────────────────────────────────────────────────────────────────────────
def prompt_text(words: Tokenizer, prompt: list[int], special: bool) -> str:
    """The prompt's text without a character that its last token leaves open."""
    found = words.decode(prompt, special).rstrip(BROKEN)
    for end in range(max(0, len(prompt) - 3), len(prompt) + 1):
        text = words.decode(prompt[:end], special)
        found = max(found, text.rstrip(BROKEN) if text.endswith(BROKEN) else text, key=len)
    return found


@pytest.mark.parametrize("special", [True, False])
def test_streamed_text_is_that_of_prompt_and_answer_decoded_at_once(words: Tokenizer, special: bool) -> None:
    bytes_alone = {token for name, token in words.vocabulary.items() if name.startswith("<0x")}
    anything = sorted(set(words.vocabulary.values()) - bytes_alone)  # bytes come as characters spell them

    @given(data=st.data(), text=TEXTS, more=TEXTS)
    @EXAMPLES
    def check(data: st.DataObject, text: str, more: str) -> None:
        ids = words.encode(text)
        assume(BROKEN not in words.decode(ids, special))  # a prompt is text; it may end within a character
        at = data.draw(st.integers(0, len(ids)))
        tail = data.draw(st.lists(st.sampled_from(anything), max_size=12))
        prompt, answer = ids[:at], [*ids[at:], *tail, *words.encode(more)]
        whole = words.decode(prompt + answer, special)[len(prompt_text(words, prompt, special)) :]
        stream = Stream(words, prompt, special)
        pieces = [stream.feed(token) for token in answer]
        assert "".join([*pieces, stream.finish()]) == whole
        assert words.answer(prompt, answer, special) == whole

    check()


def test_a_piece_comes_with_the_token_that_completes_it_and_never_in_parts(words: Tokenizer) -> None:
    text = f"12 é {FAMILY} ok 👍🏽"
    stream = Stream(words, words.encode("The capital of France"))
    pieces = [stream.feed(token) for token in words.encode(text)]
    assert stream.finish() == ""
    assert not any(BROKEN in piece for piece in pieces)
    assert "".join(pieces).strip() == text
    assert sum(bool(piece) for piece in pieces) > len(text) // 2, "as it comes, not at the end"


def test_the_first_word_keeps_its_blank_and_so_does_one_after_a_tag(llama2: Path) -> None:
    words = tokenizer.load(llama2)
    prompt, answer = words.encode("The capital of France"), words.encode("is Paris")
    assert words.decode(answer) == "is Paris", "by itself the blank is gone"
    assert words.decode(prompt) + words.answer(prompt, answer) == "The capital of France is Paris"
    assert words.answer(words.chat([{"role": "user", "content": "Where?"}]), answer, special=False) == " is Paris"
    assert words.answer([], answer) == words.answer([words.vocabulary["<s>"]], answer, special=False) == "is Paris"


def test_a_character_that_is_cut_off_costs_no_other(words: Tokenizer) -> None:
    """The limit of an answer's length can fall within a character. What came before it was streamed already."""
    prompt, answer = words.encode("a b"), words.encode("né😀")
    while not words.decode(answer).endswith(BROKEN):
        answer = answer[:-1]
        if not answer:
            pytest.skip("one token a character")
    assert words.answer(prompt, answer).rstrip(BROKEN).strip() == "né"
    assert words.answer(prompt, answer).endswith(BROKEN)

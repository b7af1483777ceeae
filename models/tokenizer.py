"""The one way from text to token ids and back, for measuring and for serving; and whether it belongs to the model.

`prepare`, evaluation, the server and the registered model all go through `Tokenizer`. Engines get ids, never text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import DataError
from models import families, manifest
from models.families import Architecture

# ASCII in composed form, with digits and runs of spaces: every tokenizer of the families gives it back unchanged.
SAMPLE = "What is 12 + 34?  Let me add: 12 + 34 = 46.\nThe answer is 46."
BROKEN = "\ufffd"  # what decoding gives for bytes that are not (yet) a character
CHARACTER_BYTES = 4  # of UTF-8 at most, and so the tokens that a character can need


class Tokenizer:
    """A folder's tokenizer, exactly as its tokenizer.json says, but that no text is cut or padded.

    Not AutoTokenizer: for a Qwen2 config.json, transformers 5 builds Qwen2Tokenizer with Qwen's own rules around the
    vocabulary, whatever tokenizer.json holds, and adds a token beyond the embedding if `<|endoftext|>` is missing.
    """

    def __init__(self, folder: Path, rows: int, where: str) -> None:
        """`rows` are those of the embedding. Raises DataError, naming `where`, if the tokenizer cannot be read."""
        from transformers import PreTrainedTokenizerFast

        if not (folder / "tokenizer.json").is_file():
            raise DataError(f"{where} has no tokenizer.json: save it with transformers' fast tokenizer")
        try:
            self._fast: Any = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
            first_line = str(error).strip().splitlines()[0]
            raise DataError(f"{where}: the tokenizer cannot be read: {first_line}") from error
        self._core: Any = self._fast.backend_tokenizer
        self._core.no_truncation()  # settings of whoever saved the file, and not of the text
        self._core.no_padding()
        self.rows = rows
        self.vocabulary: dict[str, int] = self._fast.get_vocab()
        self.special_ids: frozenset[int] = frozenset(self._fast.all_special_ids)
        self.end_token: str | None = self._fast.eos_token
        self.end_id: int | None = self._fast.eos_token_id
        self.chat_template: Any = self._fast.chat_template

    def encode(self, text: str, *, framed: bool = False) -> list[int]:
        """Token ids of `text`; special tokens come only where the text spells them.

        `framed`: with those that the tokenizer itself puts around plain text, say Llama's begin token.

        Raises DataError for a text that is not Unicode, or a token that the model has no embedding row for.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DataError(f"the text has a lone surrogate at character {error.start}: it is not Unicode") from None
        ids: list[int] = self._core.encode(text, add_special_tokens=framed).ids
        return self.checked(ids)

    def checked(self, ids: list[int]) -> list[int]:
        """`ids` themselves; raises DataError naming the first one that is no row of the embedding."""
        wrong = next((token for token in ids if not 0 <= token < self.rows), None)
        if wrong is not None:
            name = next((token for token, number in self.vocabulary.items() if number == wrong), None)
            what = f"token id {wrong}" + (f" ({name!r})" if name else "")
            raise DataError(f"{what} is outside the model's {self.rows} embedding rows")
        return ids

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The messages in the chat template, open for an answer. Raises what Jinja or the template raises."""
        return str(self._fast.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of the messages in the chat template, which writes its own begin token."""
        return self.encode(self.render(messages))

    def decode(self, ids: Iterable[int], special: bool = True) -> str:
        """Text of `ids` by themselves, with special tokens unless `special` is False. For an answer: `answer`."""
        return str(self._core.decode(list(ids), skip_special_tokens=not special))

    def answer(self, prompt: Sequence[int], ids: Iterable[int], special: bool = True) -> str:
        """Text of an answer's `ids` after `prompt`: what a stream of it gives, joined."""
        stream = Stream(self, prompt, special)
        return "".join([*map(stream.feed, ids), stream.finish()])


class Stream:
    """Text of an answer token by token: joined, what decoding prompt and answer at once gives after the prompt.

    A decoder may drop a blank at the beginning of what it decodes (Llama 2's does), and a character may need several
    tokens. So each piece is decoded behind a few ids whose text is known, and waits until its bytes are characters.
    One exception: where bytes that byte tokens spell are never a character, those before them still are.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int], special: bool = True) -> None:
        """`before` are the prompt's ids; special tokens have no text unless `special`."""
        self._tokenizer, self._special = tokenizer, special
        end, self._behind = self._known_text(before)  # the ids that pieces are decoded behind
        self._known = self._text(self._behind)
        self._pending = list(before[end:])  # not given out yet, because their text is not whole
        # A prompt that ends within a character: the text before that in the same token is the prompt's.
        self._shown = len(self._new().rstrip(BROKEN)) if self._pending else 0

    def feed(self, token: int) -> str:
        """The text that `token` adds; empty while a character is not whole."""
        self._pending.append(token)
        return "" if self._new().endswith(BROKEN) else self.finish()

    def finish(self) -> str:
        """What waited: after the last token, or before a token that is no text."""
        text, shown = self._new(), self._shown
        if not self._known:  # up to the first text of all
            self._behind, self._known = self._behind + self._pending, text
        self._pending, self._shown = [], 0
        return text[shown:]

    def _text(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, self._special)

    def _new(self) -> str:
        return self._text(self._behind + self._pending)[len(self._known) :]

    def _is_text(self, text: str) -> bool:
        return bool(text) and BROKEN not in text

    def _known_text(self, before: Sequence[int]) -> tuple[int, list[int]]:
        """How many of `before` do not end within a character, and as few of their last ones as have text."""
        ends = range(len(before), max(len(before) - CHARACTER_BYTES, -1), -1)
        for end in ends:
            for size in (*range(1, min(16, end)), *(16 << times for times in range(end.bit_length())), end):
                ids = list(before[max(0, end - size) : end])
                if self._is_text(self._text(ids)):
                    return end, ids
        # Special tokens that have no text, or bytes that no character has.
        end = next((end for end in ends if not self._text(list(before[:end])).endswith(BROKEN)), len(before))
        return end, list(before[:end])


def load(folder: Path, where: str | None = None, rows: int | None = None) -> Tokenizer:
    """The tokenizer of a model's or a version's folder; `where` names it in messages.

    `rows` of the embedding are those of the manifest or of config.json unless given. Raises DataError.
    """
    if rows is None:
        is_version = (folder / manifest.NAME).exists()
        rows = (manifest.read(folder).architecture if is_version else families.read(folder)).vocabulary
    return Tokenizer(folder, rows, where or str(folder))


def check(folder: Path, architecture: Architecture, where: str) -> None:
    """Raise DataError unless the tokenizer in `folder` fits the model: ids, end tokens, chat template, round trip."""
    tokenizer = load(folder, where, architecture.vocabulary)
    highest = max(tokenizer.vocabulary.values(), default=-1)
    if highest >= architecture.vocabulary:
        raise DataError(
            f"{where}: the tokenizer's highest id is {highest}, but the model has {architecture.vocabulary} "
            "embedding rows: this tokenizer belongs to another model"
        )
    special = {
        "eos": architecture.eos_token_ids,
        "bos": (architecture.bos_token_id,),
        "pad": (architecture.pad_token_id,),
    }
    for name, ids in special.items():
        for token_id in ids:
            if token_id is not None and not 0 <= token_id < architecture.vocabulary:
                raise DataError(
                    f"{where}: {name}_token_id {token_id} is outside the {architecture.vocabulary} embedding rows"
                )
    if tokenizer.end_id not in architecture.eos_token_ids:
        raise DataError(
            f"{where}: the tokenizer ends with {tokenizer.end_token!r} ({tokenizer.end_id}), the model with "
            f"{list(architecture.eos_token_ids)}: answers would never end; put the right eos_token_id into "
            "generation_config.json"
        )
    _check_chat_template(tokenizer, where)
    back = tokenizer.decode(tokenizer.encode(SAMPLE))
    if back.strip() != SAMPLE:
        raise DataError(f"{where}: the tokenizer does not give a text back: {SAMPLE!r} became {back!r}")


def _check_chat_template(tokenizer: Tokenizer, where: str) -> None:
    if not tokenizer.chat_template:
        raise DataError(
            f"{where} has no chat template, so no prompt can be built: add chat_template.jinja (a base model is not "
            "made to answer; use its instruct or distilled version)"
        )
    try:
        text = tokenizer.render([{"role": "user", "content": SAMPLE}])
    except Exception as error:  # whatever Jinja or the template itself raises
        raise DataError(f"{where}: the chat template fails on one user message: {error}") from error
    if SAMPLE not in text:
        raise DataError(f"{where}: the chat template drops the user's message: {text!r}")

"""Messages to token ids, and token ids to text: chat template, reasoning, stop strings, end of UTF-8 sequences.

An R1-style template opens `<think>` in the prompt, so the answer starts inside the reasoning. As DeepSeek's API and
vLLM do, what comes before the `</think>` token is `reasoning_content`, what follows is `content`. A tokenizer without
one single `</think>` token gets no split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers.decoders import DecodeStream

from models import tokenizer
from serving.wire import ApiError, Piece


class Tokenizer:
    """The tokenizer of a version's folder."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = tokenizer.load(folder)
        self.core = self._tokenizer.backend_tokenizer
        vocabulary = self._tokenizer.get_vocab()
        self.think, self.think_end = vocabulary.get("<think>"), vocabulary.get("</think>")

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it is: special tokens only where the text spells them."""
        ids: list[int] = self.core.encode(text, add_special_tokens=False).ids
        return ids

    def check(self, ids: Sequence[int]) -> None:
        """Raise ApiError 400 for an id that the tokenizer does not have."""
        size = self.core.get_vocab_size()
        if wrong := next((token for token in ids if not 0 <= token < size), None):
            raise ApiError(400, f"token id {wrong} is outside the vocabulary of {size}", "invalid_value", "prompt")

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of the messages in the version's own chat template, open for an answer."""
        text = self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return self.encode(text)

    def thinking(self, prompt: Sequence[int]) -> bool:
        """Whether the prompt opens a thought that it does not close."""
        if self.think is None or self.think_end is None:
            return False
        tags = [token for token in prompt if token in (self.think, self.think_end)]
        return bool(tags) and tags[-1] == self.think


class Decoder:
    """Turns one completion's tokens into pieces. `stopped` is set when a stop string came; nothing follows it."""

    def __init__(self, tokenizer: Tokenizer, thinking: bool, split: bool, stop: Sequence[str]) -> None:
        self._tokenizer, self._split, self._stop = tokenizer, split, tuple(stop)
        self._hold = max(map(len, stop), default=1) - 1  # characters that may begin a stop string
        self._thinking = thinking and split
        self._stream = DecodeStream(skip_special_tokens=True)
        self._held = ""
        self._begun = False
        self.stopped = False
        self.taken = 0  # tokens that the text so far rests on

    def feed(self, tokens: Sequence[int]) -> Piece:
        """The text that `tokens` add."""
        content: list[str] = []
        reasoning: list[str] = []
        for token in tokens:
            if self.stopped:
                break
            self.taken += 1
            if self._split and token == self._tokenizer.think_end and self._thinking:
                reasoning.append(self._held)
                self._start_over(thinking=False)
            elif self._split and token == self._tokenizer.think and not self._begun:
                self._start_over(thinking=True)
            elif text := self._stream.step(self._tokenizer.core, token):
                (reasoning if self._thinking else content).append(self._cut(text))
        return self._piece(content, reasoning)

    def finish(self) -> Piece:
        """What was held back because a stop string might have begun."""
        held, self._held = self._held, ""
        return self._piece([], [held]) if self._thinking else self._piece([held], [])

    def _piece(self, content: list[str], reasoning: list[str]) -> Piece:
        return Piece("".join(content), "".join(reasoning))

    def _start_over(self, thinking: bool) -> None:
        self._thinking, self._held, self._begun = thinking, "", False
        self._stream = DecodeStream(skip_special_tokens=True)

    def _cut(self, text: str) -> str:
        if not self._begun and self._split:
            text = text.lstrip("\n")  # templates put an empty line between the reasoning and the answer
        self._begun = self._begun or bool(text)
        if not self._stop:
            return text
        text = self._held + text
        at = min((found for found in map(text.find, self._stop) if found >= 0), default=-1)
        if at >= 0:
            self.stopped, self._held = True, ""
            return text[:at]
        cut = len(text) - self._hold
        self._held = text[max(cut, 0) :]
        return text[: max(cut, 0)]

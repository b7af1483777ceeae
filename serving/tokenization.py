"""Token ids to what a client reads: reasoning apart from content, and stop strings.

An R1-style template opens `<think>` in the prompt, so the answer starts inside the reasoning. As DeepSeek's API and
vLLM do, what comes before the `</think>` token is `reasoning_content`, what follows is `content`. A tokenizer without
one single `</think>` token gets no split.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.tokenizer import Stream, Tokenizer
from serving.wire import Piece


class Decoder:
    """Turns one completion's tokens into pieces. `stopped` is set when a stop string came; nothing follows it."""

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], split: bool, stop: Sequence[str]) -> None:
        """`prompt` is what the tokens follow; `split` puts reasoning apart from content."""
        self._split, self._stop = split, tuple(stop)
        self._hold = max(map(len, stop), default=1) - 1  # characters that may begin a stop string
        self._think, self._think_end = (tokenizer.vocabulary.get(tag) for tag in ("<think>", "</think>"))
        self._thinking = split and self._opens_a_thought(prompt)
        self._stream = Stream(tokenizer, prompt, special=False)
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
            if self._split and token == self._think_end and self._thinking:
                reasoning.append(self._cut(self._stream.finish()))
                if self.stopped:
                    break
                reasoning.append(self._held)
                self._start_over(thinking=False)
            elif self._split and token == self._think and not self._begun:
                self._start_over(thinking=True)
            elif text := self._stream.feed(token):
                (reasoning if self._thinking else content).append(self._cut(text))
        return self._piece(content, reasoning)

    def finish(self) -> Piece:
        """What was held back because a character was not whole, or a stop string might have begun."""
        rest = self._cut(self._stream.finish())
        held, self._held = self._held, ""
        return self._piece([], [rest, held]) if self._thinking else self._piece([rest, held], [])

    def _piece(self, content: list[str], reasoning: list[str]) -> Piece:
        return Piece("".join(content), "".join(reasoning))

    def _start_over(self, thinking: bool) -> None:
        self._thinking, self._held, self._begun = thinking, "", False

    def _opens_a_thought(self, prompt: Sequence[int]) -> bool:
        """Whether the prompt opens a thought that it does not close."""
        if self._think is None or self._think_end is None:
            return False
        tags = [token for token in prompt if token in (self._think, self._think_end)]
        return bool(tags) and tags[-1] == self._think

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

"""A serving engine seen as a runtime: for graphs that only an engine can run, such as those with paged attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.errors import RuntimeFault
from runtimes import Engine, Generation, Logits, Sampling, TokenIds


class ThroughEngine:
    """Greedy generation of a batch through `Engine`. Teacher forcing needs logits, which an engine does not give."""

    def __init__(self, engine: Engine) -> None:
        self.name, self.version = engine.name, engine.version
        self._engine = engine

    def generate(
        self,
        prompts: Sequence[TokenIds],
        max_tokens: int,
        *,
        ignore_eos: bool = False,
        on_step: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """See the contract; at most `max_batch` prompts run at once, the others wait.

        `on_step(i)` is called when every running request has its i-th token.
        """
        sampling = Sampling(ignore_eos=ignore_eos)
        waiting = list(enumerate(prompts))
        places: dict[int, int] = {}  # handle → index of its prompt
        tokens: list[list[int]] = [[] for _ in prompts]
        finished = [False] * len(prompts)
        left, told = set(range(len(prompts))), 0
        while left:
            while waiting and len(places) < self._engine.max_batch:
                index, prompt = waiting.pop(0)
                places[self._engine.submit(prompt, max_tokens, sampling)] = index
            for event in self._engine.step():
                index = places[event.handle]
                if event.finish == "error":
                    raise RuntimeFault(f"{self.name} failed on prompt {index}: {event.error}")
                if event.token is not None:
                    tokens[index].append(event.token)
                if event.finish:
                    finished[index] = event.finish == "stop"
                    left.discard(index)
                    del places[event.handle]
            if on_step:
                reached = min(len(tokens[index]) for index in left) if left else max(map(len, tokens))
                for step in range(told, reached):
                    on_step(step)
                told = max(told, reached)
        return [Generation(tuple(made), done) for made, done in zip(tokens, finished, strict=True)]

    def logits(self, sequences: Sequence[TokenIds]) -> list[Logits]:
        """Always a RuntimeFault."""
        raise RuntimeFault(f"{self.name} runs this graph through its engine, which gives tokens and no logits")

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

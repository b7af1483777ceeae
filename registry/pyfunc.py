"""The pyfunc that answers for a registered version. MLflow keeps this file itself (models from code): no pickle.

`mlflow.pyfunc.load_model("models:/assay@candidate").predict(...)` takes

- a prompt or a list of prompts;
- a chat (a list of {"role", "content"} messages), a list of chats, or {"messages": chat};
- a DataFrame with a column `prompt` or `messages`

and returns one answer a prompt, decoded greedily, as text after the prompt. `params={"max_tokens": n}` limits it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel, PythonModelContext

from core import plugins
from core.errors import DataError, IntegrityError
from models import manifest, tokenizer, tokenizer_identity

BATCH = 16  # prompts generated together


class ServedVariant(PythonModel):  # type: ignore[misc]  # mlflow ships no types that mypy is let to follow
    """One variant's folder, verified, on the runtime that its manifest names."""

    _skip_type_hint_validation = True  # MLflow has no type hint for these inputs, and warns at each load without one

    def load_context(self, context: PythonModelContext) -> None:
        """Load the folder. Raises IntegrityError unless it is, byte for byte, the version that was registered."""
        folder, config = Path(context.artifacts["variant"]), context.model_config
        made = manifest.verify(folder)
        if manifest.digest(folder) != config["manifest_sha256"]:
            raise IntegrityError(
                f"{folder} holds manifest {manifest.digest(folder)[:12]}, not the registered "
                f"{config['manifest_sha256'][:12]}: register it again"
            )
        self._runtime = plugins.load("runtimes", made.runtime).load(folder, int(config["threads"]))
        tokenizer_identity.verify(folder)
        self._tokenizer = tokenizer.load(folder)
        self._max_tokens = int(config["max_tokens"])

    def predict(  # type: ignore[no-untyped-def]  # MLflow takes an annotation of model_input for its schema
        self, context: PythonModelContext, model_input, params: dict[str, Any] | None = None
    ) -> list[str]:
        """One answer for each prompt or chat in `model_input`, in order."""
        limit = int((params or {}).get("max_tokens") or self._max_tokens)
        prompts = [self._tokenizer.chat(chat) for chat in chats(model_input)]
        answers: list[str] = []
        for start in range(0, len(prompts), BATCH):
            batch = prompts[start : start + BATCH]
            for prompt, found in zip(batch, self._runtime.generate(batch, limit), strict=True):
                answers.append(self._tokenizer.answer(prompt, found.token_ids, special=False))
        return answers


def chats(model_input: Any) -> list[list[dict[str, str]]]:
    """Whatever `predict` takes, as a list of chats. Raises DataError that names the accepted forms."""
    if hasattr(model_input, "columns"):
        column = next((name for name in ("messages", "prompt") if name in model_input.columns), None)
        if column is None and len(model_input.columns) == 1:
            column = model_input.columns[0]
        if column is None:
            raise DataError(f"a table needs a column 'prompt' or 'messages', it has {list(model_input.columns)}")
        return [_chat(value) for value in model_input[column]]
    if hasattr(model_input, "tolist"):  # the scoring server sends arrays
        model_input = model_input.tolist()
    if isinstance(model_input, str | Mapping) or _is_chat(model_input):
        return [_chat(model_input)]
    return [_chat(value) for value in _listed(model_input)]


def _chat(value: Any) -> list[dict[str, str]]:
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if isinstance(value, Mapping) and "messages" in value:
        value = value["messages"]
    if isinstance(value, Mapping) and "prompt" in value:
        return _chat(value["prompt"])
    if not _is_chat(value):
        raise DataError(f"not a prompt, nor messages with role and content: {value!r:.200}")
    return [{"role": str(message["role"]), "content": str(message["content"])} for message in value]


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(message, Mapping) and {"role", "content"} <= message.keys() for message in value)
    )


def _listed(value: Any) -> Iterator[Any]:
    if not isinstance(value, Sequence):
        raise DataError(f"give a prompt, messages, a list of them or a table, not {type(value).__name__}")
    return iter(value)


mlflow.models.set_model(ServedVariant())

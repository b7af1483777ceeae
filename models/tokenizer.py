"""Does the tokenizer belong to the model? Checked before any work: a wrong one only shows as nonsense much later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.errors import DataError
from models.families import Architecture

# ASCII in composed form, with digits and runs of spaces: every tokenizer of the families gives it back unchanged.
SAMPLE = "What is 12 + 34?  Let me add: 12 + 34 = 46.\nThe answer is 46."


def load(folder: Path, where: str | None = None) -> Any:
    """The tokenizer in `folder`, exactly as its tokenizer.json says. Raises DataError if it cannot be read.

    Not AutoTokenizer: for a Qwen2 config.json, transformers 5 builds Qwen2Tokenizer with Qwen's own rules around the
    vocabulary, whatever tokenizer.json holds, and adds a token beyond the embedding if `<|endoftext|>` is missing.
    """
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise DataError(f"{where or folder} has no tokenizer.json: save it with transformers' fast tokenizer")
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for a malformed file
        first_line = str(error).strip().splitlines()[0]
        raise DataError(f"{where or folder}: the tokenizer cannot be read: {first_line}") from error


def check(folder: Path, architecture: Architecture, where: str) -> None:
    """Raise DataError unless the tokenizer in `folder` fits the model: ids, end tokens, chat template, round trip."""
    tokenizer = load(folder, where)
    highest = max(tokenizer.get_vocab().values(), default=-1)
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
    if tokenizer.eos_token_id not in architecture.eos_token_ids:
        raise DataError(
            f"{where}: the tokenizer ends with {tokenizer.eos_token!r} ({tokenizer.eos_token_id}), the model with "
            f"{list(architecture.eos_token_ids)}: answers would never end; put the right eos_token_id into "
            "generation_config.json"
        )
    _check_chat_template(tokenizer, where)
    back = tokenizer.decode(tokenizer.encode(SAMPLE, add_special_tokens=False), clean_up_tokenization_spaces=False)
    if back.strip() != SAMPLE:
        raise DataError(f"{where}: the tokenizer does not give a text back: {SAMPLE!r} became {back!r}")


def _check_chat_template(tokenizer: Any, where: str) -> None:
    if not tokenizer.chat_template:
        raise DataError(
            f"{where} has no chat template, so no prompt can be built: add chat_template.jinja (a base model is not "
            "made to answer; use its instruct or distilled version)"
        )
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": SAMPLE}], tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # whatever Jinja or the template itself raises
        raise DataError(f"{where}: the chat template fails on one user message: {error}") from error
    if SAMPLE not in text:
        raise DataError(f"{where}: the chat template drops the user's message: {text!r}")

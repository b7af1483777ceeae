"""One tokenizer for one version: the original's files, and proof that whoever reads them makes the original's ids.

A converter writes tokenizer files of its own beside what it converts, with other rules than the model was measured
with. `adopt` puts the original's in their place, `hold` compares the ids when a variant is made, and `verify` does so
again where the version is served, with whatever libraries are installed there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeAlias

from core import files
from core.errors import QuantizationError, RuntimeFault
from models import tokenizer

Read: TypeAlias = Callable[[Sequence[str]], list[list[int]]]  # texts → token ids
FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
KEPT = "token_ids.json"
# A folder for what loads by AutoTokenizer: where config.json is, its model_type would decide the rules.
FOR_TRANSFORMERS = "tokenizer"
# Texts on which two tokenizers that agree on plain questions have been seen to differ.
ODD_TEXTS = (
    "",
    " ",
    "   leading and trailing   ",
    "a  b   c    d\te\t\tf\n\ng\r\nh\n\n\n  i \u00a0j\u3000k",
    "123456 + 789 = 124245; 3.14159; 1,000,000; ①②③ ٣٤٥ ½",
    "cafe\u0301 A\u030a ﬁ Å ｆｕｌｌ ㎏ \u1e9b\u0323 가 \u1100\u1161",
    "👩\u200d👩\u200d👧\u200d👦 👍🏽 🇳🇴 😀😀 ❤\ufe0f \U0001f9ff",
    "\ufffd \ufffd\ufffd \x00\x01\x7f \ud7ff \ue000 \U0010ffff \u200b\u200e\ufeff",
    "<|endoftext|><|im_start|>user\nhi<|im_end|>",
    "<think>\nwell</think>\n\nyes <|User|> [INST] <<SYS>> </s><s> <unk> <pad>",
    "<｜begin▁of▁sentence｜><｜User｜>x<｜Assistant｜><think>\n<｜end▁of▁sentence｜>",
    "don't I'LL they've we'd O'Neill 'tis",
    "Wörter, слова, λόγια, 単語、 คำ, كلمات, מילים, शब्द",
    "def f(x):\n\treturn {'a': [1, 2]}  # ok\n",
    "https://example.org/a?b=c&d=%20e#f  \\boxed{42} $x^{2}$",
    "aAbBcC" * 40,
)
SHOWN_IDS = 16  # in a message
LONG = "The quick brown fox jumps over 13 lazy dogs. \u00e9\U0001f600\n" * 2000


def adopt(model_folder: Path, folder: Path) -> None:
    """Make the tokenizer files in `folder` the original's, byte for byte: the others of a converter go."""
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    _copy(model_folder, folder)
    if (folder / "config.json").exists():  # a checkpoint as transformers writes them
        _for_transformers(model_folder, folder / FOR_TRANSFORMERS)


def hold(model_folder: Path, folder: Path, prompts: Iterable[tuple[str, Sequence[int]]]) -> None:
    """Compare the ids that the version in `folder` gives with the original's, and keep those of `ODD_TEXTS` there.

    `prompts` are prepared prompts with the ids that were measured. Raises QuantizationError naming the first text.
    """
    original = tokenizer.load(model_folder)
    odd = [(text, original.encode(text)) for text in (*ODD_TEXTS, LONG)]
    everything = [*odd, *((text, list(ids)) for text, ids in prompts)]
    for reader, read in _readers(folder, original.rows).items():
        if why := _difference(reader, read, everything):
            raise QuantizationError(f"{why}: this version would be served other prompts than were measured")
    table = [{"text": text, "ids": ids} for text, ids in odd if text != LONG]
    files.write_text(folder / KEPT, json.dumps(table, ensure_ascii=True, indent=1) + "\n")


def verify(folder: Path) -> None:
    """Raise RuntimeFault unless the tokenizers here give the ids that the version in `folder` was made with.

    A version that keeps none (an echo, or one of before they were kept) has nothing to compare.
    """
    if not (folder / KEPT).exists():
        return
    table = [(entry["text"], entry["ids"]) for entry in json.loads((folder / KEPT).read_text())]
    for reader, read in _readers(folder, None).items():
        if why := _difference(reader, read, table):
            raise RuntimeFault(f"{folder}: {why}: install the tokenizers and transformers that it was made with")


def _readers(folder: Path, rows: int | None) -> dict[str, Read]:
    """Who makes ids of text from the files in `folder`: this project, and AutoTokenizer where it is a checkpoint."""
    ours = tokenizer.load(folder, rows=rows)
    found: dict[str, Read] = {"this project's tokenizer": lambda texts: [ours.encode(text) for text in texts]}
    if (folder / FOR_TRANSFORMERS).is_dir():
        from transformers import AutoTokenizer

        theirs: Any = AutoTokenizer.from_pretrained(folder / FOR_TRANSFORMERS, local_files_only=True)
        found["AutoTokenizer (vLLM's own server)"] = lambda texts: [
            list(ids) for ids in theirs(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        ]
    return found


def _difference(reader: str, read: Read, table: Sequence[tuple[str, list[int]]]) -> str | None:
    """The first text of which `read` makes other ids than `table` says, in words."""
    for (text, wanted), found in zip(table, read([text for text, _ in table]), strict=True):
        if found != wanted:
            pairs = zip_longest(found, wanted)
            place = next(place for place, (one, other) in enumerate(pairs) if one != other)
            shown = slice(place, place + SHOWN_IDS)
            return (
                f"{reader} makes {len(found)} ids of {text[:80]!a}, the model's own {len(wanted)}; from place "
                f"{place} on {found[shown]} instead of {wanted[shown]}"
            )
    return None


def _for_transformers(model_folder: Path, folder: Path) -> None:
    """The original's tokenizer as a folder of its own that AutoTokenizer reads as tokenizer.json says."""
    folder.mkdir()
    _copy(model_folder, folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text()) if path.exists() else {}
    settings.pop("auto_map", None)  # code of the model's own is never run
    files.write_text(path, json.dumps(settings | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n")


def _copy(model_folder: Path, folder: Path) -> None:
    for name in FILES:
        if (model_folder / name).is_file():
            shutil.copyfile(model_folder / name, folder / name)

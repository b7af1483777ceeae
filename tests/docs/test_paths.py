"""Every path that a document, a docstring or a comment names is in the tree, or is made by a command."""

from __future__ import annotations

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True).splitlines()
TRACKED = sorted(name for name in LISTED if (ROOT / name).is_file())
FOLDERS = {str(folder) for name in TRACKED for folder in Path(name).parents}
ROOMS = {Path(name).parts[0] for name in TRACKED if "/" in name}
PATH = re.compile(r"(?<![\w/.:@$*{<-])([a-z_.]+(?:/[\w.-]+)*/[\w-]+\.(?:py|md|ya?ml|toml|jinja|lock|json|css|txt))\b")
FOLDER = re.compile(r"`([a-z_]+(?:/[\w-]+)*)/`")
EXAMPLE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)  # files of a reader's own
LINK = re.compile(r"\]\(([^)#:\s]+)\)")
MADE = ("artifacts/", "reports/", ".cache/", "mlartifacts/", "releases/", "environments/")  # by commands


def _prose(path: Path) -> Iterator[str]:
    """What a file says to people: a document whole; of Python the docstrings and comments."""
    if path.suffix != ".py":
        yield EXAMPLE.sub("", path.read_text())
        return
    with path.open("rb") as stream:
        yield from (token.string for token in tokenize.tokenize(stream.readline) if token.type == tokenize.COMMENT)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def _missing(text: str, beside: Path) -> list[str]:
    """Paths in `text` that are neither in the tree (from its root, or from `beside`) nor made by a command."""
    named = {name for name in PATH.findall(text) if name.split("/")[0] in ROOMS | {".", ".."}}
    named |= set(LINK.findall(text)) | {name for name in FOLDER.findall(text) if name.split("/")[0] in ROOMS}
    return sorted(
        name
        for name in named
        if not name.startswith(MADE) and not any((base / name).exists() for base in (ROOT, beside))
    )


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith((".py", ".md", ".yaml", ".yml"))])
def test_named_paths_exist(name: str) -> None:
    missing = [path for text in _prose(ROOT / name) for path in _missing(text, (ROOT / name).parent)]
    assert not missing, f"{name} names {', '.join(missing)}"


def test_a_path_that_is_not_there_is_found() -> None:
    text = "see core/nowhere.py, `rollout/none/` and [this](gone.md); artifacts/x.json and core/errors.py are fine"
    assert _missing(text, ROOT) == ["core/nowhere.py", "gone.md", "rollout/none"]


def test_every_room_is_on_the_map() -> None:
    readme = (ROOT / "README.md").read_text()
    rooms = {name.split("/")[0] for name in TRACKED if name.endswith(".py") and "/" in name}
    assert not sorted(room for room in rooms if f"`{room}/`" not in readme)

"""The error tree in the docstring of core/errors.py is the one in the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from core import errors

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^ {4}(?P<bars>(?:│ {3}| {4})*)[├└]── (?P<name>\w+) +(?P<meaning>.+)$")
HOME = "core/errors.py"


def _defined() -> dict[str, tuple[str, str, bool]]:
    """Name → (parent, file, has a docstring) of every class in the project that derives from AssayError."""
    classes = {}
    for folder in sorted(path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"):
        for file in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ClassDef) and node.bases:
                    about = (ast.unparse(node.bases[0]), str(file.relative_to(ROOT)), bool(ast.get_docstring(node)))
                    classes[node.name] = about
    found: dict[str, tuple[str, str, bool]] = {}
    wanted = {"AssayError"}
    while new := {name for name, (parent, _, _) in classes.items() if parent in wanted} - wanted:
        found |= {name: classes[name] for name in new}
        wanted |= new
    return found


def _documented() -> dict[str, tuple[str, str]]:
    """Name → (parent, file) as the docstring draws it."""
    found: dict[str, tuple[str, str]] = {}
    above = ["AssayError"]
    for line in str(errors.__doc__).splitlines():
        if drawn := LINE.match(line):
            depth = len(drawn["bars"]) // 4
            above[depth + 1 :] = [drawn["name"]]
            file = re.search(r"\((\S+\.py)\)$", drawn["meaning"])
            found[drawn["name"]] = (above[depth], file[1] if file else HOME)
    return found


def test_the_tree_in_the_docstring_is_complete() -> None:
    assert _documented() == {name: (parent, file) for name, (parent, file, _) in _defined().items()}


def test_every_error_says_what_it_means() -> None:
    assert [name for name, (_, _, documented) in _defined().items() if not documented] == []

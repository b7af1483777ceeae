"""A text file of the user's own, as one string."""

from __future__ import annotations

import codecs
from pathlib import Path

from core.errors import DataError


def read(path: Path) -> str:
    """The text of a UTF-8 file without its byte order mark, line ends as written; DataError names file and line."""
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        return content.decode()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check the suite's options.path") from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text: save the file as UTF-8") from error

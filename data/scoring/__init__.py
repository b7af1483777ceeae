"""The scoring contract. Each file here is one rule for when a reply is right; its file name is an item's `scoring`.

A rule has `is_right(item, text) -> bool`, about a model's whole reply. It accepts
`replies.ideal(item.answer, item.solution)` and refuses the empty reply.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from core import plugins


def _known(name: str) -> str:
    known = plugins.known("data.scoring")
    if name not in known:
        raise ValueError(f"no scoring '{name}'; known: {', '.join(known)}")
    return name


Scoring = Annotated[str, AfterValidator(_known)]  # type of an option that names a rule

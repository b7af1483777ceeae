"""What params.yaml says of the machine."""

from __future__ import annotations

from pydantic import Field

from core.params import Section


class MachineParams(Section):
    threads: int = Field(default=2, ge=1, description="intra-op threads of every runtime")

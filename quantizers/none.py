"""No quantization: the fused fp32 graph as it was exported. The size and speed that others are compared with."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from quantizers import Context, Traits

# The copy takes no memory to speak of.
TRAITS = Traits(inputs=("fused graph",), peak_of_fp32_weights=1.0)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Copy the exported folder."""
    shutil.copytree(context.export_folder / "fused", folder, dirs_exist_ok=True)
    return {"weights": "float32", "compute": "float32"}

"""What params.yaml says of the calibration."""

from __future__ import annotations

from pydantic import Field

from core.params import Section


class CalibrateParams(Section):
    prefill_items: int = Field(ge=1, description="calibration items run as whole sequences")
    decode_items: int = Field(ge=1, description="calibration items run token by token with a real KV cache")
    decode_steps: int = Field(ge=1)
    batch: int = Field(default=16, ge=1)
    sample_rows: int = Field(
        default=1024, ge=64, description="activation rows kept per matmul input, chosen uniformly"
    )

"""FP8 (E4M3) weights and activations with static scales, as a checkpoint for vLLM.

Weights have a scale for each output channel, activations one for each layer from calibration: nothing is measured at
run time. Needs compute capability 8.9 or higher (L4, H100); older cards run it as weight-only.
Source: Micikevicius et al. 2022, FP8 Formats for Deep Learning.
"""

from __future__ import annotations

from pathlib import Path

from quantizers import Context, Traits
from quantizers.parts import compressed
from quantizers.parts.compressed import LIBRARIES, CalibratedOptions

TRAITS = Traits(inputs=("weights", "items"), libraries=LIBRARIES)


class Options(CalibratedOptions):
    pass


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the checkpoint; raises QuantizationError naming the layers that did not come out as asked."""
    compressed.quiet_libraries()
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier

    scheme = QuantizationScheme(
        targets=["Linear"],
        weights=QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="channel"),
        input_activations=QuantizationArgs(
            num_bits=8, type="float", symmetric=True, strategy="tensor", dynamic=False, observer="minmax"
        ),
    )
    modifier = QuantizationModifier(config_groups={"group_0": scheme}, ignore=[compressed.HEAD])
    facts = compressed.compress(context, [modifier], options, folder)
    return {"weights": "fp8 per channel", "compute": "fp8 x fp8"} | facts

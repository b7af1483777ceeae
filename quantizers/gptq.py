"""Integer weights by GPTQ, optionally with int8 activations after SmoothQuant, as a checkpoint for vLLM.

`bits: 4` alone is W4A16 (Marlin and Machete kernels: the weights are read in 4 bits and multiplied in 16);
`bits: 8` with `activations: static` is W8A8 (int8 matrix units on both sides).

Sources: GPTQ (Frantar et al. 2023); SmoothQuant (Xiao et al. 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from quantizers import Context, Traits
from quantizers.parts import compressed
from quantizers.parts.compressed import LIBRARIES, CalibratedOptions

TRAITS = Traits(inputs=("weights", "items"), libraries=LIBRARIES)


class Options(CalibratedOptions):
    bits: Literal[4, 8]
    group_size: Literal[32, 64, 128] | None = Field(default=None, description="of weights; null: one scale a channel")
    activations: Literal["none", "static"] = Field(default="none", description="static: one int8 scale a layer")
    # Not q, k, v, gate or up: vLLM makes one layer of them, and looks its scheme up by that layer's name.
    dynamic: list[Literal["o_proj", "down_proj"]] = Field(
        default=[], description="layers whose int8 activations get a scale for each token at run time"
    )
    smooth_alpha: float = Field(default=0.0, ge=0, le=1, description="0 turns SmoothQuant off")
    algorithm: Literal["gptq", "nearest"] = Field(default="gptq", description="nearest: minutes less, and less exact")
    damping: float = Field(default=0.01, gt=0, description="share of the Hessian's mean diagonal that is added to it")

    @model_validator(mode="after")
    def _has_a_kernel(self) -> Options:
        if self.activations == "static" and (self.bits != 8 or self.group_size):
            raise ValueError("static activations go with bits: 8 and no group_size: vLLM has no kernel for the rest")
        if self.dynamic and self.activations == "none":
            raise ValueError("dynamic names layers with int8 activations: it needs activations: static")
        if self.smooth_alpha and self.activations == "none":
            raise ValueError("smooth_alpha moves outliers out of activations: it needs activations: static")
        return self


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the checkpoint; raises QuantizationError naming the layers that did not come out as asked."""
    compressed.quiet_libraries()
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    weights = QuantizationArgs(
        num_bits=options.bits,
        type="int",
        symmetric=True,
        strategy="group" if options.group_size else "channel",
        group_size=options.group_size,
    )
    static, by_token = _activations(options)
    targets = ["Linear"]
    groups = {}
    if options.dynamic:
        names = "|".join(options.dynamic)
        targets = [rf"re:.*\.(?!({names})$)\w+_proj$"]  # disjoint: readers differ in which of two targets wins
        groups["dynamic"] = QuantizationScheme(
            targets=[rf"re:.*\.({names})$"], weights=weights, input_activations=by_token
        )
    groups["static"] = QuantizationScheme(targets=targets, weights=weights, input_activations=static)
    modifiers: list[Any] = []
    if options.smooth_alpha:
        modifiers.append(SmoothQuantModifier(smoothing_strength=options.smooth_alpha))
    chosen: dict[str, Any] = {"config_groups": groups, "ignore": [compressed.HEAD]}
    if options.algorithm == "gptq":
        modifiers.append(GPTQModifier(dampening_frac=options.damping, **chosen))
    else:
        modifiers.append(QuantizationModifier(**chosen))
    facts = compressed.compress(context, modifiers, options, folder, groups_of=options.group_size)
    share = f"by {options.group_size}" if options.group_size else "per channel"
    compute = options.engine.dtype if options.activations == "none" else "int8 x int8"
    facts |= {"dynamic_activations": options.dynamic} if options.dynamic else {}
    return {"weights": f"int{options.bits} {share}", "compute": compute} | facts


def _activations(options: Options) -> tuple[Any, Any]:
    """How activations are quantized: one static scale a layer, or one for each token; None if they are not."""
    from compressed_tensors.quantization import QuantizationArgs

    if options.activations == "none":
        return None, None
    kind = {"num_bits": 8, "type": "int", "symmetric": True}
    static = QuantizationArgs(strategy="tensor", dynamic=False, observer="minmax", **kind)
    return static, QuantizationArgs(strategy="token", dynamic=True, observer=None, **kind)

"""Weights in 8 or 4 bits by block of inputs, as onnxruntime's MatMulNBits reads them: rounded, written.

`gptq` rounds with the inputs in view. Ranges: of every block the one of the least error, weighed by the power of its
inputs. Levels: column after column, largest inputs first, each error made good by the columns that follow (Frantar et
al. 2023), in llm-compressor's implementation. Operations for a weight of (in, out): about in^3 + in^2 * out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from calibration.statistics import Array
from export.graph import Graph, MatMul

DOMAIN = "com.microsoft"
SHARES = np.linspace(0.6, 1.05, 10)  # of a block's full range
DAMPING = 0.05  # of the mean power of the inputs, added to each
INT8_ARITHMETIC = 4  # accuracy level: the kernel rounds inputs to int8 by block and multiplies integers


@dataclass(frozen=True)
class Blocks:
    """One weight of shape (in, out). `packed` is uint8 (out, blocks, size * bits / 8), the last block padded.

    `scales` are float32 (out, blocks). `zeros`, uint8 (out, blocks * bits / 8 rounded up), are the levels that stand
    for 0; None: the middle one, 2 ** (bits - 1).
    """

    packed: NDArray[np.uint8]
    scales: Array
    zeros: NDArray[np.uint8] | None
    bits: int
    size: int


def nearest(weight: Array, bits: int, size: int) -> Blocks:
    """Each value of a float32 weight (in, out) to its nearest level, symmetric, by onnxruntime's own rounding."""
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig as Config
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantizer as Quantizer

    rounding = Quantizer(Config(block_size=size, is_symmetric=True, bits=bits))
    packed, scales, _zeros = rounding.qbits_block_quant(np.ascontiguousarray(weight))
    return Blocks(packed, scales, None, bits, size)


def gptq(weights: Sequence[Array], rows: Array, bits: int, size: int) -> list[Blocks]:
    """Round float32 weights (in, out) that all read one input, of which `rows` (count, in) are a sample."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    with torch.inference_mode():
        stacked = torch.cat([torch.from_numpy(weight).T for weight in weights]).contiguous()
        inputs = torch.from_numpy(rows)
        hessian = inputs.T @ inputs
        # A channel that is 0 in the sample keeps its weights: with a diagonal of 0 the library would drop them.
        hessian.diagonal().add_(DAMPING * hessian.diagonal().mean() + torch.finfo(torch.float32).tiny)
        scales, zeros = _ranges(stacked, hessian.diagonal(), bits, size)
        middle = 2 ** (bits - 1)  # the library's levels are signed
        settings = QuantizationArgs(
            num_bits=bits, type="int", symmetric=False, strategy="group", group_size=size, actorder="static"
        )
        rounded, _losses, _fallback = quantize_weight(
            stacked[None].clone(), hessian[None], scales[None], zeros[None] - middle, None, settings, percdamp=0.0
        )
        block = torch.arange(stacked.shape[1]) // size
        levels = (rounded[0] / scales[:, block] + zeros[:, block]).round().to(torch.uint8).numpy()
        packed = _packed(levels, bits, size).reshape(*scales.shape, size * bits // 8)
        packed_zeros = _packed(zeros.to(torch.uint8).numpy(), bits, 8 // bits)
    ends = np.cumsum([weight.shape[1] for weight in weights])[:-1]
    parts = (np.split(values, ends) for values in (packed, scales.numpy(), packed_zeros))
    return [Blocks(part, scale, zero, bits, size) for part, scale, zero in zip(*parts, strict=True)]


def _ranges(weight: Any, importance: Any, bits: int, size: int) -> tuple[Any, Any]:
    """Scales and zeros, tensors of (out, blocks), for a weight (out, in); `importance` (in,) is the inputs' power.

    Each share of the full range is tried, and after it the scale that fits its levels best.
    """
    import torch

    top, padding = 2**bits - 1, -weight.shape[1] % size
    values = torch.nn.functional.pad(weight, (0, padding)).unflatten(1, (-1, size))
    power = torch.nn.functional.pad(importance, (0, padding)).unflatten(0, (-1, size))
    low, high = values.amin(-1).clamp(max=0), values.amax(-1).clamp(min=0)
    least = torch.full_like(low, torch.inf)
    scales, zeros = torch.ones_like(low), torch.zeros_like(low)
    for share in SHARES:
        scale = ((high - low) * share / top).clamp(min=1e-10)
        zero = (-low * share / scale).round()
        for _ in range(2):
            steps = (values / scale[..., None] + zero[..., None]).round_().clamp_(0, top).sub_(zero[..., None])
            error = (power * (steps * scale[..., None] - values).square_()).sum(-1)
            better = error < least
            least, scales = torch.where(better, error, least), torch.where(better, scale, scales)
            zeros = torch.where(better, zero, zeros)
            fit, weighed = (power * steps * values).sum(-1), (power * steps * steps).sum(-1)
            scale = torch.where((fit > 0) & (weighed > 0), fit / weighed, scale)
    return scales, zeros


def _packed(levels: NDArray[np.uint8], bits: int, size: int) -> NDArray[np.uint8]:
    """Levels (out, n), padded to whole blocks of `size`, in bytes (out, bytes); the first is in the lowest bits."""
    levels = np.pad(levels, ((0, 0), (0, -levels.shape[1] % size)))
    return levels if bits == 8 else np.bitwise_or(levels[:, ::2], levels[:, 1::2] << 4, dtype=np.uint8)


def write(graph: Graph, matmul: MatMul, blocks: Blocks) -> list[str]:
    """Turn a MatMul into a MatMulNBits of the same name, in place; returns what `store` does."""
    channels_in = graph.initializers[matmul.weight].dims[0]
    names = store(graph, matmul.weight, blocks)
    node = next(node for node in graph.model.graph.node if node.name == matmul.node)
    node.op_type, node.domain = "MatMulNBits", DOMAIN
    node.input[1:] = names
    settings = {"K": channels_in, "N": len(blocks.scales), "bits": blocks.bits, "block_size": blocks.size}
    for name, value in (settings | {"accuracy_level": INT8_ARITHMETIC}).items():
        node.attribute.append(helper.make_attribute(name, value))
    return names


def store(graph: Graph, weight: str, blocks: Blocks) -> list[str]:
    """Put `blocks` in the place of the initializer `weight`; returns the names of packed values, scales and zeros."""
    parts: dict[str, Any] = {f"{weight}_int{blocks.bits}": blocks.packed, f"{weight}_scales": blocks.scales}
    if blocks.zeros is not None:
        parts[f"{weight}_zeros"] = blocks.zeros
    place = graph.initializers.pop(weight)
    for name, values in parts.items():
        tensor = numpy_helper.from_array(values, name)
        if place is None:
            graph.model.graph.initializer.append(tensor)
        else:
            place.CopyFrom(tensor)
        graph.initializers[name] = place or graph.model.graph.initializer[-1]
        place = None
    return list(parts)

"""Weights in 8 or 4 bits by block of inputs, as onnxruntime's MatMulNBits reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from calibration.statistics import Array
from export.graph import Graph, MatMul

DOMAIN = "com.microsoft"
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

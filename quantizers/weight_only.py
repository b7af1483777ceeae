"""Weights in 8 or 4 bits by block, activations quantized on the fly by the kernel (MatMulNBits, accuracy level 4).

Source: onnxruntime's MatMulNBitsQuantizer. `k-quant` searches each block's scale and zero point for the least squared
error (the method of llama.cpp's K quants).
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from export import fused
from export.graph import Graph
from quantizers import Context, Traits
from quantizers.parts import embedding

# Measured on a random Qwen2 of 178 million parameters: 1.3 times the fp32 weights (ru_maxrss, less the libraries).
TRAITS = Traits(inputs=("fused graph",), peak_of_fp32_weights=1.5, bytes_per_parameter=1.5)
TALKATIVE = ("neural_compressor", "onnxruntime.quantization.matmul_nbits_quantizer")


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Literal[4, 8]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    algorithm: Literal["nearest", "k-quant"] = "nearest"
    embedding_bits: Literal[8, 32] = Field(default=8, description="of the embedding and the head")

    @model_validator(mode="after")
    def _algorithm_has_the_bits(self) -> Options:
        if self.algorithm == "k-quant" and self.bits != 4:
            raise ValueError("k-quant exists for 4 bits only")
        return self


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Quantize every weight matmul and the embedding of the fused graph; the head has the embedding's bits."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    if options.embedding_bits == embedding.BITS:
        embedding.quantize(graph)
    names = [matmul.node for matmul in graph.matmuls() if matmul.node != embedding.HEAD]
    quantizer = MatMulNBitsQuantizer(
        graph.model,
        bits=options.bits,
        block_size=options.block_size,
        is_symmetric=True,
        accuracy_level=4,
        nodes_to_exclude=[embedding.HEAD],
        algo_config=_algorithm(options),
    )
    with _quiet():
        quantizer.process()
    graph.model = quantizer.model.model
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    return {"weights": f"int{options.bits}", "compute": "int8 by block", "quantized_matmuls": len(names)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library logs a line for every matrix, and k-quant draws its own bar on stdout."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _algorithm(options: Options) -> Any:
    from onnxruntime.quantization import matmul_nbits_quantizer as library

    if options.algorithm == "k-quant":
        return library.KQuantWeightOnlyQuantConfig()
    return library.DefaultWeightOnlyQuantConfig(
        block_size=options.block_size, is_symmetric=True, accuracy_level=4, bits=options.bits
    )

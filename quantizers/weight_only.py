"""Weights in 8 or 4 bits by block, activations quantized on the fly by the kernel (MatMulNBits, accuracy level 4).

`nearest` rounds each value by itself; `gptq` minds what the inputs are, as 4 bits need it (parts/blocks.py). On
SmolLM2-135M, where down_proj has a quarter of the weights, its 8 bits take away 40 % of the KL that 4 bits add.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from calibration import statistics
from core import progress
from export import fused
from export.graph import Graph
from models import manifest
from quantizers import Context, Traits
from quantizers.parts import blocks, compressed, embedding

# Measured (ru_maxrss, less the libraries): 1.3 times the fp32 weights for 8 bits on SmolLM2-135M, 1.5 for 4 bits with
# gptq; an earlier measurement gave 1.9 on a random model of Qwen2.5-0.5B's shape.
TRAITS = Traits(
    inputs=("fused graph", "statistics"),
    peak_of_fp32_weights=2.0,
    bytes_per_parameter=1.5,
    libraries=tuple(sorted({*manifest.LIBRARIES, *compressed.LIBRARIES})),
)


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")

    bits: Literal[4, 8]
    block_size: Literal[16, 32, 64, 128, 256] = 32
    algorithm: Literal["nearest", "gptq"] = Field(default="nearest", description="gptq: seconds for each layer")
    eight_bits: list[Literal["o_proj", "down_proj"]] = Field(
        default=[], description="matmuls in 8 bits by 64, to the nearest, where 4 bits lose too much"
    )
    embedding_bits: Literal[8, 32] = Field(default=8, description="of the embedding and the head")


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Quantize every weight matmul and the embedding of the fused graph; the head has the embedding's bits."""
    import torch

    compressed.quiet_libraries()
    torch.set_num_threads(context.threads)
    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    if options.embedding_bits == embedding.BITS:
        embedding.quantize(graph)
    matmuls = [matmul for matmul in graph.matmuls() if matmul.node != embedding.HEAD]
    together = [list(readers) for _, readers in groupby(matmuls, lambda matmul: matmul.site)]
    for readers in progress.track(together, f"int{options.bits}", unit="input"):
        weights = [graph.weight(matmul.weight) for matmul in readers]
        if readers[0].node.split("/")[-2] in options.eight_bits:
            rounded = [blocks.nearest(weight, 8, 64) for weight in weights]
        elif options.algorithm == "gptq":
            site = readers[0].site
            rows = statistics.load(context.calibration_folder, [site])[site].sample
            rounded = blocks.gptq(weights, rows, options.bits, options.block_size)
        else:
            rounded = [blocks.nearest(weight, options.bits, options.block_size) for weight in weights]
        for matmul, values in zip(readers, rounded, strict=True):
            blocks.write(graph, matmul, values)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    return {
        "weights": f"int{options.bits}",
        "compute": "int8 by block",
        "algorithm": options.algorithm,
        "block_size": options.block_size,
        "quantized_matmuls": len(matmuls),
        "eight_bits": options.eight_bits,
        "embedding_and_head": f"int{embedding.BITS}" if options.embedding_bits == embedding.BITS else "float32",
    }

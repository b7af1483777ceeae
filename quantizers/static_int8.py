"""INT8 weights and activations with static scales (W8A8) on the fused graph, as far as a KL budget allows.

Steps: a SmoothQuant strength and a clipping range are searched for each matmul input; bias correction takes out the
mean error; each input is then tried alone, and those that do least harm get static scales while the graph's KL stays
within `kl_budget`. The rest, the embedding and the head keep 8-bit weights with a scale for each block of 64, and
scales of the activations made at run time (MatMulNBits): as small, nearly as fast, and close to exact. Llama-like
models have inputs, most often of down_proj, whose first tokens are a thousand times the rest: no static scale fits.

Activations are uint8 with a zero point and weights int8 symmetric, the pair that onnxruntime's CPU kernels run
fastest; outputs stay in fp32. TensorRT wants int8 on both sides: see trt_int8.py.

Sources: SmoothQuant (Xiao et al. 2023, eq. 4); bias correction (Nagel et al. 2019, section 4.2).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from calibration.statistics import Array, Site
from core.errors import QuantizationError
from core.progress import say
from export import fused
from export.graph import Graph
from quantizers import Context, Traits
from quantizers.parts import blocks, budget, embedding, integer, plan, smooth, switches

TRAITS = Traits(inputs=("fused graph", "statistics"), peak_of_fp32_weights=3.5, bytes_per_parameter=1.5)
LEVELS = 255  # uint8 with a zero point
BLOCK = 64  # of the weights that stay wide


class Options(plan.Options):
    kl_budget: float = Field(
        default=0.012,
        gt=0,
        description="nats per token from fp32 on the model's own text: inputs are static up to it",
    )
    bias_correction: bool = True


def quantize(context: Context, options: Options, folder: Path) -> dict[str, object]:
    """Write the graph; raises QuantizationError where the budget allows no static scale or a matmul is no integer."""
    source = context.export_folder / "fused"
    graph = Graph(source / fused.GRAPH)
    parameters, head_dim = graph.parameters(), fused.head_dim(source)
    reference = switches.Session(source / fused.GRAPH, head_dim, context.threads)
    search, held_out = budget.read(context.calibration_folder, reference, parameters)
    del reference
    embedding.quantize(graph)
    made = plan.make(graph, context.calibration_folder, options, clip, smooth.fold)
    for site, choice in made.items():
        write(graph, site, choice, options.bias_correction)
    with tempfile.TemporaryDirectory() as place:
        graph.save(Path(place))
        session = switches.Session(Path(place) / fused.GRAPH, head_dim, context.threads)
        found = budget.spend(session, list(made), search, held_out, options.kl_budget, parameters)
        del session
        graph = Graph(Path(place) / fused.GRAPH)  # saving emptied its weights
    switches.settle(graph, found.static)
    graph.save(folder)
    fused.copy_serving_files(source, folder)
    wanted = [matmul.node for site in found.static for matmul in made[site].readers]
    counts = integer.check(folder / fused.GRAPH, wanted, context.threads)
    measured = held_out.kl(switches.Session(folder / fused.GRAPH, head_dim, context.threads))
    if not measured <= options.kl_budget:
        raise QuantizationError(
            f"the graph as written has a KL of {measured:.2g} nats per token, its search measured "
            f"{found.kl_held_out:.2g}, and kl_budget is {options.kl_budget:g}: do not serve it"
        )
    wide = [site for site in made if site not in found.static]
    say(f"static int8: {len(found.static)} of {len(made)} inputs static, KL {measured:.4f} nats per token")
    return {
        "weights": "int8 per channel",
        "compute": "uint8 x int8, static",
        "integer_matmuls": len(wanted),
        "kl_mean_nats": round(measured, 6),
        "kl_tokens": sum(len(text.reply) for text in held_out.texts),
        "kept_wide": wide,
        "smooth_alphas": {site: choice.alpha for site, choice in made.items()},
        "operators": counts,
    }


@dataclass(frozen=True)
class Clip:
    """The range that 256 levels cover. It contains 0, so that 0 is exact."""

    low: float
    high: float

    @property
    def scale(self) -> float:
        return max(self.high - self.low, 1e-12) / LEVELS

    @property
    def zero(self) -> int:
        """The level that stands for 0."""
        return round(-self.low / self.scale)

    def apply(self, values: Array) -> Array:
        """`values` as they come out of QuantizeLinear and DequantizeLinear."""
        levels = np.clip(np.round(values / self.scale) + self.zero, 0, LEVELS)
        result: Array = ((levels - self.zero) * self.scale).astype(np.float32)
        return result


def clip(site: Site, sampled: plan.Sampled, options: plan.Options) -> Clip:
    """The range of one matmul input: all that was seen, a percentile of the sample, or the output's least error."""
    low, high = min(float(site.low.min()), 0.0), max(float(site.high.max()), 0.0)
    if options.activations == "absmax":
        return Clip(low, high)
    if options.activations == "percentile":
        tail = (100 - options.percentile) / 2
        bottom, top = np.percentile(site.sample, [tail, 100 - tail])
        return Clip(max(low, min(float(bottom), 0.0)), min(high, max(float(top), 0.0)))
    best = Clip(low, high)
    for _ in range(2):  # one end, then the other, twice: outliers are often on one side only
        best = min((Clip(best.low, high * share) for share in plan.SHRINK), key=sampled.error)
        best = min((Clip(low * share, best.high) for share in plan.SHRINK), key=sampled.error)
    return best


def write(graph: Graph, site: str, choice: plan.Choice[Clip], bias_correction: bool) -> None:
    """Give each matmul that reads `site` its two ways, in place: static scales if the switch is on, blocks if not."""
    for matmul in choice.readers:
        weight, output = graph.weight(matmul.weight), matmul.output + switches.ON
        correction = choice.corrections[matmul.node] * bias_correction
        on = integer.static(graph, matmul, weight, choice.clip.scale, choice.clip.zero, correction, output)
        blocks.write(graph, matmul, blocks.nearest(weight, 8, BLOCK))
        switches.add(graph, next(node for node in graph.model.graph.node if node.name == matmul.node), site, on)

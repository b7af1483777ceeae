"""One engine of a variant for one target: refused when it cannot fit, compiled, inspected, hashed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from core import files, paths
from core.progress import say
from host.gpu import Card
from models import manifest
from models.families import Architecture
from models.manifest import Manifest
from models.params import Recipe
from trt import build, inspect, library, profiles
from trt.build import Built
from trt.library import Library
from trt.params import CompileParams, TargetParams
from trt.profiles import Profile
from trt.records import Engine, EngineMemory

PLAN = "engine.plan"
GRAPH = "model.onnx"  # as export writes it, with its weights in model.onnx.data
DISTRIBUTIONS = ("tensorrt", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "onnx")
HALF_BYTES = 2
MIB = 2**20


@dataclass(frozen=True)
class Source:
    """A variant that `quantize` made for TensorRT, already verified."""

    name: str
    folder: Path
    made: Manifest
    digest: str
    recipe: Recipe
    model_folder: Path

    @property
    def weights_bytes(self) -> int:
        return sum(file.bytes for name, file in self.made.files.items() if name.startswith(GRAPH))


def source(name: str, folder: Path, recipe: Recipe, model_folder: Path) -> Source:
    """Verify the variant in `folder`; raises IntegrityError when a file differs."""
    return Source(name, folder, manifest.verify(folder), manifest.digest(folder), recipe, model_folder)


def engine(
    variant: Source,
    target_name: str,
    target: TargetParams,
    params: CompileParams,
    libraries: list[Library],
    card: Card | None,
    folder: Path,
    timings: Path = paths.CACHE / "tensorrt",
) -> Engine:
    """Make the engine and write it as a version into `folder` (created); a refused one leaves nothing there.

    Raises EngineError when TensorRT does not take the graph.
    """
    architecture = variant.made.architecture
    wanted = memory_needed(architecture, params, target.memory_mib, variant.weights_bytes)
    record = Engine(
        target=target_name, compute_capability=target.compute_capability, status="refused", why=None, library=None,
        library_version=None, manifest_sha256=None, plan_mib=None, build_s=None, timing_cache=None, memory=wanted,
        layers=None,
    )  # fmt: skip
    if why := refusal(wanted):
        return record.model_copy(update={"why": why})
    chosen, why = library.choose(target.compute_capability, libraries, card)
    if chosen is None:
        return record.model_copy(update={"status": "not_compiled_here", "why": why})
    record = record.model_copy(update={"library": chosen.name, "library_version": chosen.version})
    planned = profiles.plan(params)
    built = build.build(
        chosen, variant.folder / GRAPH, target.compute_capability, architecture, planned, params.workspace_mib,
        timings / f"{chosen.name}-{chosen.version}-{target.compute_capability}.timing",
    )  # fmt: skip
    needed = memory_needed(architecture, params, target.memory_mib, built.weights_bytes, built.activation_bytes)
    layers = inspect.summarise(built.layers, *_nodes(variant), len(planned))
    record = record.model_copy(
        update={
            "memory": needed,
            "layers": layers,
            "build_s": built.build_s,
            "timing_cache": built.timing_cache,
            "plan_mib": built.plan.nbytes / 2**20,
        }
    )
    for layer in layers.not_int8:
        say(f"compile: {variant.name} for {target_name}: meant for INT8 and is not: {layer}")
    if why := refusal(needed):
        return record.model_copy(update={"why": why})
    _write(variant, record, params, built, planned, folder)
    return record.model_copy(update={"status": "compiled", "manifest_sha256": manifest.digest(folder)})


def memory_needed(
    architecture: Architecture,
    params: CompileParams,
    target_mib: float,
    weights_bytes: int,
    activation_bytes: int | None = None,
) -> EngineMemory:
    """What an engine needs on its card: the sum for the largest batch and the whole context.

    The graph takes its past and gives its present in different buffers, so the KV cache counts twice. Prefill gives
    the logits of every position, because teacher forcing asks for them. Activations are known once it is compiled.
    """
    batch = params.batches[-1]
    row = 2 * architecture.layers * architecture.kv_heads * architecture.head_dim * HALF_BYTES  # of one token
    return EngineMemory(
        batch=batch,
        context_tokens=params.context_tokens,
        weights_mib=weights_bytes / MIB,
        kv_cache_mib=2 * batch * params.context_tokens * row / MIB,
        logits_mib=batch * params.prefill_tokens * architecture.vocabulary * HALF_BYTES / MIB,
        activation_mib=None if activation_bytes is None else activation_bytes / MIB,
        reserve_mib=params.reserve_mib,
        target_mib=target_mib,
    )


def refusal(memory: EngineMemory) -> str | None:
    """Why the engine does not fit, with the sum; None if it does."""
    if memory.total_mib <= memory.target_mib:
        return None
    parts = {
        "weights": memory.weights_mib,
        f"KV cache, past and present, of batch {memory.batch} x {memory.context_tokens} tokens": memory.kv_cache_mib,
        "logits": memory.logits_mib,
        "activations": memory.activation_mib,
        "reserve": memory.reserve_mib,
    }
    terms = " + ".join(f"{size:,.0f} ({name})" for name, size in parts.items() if size is not None)
    advice = "lower compile.batches, compile.context_tokens or compile.prefill_tokens"
    if memory.weights_mib + memory.reserve_mib >= memory.target_mib:
        advice = (
            "the weights alone are too large, take the target out of compile.targets or the recipe out of recipes"
        )
    return (
        f"does not fit: {terms} = {memory.total_mib:,.0f} MiB, the target has {memory.target_mib:,.0f} MiB: {advice}"
    )


def _nodes(variant: Source) -> tuple[list[str], list[str], list[str]]:
    """ONNX node names: weight matmuls, those meant for INT8, attention."""
    graph: Any = onnx.load(variant.folder / GRAPH, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    matmuls = [node.name for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    attention = [node.name for node in graph.node if node.op_type == "Attention"]
    wanted: Any = variant.made.facts.get("int8_layers", [])
    return matmuls, list(wanted), attention


def _write(
    variant: Source,
    record: Engine,
    params: CompileParams,
    built: Built,
    planned: list[Profile],
    folder: Path,
) -> None:
    """The plan, what serving needs beside it, and the manifest, which names builder, target and options."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(folder / PLAN) as temporary:
        temporary.write_bytes(built.plan)
    for name in variant.made.files:
        if "/" not in name and not name.startswith(GRAPH):
            shutil.copy(variant.folder / name, folder)
    manifest.write(
        folder,
        variant=variant.name,
        recipe=variant.recipe,
        model_folder=variant.model_folder,
        facts={
            "made_from": variant.digest,
            "target": record.target,
            "compute_capability": record.compute_capability,
            "library": record.library,
            "library_version": record.library_version,
            "strongly_typed": True,
            "workspace_mib": params.workspace_mib,
            "profiles": profiles.to_json(planned),
            "layers": record.layers.model_dump(mode="json") if record.layers else None,
            "memory": record.memory.model_dump(mode="json"),
        },
        libraries=DISTRIBUTIONS,
    )

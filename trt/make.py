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
from models.manifest import Manifest
from models.params import Recipe
from trt import build, engines, inspect, library, memory, profiles
from trt.build import Built
from trt.library import Library
from trt.params import CompileParams, TargetParams
from trt.profiles import Profile
from trt.records import Engine

GRAPH = "model.onnx"  # as export writes it, with its weights in model.onnx.data
DISTRIBUTIONS = ("tensorrt", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "onnx")


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
    wanted = memory.needed(architecture, params, target.memory_mib, variant.weights_bytes)
    record = Engine(
        target=target_name, compute_capability=target.compute_capability, status="refused", why=None, library=None,
        library_version=None, manifest_sha256=None, plan_mib=None, build_s=None, timing_cache=None, memory=wanted,
        layers=None,
    )  # fmt: skip
    if why := memory.refusal(wanted):
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
    needed = memory.needed(architecture, params, target.memory_mib, built.weights_bytes, built.activation_bytes)
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
    if why := memory.refusal(needed):
        return record.model_copy(update={"why": why})
    _write(variant, record, params, built, planned, folder)
    return record.model_copy(update={"status": "compiled", "manifest_sha256": manifest.digest(folder)})


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
    """The plan, what serving needs beside it, and the manifest, which tells builder, target and options."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(folder / engines.PLAN) as temporary:
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

"""What the builder made of the graph: the precision of every matmul, and whether attention became one kernel.

TensorRT-RTX cannot load an engine without a GPU, so that its inspector is out of reach where engines are compiled.
But the builder, when verbose, writes the same detailed layer information into its log. Each engine layer lists the
ONNX nodes that it came from ("[ONNX Layer: <name>]"), and the type of every tensor that it reads.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import EngineError
from trt.records import EngineLayers

HEADING = "Layers:\n"
COMPUTES = ("gemm", "runtime_fusion", "MatrixMultiply", "Fc")  # kinds of layer, or parts of a name, that multiply
PRECISIONS = {"Int8": "INT8", "Half": "FP16", "Float": "FP32", "BFloat16": "BF16", "FP8": "FP8"}
PROFILE = re.compile(r" ?\[profile (\d+)\]")
LAYER = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: (?P<inputs>.*?)"
    r"(?:, Constants: (?P<constants>.*?))?, Outputs: .*?Metadata: (?P<metadata>.*)$"
)


@dataclass(frozen=True)
class Layer:
    """One layer of the engine. `inputs` and `constants` are data types, `nodes` the ONNX nodes it came from."""

    name: str
    kind: str
    profile: int
    inputs: tuple[str, ...]
    constants: tuple[str, ...]
    nodes: frozenset[str]

    @property
    def precision(self) -> str:
        """INT8 only if both sides are: the activation that is read, and the weights."""
        if "Int8" in self.inputs:
            return "INT8" if "Int8" in self.constants or not self.constants else "mixed"
        first = next(iter(self.inputs), "unknown")
        return PRECISIONS.get(first, first)


def from_log(messages: Iterable[str]) -> list[Layer]:
    """Every layer that a verbose builder logged. Raises EngineError if there is none."""
    layers: list[Layer] = []
    for message in messages:
        if message.startswith(HEADING):
            for line in message.removeprefix(HEADING).splitlines():
                if found := LAYER.match(line):
                    layers.append(_layer(found, layers))
                elif line.startswith("Bindings"):
                    break
    if not layers:
        raise EngineError(
            "the builder logged no layers: set profiling_verbosity to DETAILED and the logger to VERBOSE"
        )
    return layers


def _layer(found: re.Match[str], earlier: Sequence[Layer]) -> Layer:
    """Layers of later profiles say so in a name or a tensor; one that does not belongs to the profile before it."""
    marked = PROFILE.search(found["name"]) or PROFILE.search(found["inputs"])
    profile = int(marked[1]) if marked else earlier[-1].profile if earlier else 0
    return Layer(
        name=PROFILE.sub("", found["name"]),
        kind=found["kind"],
        profile=profile,
        inputs=tuple(re.findall(r"Datatype: (\w+)", found["inputs"])),
        constants=tuple(re.findall(r"Datatype: (\w+)", found["constants"] or "")),
        nodes=frozenset(re.findall(r"\[ONNX Layer: ([^\]]*)\]", found["metadata"])),
    )


def from_inspector(text: str) -> list[Layer]:
    """The same from EngineInspector.get_engine_information(JSON), where an engine can be loaded."""
    layers: list[Layer] = []
    for entry in json.loads(text)["Layers"]:
        if isinstance(entry, str):
            raise EngineError("the engine gives layer names only: build it with profiling_verbosity DETAILED")
        marked = PROFILE.search(entry["Name"])
        layers.append(
            Layer(
                name=PROFILE.sub("", entry["Name"]),
                kind=entry["LayerType"],
                profile=int(marked[1]) if marked else layers[-1].profile if layers else 0,
                inputs=_types(entry.get("Inputs", [])),
                constants=_types(entry.get("Constants", [])),
                nodes=frozenset(re.findall(r"\[ONNX Layer: ([^\]]*)\]", entry.get("Metadata", ""))),
            )
        )
    return layers


def _types(tensors: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Data types as the log has them: `Half` from "Datatype", or from TensorRT 8's "Format/Datatype"."""
    found = (str(tensor.get("Datatype") or tensor.get("Format/Datatype", "unknown")) for tensor in tensors)
    return tuple(next((word for word in PRECISIONS if word.lower() in text.lower()), text) for text in found)


def summarise(
    layers: Sequence[Layer], matmuls: Sequence[str], int8: Sequence[str], attention: Sequence[str], profiles: int
) -> EngineLayers:
    """Precision of each of `matmuls` (ONNX node names), those of `int8` that are not, and the fused `attention`."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for node in matmuls:
        by_profile = [_precision(layers, node, profile) for profile in range(profiles)]
        counts[by_profile[0] if len(set(by_profile)) == 1 else "differs by profile"] += 1
        if node in int8:
            wrong += [
                f"{node} ({precision}, profile {profile})"
                for profile, precision in enumerate(by_profile)
                if precision != "INT8"
            ]
    fused = [all(_is_fused(layers, node, profile) for profile in range(profiles)) for node in attention]
    return EngineLayers(
        engine_layers=len(layers),
        matmuls=dict(sorted(counts.items())),
        int8_wanted=len(int8),
        not_int8=wrong,
        attention=len(attention),
        attention_fused=sum(fused),
    )


def _precision(layers: Sequence[Layer], node: str, profile: int) -> str:
    """Precision of the layer that multiplies for `node`; pointwise layers behind it carry its name too."""
    own = [layer for layer in layers if layer.profile == profile and node in layer.nodes]
    multiplying = [layer for layer in own if layer.kind in COMPUTES or any(part in layer.name for part in COMPUTES)]
    found = {layer.precision for layer in multiplying}
    return found.pop() if len(found) == 1 else "unknown" if not found else "mixed"


def _is_fused(layers: Sequence[Layer], node: str, profile: int) -> bool:
    """One kernel of multi-head attention carries the node; unfused, it is two matmuls and a softmax."""
    own = [layer for layer in layers if layer.profile == profile and node in layer.nodes]
    return any("mha" in layer.name.lower() for layer in own) and not any(layer.kind == "gemm" for layer in own)

"""Faults to plant in an exported graph, fused or standard, float32 or float16. Each changes it in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from onnx import helper, numpy_helper

from export import fused
from export.graph import Graph, MatMul
from quantizers.parts import tensorrt_graph
from quantizers.parts.tensorrt_graph import StandardGraph

Fault: TypeAlias = Callable[[Graph], None]
KINDS: dict[str, Callable[[Path], Graph]] = {"fused": Graph, "standard": StandardGraph}


def planted(export_folder: Path, kind: str, dtype: str, plant: Fault | None, folder: Path) -> Path:
    """Save `export_folder`'s graph of that kind into `folder`, in `dtype` and with the fault; returns its path."""
    graph = KINDS[kind](export_folder / kind / fused.GRAPH)
    if dtype == "float16":
        _to_fp16(kind, graph)
    if plant:
        plant(graph)
    shutil.rmtree(folder, ignore_errors=True)  # onnx would add its tensors to the ones of a graph that is there
    folder.mkdir()
    graph.save(folder)
    return folder / fused.GRAPH


def _to_fp16(kind: str, graph: Graph) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    if kind == "fused":
        graph.model = convert_float_to_float16(graph.model, keep_io_types=False, disable_shape_infer=True)
        graph.initializers = {tensor.name: tensor for tensor in graph.model.graph.initializer}
    else:
        tensorrt_graph.to_fp16(graph.model)


def padding_is_seen(graph: Graph) -> None:
    """The attention mask counts as all ones."""
    _insert(graph, "attention_mask", lambda mask, out: [helper.make_node("Max", [mask, _number(graph, 1)], [out])])


def future_is_seen(graph: Graph) -> None:
    """A prompt's tokens attend to those behind them (standard graph)."""
    nodes = graph.model.graph.node
    index, node = next((index, node) for index, node in enumerate(nodes) if node.op_type == "LessOrEqual")
    nodes.insert(index, helper.make_node("Add", [node.input[1], _number(graph, 2**31)], ["number/never"]))
    node.input[1] = "number/never"


def window_of(tokens: int) -> Fault:
    """A token attends to the last `tokens` alone (fused graph)."""
    return lambda graph: _set_attributes(graph, "local_window_size", lambda _: tokens)


def positions_off_by_one_from(first: int) -> Fault:
    """Position `first` and every later one counts as the next."""

    def plant(graph: Graph) -> None:
        if "cos_cache" in graph.initializers:
            for name in ("cos_cache", "sin_cache"):
                _change(graph, name, lambda rows: np.concatenate([rows[:first], rows[first + 1 :], rows[-1:]]))
        else:
            _insert(graph, "position_ids", lambda ids, out: [
                helper.make_node("GreaterOrEqual", [ids, _number(graph, first)], [f"{out}/late"]),
                helper.make_node("Cast", [f"{out}/late"], [f"{out}/one"], to=7),
                helper.make_node("Add", [ids, f"{out}/one"], [out]),
            ])  # fmt: skip

    return plant


def positions_off_by_one_in_decode(graph: Graph) -> None:
    """Wherever there is a past, positions count as the next (standard graph)."""
    _insert(graph, "position_ids", lambda ids, out: [
        helper.make_node("Shape", ["past_key_values.0.key"], [f"{out}/past"], start=2, end=3),
        helper.make_node("Min", [f"{out}/past", _number(graph, 1)], [f"{out}/one"]),
        helper.make_node("Add", [ids, f"{out}/one"], [out]),
    ])  # fmt: skip


def cache_shifted(graph: Graph) -> None:
    """The keys of layer 0 come back one place further: token t has those of token t + 1."""
    name = "present.0.key"
    for node in graph.model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{name}/right" if found == name else found for found in names]
    one, axis, end = (_number(graph, value) for value in (1, 2, 2**31))
    graph.model.graph.node.extend([
        helper.make_node("Slice", [f"{name}/right", one, end, axis], [f"{name}/later"]),
        helper.make_node("Slice", [f"{name}/right", _number(graph, 0), one, axis], [f"{name}/first"]),
        helper.make_node("Concat", [f"{name}/later", f"{name}/first"], [name], axis=2),
    ])  # fmt: skip


def layers_swapped(graph: Graph) -> None:
    """The output projections of attention of the first and the last layer."""
    first, last = _output_projections(graph)[0].weight, _output_projections(graph)[-1].weight
    values = _value(graph, first)
    _change(graph, first, lambda _: _value(graph, last))
    _change(graph, last, lambda _: values)


def weight_times(factor: float) -> Fault:
    """One layer's output projection of attention (the last one's, which the fewest operators follow)."""
    return lambda graph: _change(graph, _output_projections(graph)[-1].weight, lambda weight: weight * factor)


def attention_scale_times(factor: float) -> Fault:
    return lambda graph: _set_attributes(graph, "scale", lambda scale: scale * factor)


def epsilon_times(factor: float) -> Fault:
    return lambda graph: _set_attributes(graph, "epsilon", lambda epsilon: epsilon * factor)


def _output_projections(graph: Graph) -> list[MatMul]:
    return [matmul for matmul in graph.matmuls() if matmul.site.endswith(".o")]


def _set_attributes(graph: Graph, name: str, change: Callable[[Any], Any]) -> None:
    found = [attribute for node in graph.model.graph.node for attribute in node.attribute if attribute.name == name]
    assert found
    for attribute in found:
        attribute.CopyFrom(helper.make_attribute(name, change(helper.get_attribute_value(attribute))))


def _value(graph: Graph, name: str) -> Any:
    return numpy_helper.to_array(graph.initializers[name]).copy()


def _change(graph: Graph, name: str, change: Callable[[Any], Any]) -> None:
    before = _value(graph, name)
    after = np.asarray(change(before)).astype(before.dtype)
    assert after.shape == before.shape
    graph.initializers[name].CopyFrom(numpy_helper.from_array(after, name))


def _insert(graph: Graph, name: str, nodes: Callable[[str, str], list[Any]]) -> None:
    """Put `nodes` between the input `name` and all that read its values."""
    changed = f"{name}/changed"
    for node in graph.model.graph.node:
        if node.op_type != "Shape":
            node.input[:] = [changed if found == name else found for found in node.input]
    for index, node in enumerate(nodes(name, changed)):
        graph.model.graph.node.insert(index, node)


def _number(graph: Graph, value: int) -> str:
    name = f"number/{value}"
    if name not in graph.initializers:
        graph.model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
        graph.initializers[name] = graph.model.graph.initializer[-1]
    return name

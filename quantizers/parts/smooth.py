"""SmoothQuant: move the outliers of activations into weights, exactly, before anything is rounded.

s_j = max|x_j|^a / max|W_j|^(1-a) for channel j. The input is divided by s where it is made (a norm's weight, the rows
that make v, or up), the weights that read it are multiplied. Source: Xiao et al. 2023, eq. 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import Array, Site
from core.errors import QuantizationError
from export.graph import Graph, MatMul

Groups: TypeAlias = NDArray[np.int64]


def fold(graph: Graph, sites: Mapping[str, Site], alpha: float) -> dict[str, Site]:
    """Smooth every input that a MatMul reads in place; returns the statistics of these as they are after it."""
    readers: dict[str, list[MatMul]] = {}
    for matmul in graph.matmuls():
        readers.setdefault(matmul.site, []).append(matmul)
    return {name: fold_site(graph, sites[name], readers[name], alpha) for name in sites if name in readers}


def fold_site(graph: Graph, site: Site, readers: list[MatMul], alpha: float) -> Site:
    """Smooth one input in place, which all of `readers` read; returns its statistics as they are after it."""
    weight_max = np.maximum.reduce([np.abs(graph.weight(matmul.weight)).max(1) for matmul in readers])
    kind = readers[0].site.split(".")[-1]
    groups = _head_groups(graph, readers[0], len(weight_max)) if kind == "o" else np.arange(len(weight_max))
    factors = _factors(site.absmax, weight_max, alpha, groups)
    {"o": _scale_values, "down": _scale_up}.get(kind, _scale_norm)(graph, readers[0], factors, groups)
    for matmul in readers:
        graph.set_weight(matmul.weight, graph.weight(matmul.weight) * factors[:, None])
    return replace(
        site, low=site.low / factors, high=site.high / factors, mean=site.mean / factors, sample=site.sample / factors
    )


def _factors(absmax: Array, weight_max: Array, alpha: float, groups: Groups) -> Array:
    """One factor for each channel; channels of one group (made by the same row) share it. Dead channels keep 1."""
    activation, weight = np.zeros(groups.max() + 1), np.zeros(groups.max() + 1)
    np.maximum.at(activation, groups, absmax)
    np.maximum.at(weight, groups, weight_max)
    alive = (activation > 1e-8) & (weight > 1e-8)
    factors = np.ones_like(activation)
    factors[alive] = activation[alive] ** alpha / weight[alive] ** (1 - alpha)
    factors[alive] /= np.exp(np.log(factors[alive]).mean()) if alive.any() else 1.0
    result: Array = np.clip(factors, 1e-3, 1e3)[groups].astype(np.float32)
    return result


def _head_groups(graph: Graph, o_proj: MatMul, channels: int) -> Groups:
    """Channel of o's input → row of v that makes it: under grouped-query attention several heads share one."""
    attention = graph.producer(o_proj.input)
    fields = {field.name: field.i for field in attention.attribute if field.name in ("num_heads", "kv_num_heads")}
    head_dim = channels // fields["num_heads"]
    shared_by = fields["num_heads"] // fields["kv_num_heads"]
    head, position = np.divmod(np.arange(channels), head_dim)
    groups: Groups = (head // shared_by) * head_dim + position
    return groups


def _scale_norm(graph: Graph, reader: MatMul, factors: Array, _groups: Groups) -> None:
    norm = graph.producer(reader.input)
    weight = norm.input[2 if norm.op_type.startswith("Skip") else 1]
    if "Normalization" not in norm.op_type or weight not in graph.initializers:
        raise QuantizationError(f"{reader.node} reads from {norm.op_type} {norm.name}: no norm to smooth")
    graph.set_weight(weight, graph.weight(weight) / factors)


def _scale_up(graph: Graph, reader: MatMul, factors: Array, _groups: Groups) -> None:
    """down's input is act(gate) * up: divide the columns that make up, and up's bias where it has one."""
    prefix = reader.node.rsplit("/", 2)[0]
    up = next(matmul for matmul in graph.matmuls() if matmul.node == f"{prefix}/up_proj/MatMul")
    _scale_columns(graph, up, factors, 0)
    for node in graph.consumers(up.output):
        for name in node.input:
            if node.op_type == "Add" and name in graph.initializers:
                graph.set_weight(name, graph.weight(name) / factors)


def _scale_values(graph: Graph, reader: MatMul, factors: Array, groups: Groups) -> None:
    """o's input is a mix of v's rows: divide v's columns, the last ones of a packed qkv, and their bias."""
    attention = graph.producer(reader.input)
    rows = np.empty(groups.max() + 1, np.float32)
    rows[groups] = factors
    source = attention.input[2] or attention.input[0]  # v, or packed qkv
    matmuls = {matmul.output: matmul for matmul in graph.matmuls()}
    producer = graph.producer(source)
    output = source if source in matmuls else next(name for name in producer.input if name in matmuls)
    columns = graph.weight(matmuls[output].weight).shape[1]
    _scale_columns(graph, matmuls[output], rows, columns - len(rows))
    for name in producer.input:
        if producer.op_type == "Add" and name in graph.initializers:
            vector = graph.weight(name)
            vector[columns - len(rows) :] /= rows
            graph.set_weight(name, vector)


def _scale_columns(graph: Graph, matmul: MatMul, factors: Array, start: int) -> None:
    weight = graph.weight(matmul.weight)
    weight[:, start : start + len(factors)] /= factors
    graph.set_weight(matmul.weight, weight)

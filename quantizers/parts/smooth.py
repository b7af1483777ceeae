"""SmoothQuant: move the outliers of activations into weights, exactly, before anything is rounded.

s_j = max|x_j|^a / max|W_j|^(1-a) for channel j. The input is divided by s where it is made (a norm's weight, the rows
that make v, or up), the weights that read it are multiplied. Source: Xiao et al. 2023, eq. 4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.statistics import Array, Site
from core.errors import QuantizationError
from export.graph import Graph, MatMul

Groups: TypeAlias = NDArray[np.int64]


def fold(graph: Graph, site: Site, readers: list[MatMul], alpha: float) -> Site:
    """Smooth one input in place, which all of `readers` read; returns its statistics as they are after it."""
    channels = factors(graph, site, readers, alpha)
    kind = readers[0].site.split(".")[-1]
    {"o": _scale_values, "down": _scale_up}.get(kind, _scale_norm)(graph, readers[0], channels)
    for matmul in readers:
        graph.set_weight(matmul.weight, graph.weight(matmul.weight) * channels[:, None])
    return divided(site, channels)


def divided(site: Site, channels: Array) -> Site:
    """The statistics of an input once each of its channels is divided by its factor."""
    parts = {name: getattr(site, name) / channels for name in ("low", "high", "mean", "sample")}
    return replace(site, **parts)


def factors(graph: Graph, site: Site, readers: list[MatMul], alpha: float) -> Array:
    """One factor for each channel of an input, float32 of shape (channels,); 1 where `alpha` is 0."""
    weight_max = np.maximum.reduce([np.abs(graph.weight(matmul.weight)).max(1) for matmul in readers])
    if alpha == 0:
        return np.ones_like(weight_max)
    groups = _groups(graph, readers[0], len(weight_max))
    return _factors(site.absmax, weight_max, alpha, groups)


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


def _groups(graph: Graph, reader: MatMul, channels: int) -> Groups:
    """Channel → group of channels that one factor scales: each its own, but for the input of o.

    That is a mix of v's rows, and under grouped-query attention several heads share one.
    """
    if not reader.site.endswith(".o"):
        return np.arange(channels)
    attention = graph.producer(reader.input)
    fields = {field.name: field.i for field in attention.attribute if field.name in ("num_heads", "kv_num_heads")}
    head_dim = channels // fields["num_heads"]
    shared_by = fields["num_heads"] // fields["kv_num_heads"]
    head, position = np.divmod(np.arange(channels), head_dim)
    groups: Groups = (head // shared_by) * head_dim + position
    return groups


def _scale_norm(graph: Graph, reader: MatMul, factors: Array) -> None:
    norm = graph.producer(reader.input)
    weight = norm.input[2 if norm.op_type.startswith("Skip") else 1]
    if "Normalization" not in norm.op_type or weight not in graph.initializers:
        raise QuantizationError(f"{reader.node} reads from {norm.op_type} {norm.name}: no norm to smooth")
    graph.set_weight(weight, graph.weight(weight) / factors)


def _scale_up(graph: Graph, reader: MatMul, factors: Array) -> None:
    """down's input is act(gate) * up: divide the columns that make up, and up's bias where it has one."""
    prefix = reader.node.rsplit("/", 2)[0]
    up = next(matmul for matmul in graph.matmuls() if matmul.node == f"{prefix}/up_proj/MatMul")
    _scale_columns(graph, up, factors, 0)
    for node in graph.consumers(up.output):
        for name in node.input:
            if node.op_type == "Add" and name in graph.initializers:
                graph.set_weight(name, graph.weight(name) / factors)


def _scale_values(graph: Graph, reader: MatMul, factors: Array) -> None:
    """o's input is a mix of v's rows: divide v's columns, the last ones of a packed qkv, and their bias."""
    attention = graph.producer(reader.input)
    groups = _groups(graph, reader, len(factors))
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

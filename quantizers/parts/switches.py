"""A graph in which each matmul can run in one of two ways, chosen at run time: what a search tries choices on.

Every node with a switch is an ONNX `If` on a graph input. A search loads the graph once, however many choices it
tries, and measures on the kernels that will serve. `settle` leaves the chosen ways alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from calibration.statistics import Array, OwnText
from export.graph import Graph

INPUT = "switch/"  # a graph input for each switch: bool, true for the first way
ON, OFF = "/on", "/off"


def add(graph: Graph, node: Any, switch: str, on: Sequence[Any]) -> None:
    """Let `switch` choose between the nodes `on`, whose last one writes `node`'s output + ON, and `node` as it is."""
    output = node.output[0]
    off = type(node)()
    off.CopyFrom(node)
    off.output[0] = output + OFF
    ways = {
        branch: helper.make_graph(
            nodes, node.name + end, [], [helper.make_tensor_value_info(output + end, TensorProto.FLOAT, None)]
        )
        for branch, nodes, end in (("then_branch", on, ON), ("else_branch", [off], OFF))
    }
    chosen = helper.make_node("If", [INPUT + switch], [output], name=node.name, **ways)
    inputs = graph.model.graph.input
    if all(entry.name != INPUT + switch for entry in inputs):
        inputs.append(helper.make_tensor_value_info(INPUT + switch, TensorProto.BOOL, []))
    node.CopyFrom(chosen)


def settle(graph: Graph, on: Iterable[str]) -> None:
    """Put the chosen way in the place of every switch, in place, and drop what the other one needed."""
    body, chosen = graph.model.graph, {INPUT + name for name in on}
    nodes: list[Any] = []
    for node in body.node:
        if node.op_type != "If" or not node.input[0].startswith(INPUT):
            nodes.append(node)
            continue
        ways = {field.name: field.g for field in node.attribute}
        way = ways["then_branch" if node.input[0] in chosen else "else_branch"]
        way.node[-1].output[0] = node.output[0]
        nodes.extend(way.node)
    for place in reversed(range(len(body.input))):
        if body.input[place].name.startswith(INPUT):
            del body.input[place]
    graph.replace_nodes(nodes)


class Session:
    """A saved graph, loaded: logits of texts with some switches on."""

    def __init__(self, graph: Path, head_dim: int, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        self._head_dim = head_dim
        self._inputs = {entry.name: entry for entry in self._session.get_inputs()}

    def log_probabilities(self, text: OwnText, on: Iterable[str] = ()) -> Array:
        """Of the next token at each token of the reply: float32 (reply, vocabulary)."""
        ids = np.array([text.prompt + text.reply], np.int64)
        feed: dict[str, NDArray[Any]] = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "position_ids": np.arange(ids.shape[1])[None],
        }
        for name, entry in self._inputs.items():
            if name.startswith("past_key_values"):
                feed[name] = np.zeros((1, entry.shape[1], 0, self._head_dim), np.float32)
            if name.startswith(INPUT):
                feed[name] = np.array(name.removeprefix(INPUT) in on)
        (logits,) = self._session.run(
            ["logits"], {name: value for name, value in feed.items() if name in self._inputs}
        )
        first = len(text.prompt) - 1
        values: Array = logits[0, first : first + len(text.reply)].astype(np.float32)
        values -= values.max(1, keepdims=True)
        values -= np.log(np.exp(values).sum(1, keepdims=True))
        return values


def divergence(reference: Sequence[Array], others: Sequence[Array]) -> float:
    """Mean KL of the second from the first, in nats per token; both are log probabilities (tokens, vocabulary)."""
    each = [(np.exp(one) * (one - other)).sum(1) for one, other in zip(reference, others, strict=True)]
    return float(np.concatenate(each).mean())

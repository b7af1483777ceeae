"""The standard graph: torch.onnx's dynamo exporter, opset 23, no contrib operator. TensorRT and others read it.

Inputs: input_ids int64 (batch, length), attention_mask int64 (batch, past + length), position_ids int64 (batch,
length), past_key_values.N.key/value float32 (batch, kv heads, past, head dim).
Outputs: logits float32 (batch, length, vocabulary), present.N.key/value (batch, kv heads, past + length, head dim).
Source: https://pytorch.org/docs/stable/onnx_dynamo.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import torch

from core import files
from core.errors import ExportError
from export import fused
from export.graph import SCOPES
from models import families

OPSET = 23


class _WithFlatCache(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """A causal LM whose KV cache is a flat list of tensors, as a graph needs it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: list[Any]) -> list[Any]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        mask = _causal_mask(input_ids.shape[1], attention_mask)
        output = self.model(input_ids, attention_mask=mask, position_ids=position_ids, past_key_values=cache)
        present = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        return [output.logits, *present]


def _causal_mask(length: int, attention_mask: Any) -> Any:
    """bool (batch, 1, length, past + length): a query sees the real tokens up to itself."""
    total = attention_mask.shape[1]
    queries = torch.arange(length, device=attention_mask.device) + (total - length)
    keys = torch.arange(total, device=attention_mask.device)
    return (keys[None, :] <= queries[:, None])[None, None] & attention_mask.bool()[:, None, None, :]


def export(model_folder: Path, folder: Path, threads: int) -> None:
    """Write model.onnx (fp32) with external data and a genai_config.json that drives it into `folder`.

    The configuration starts from the fused graph's, which must stand in ../fused.
    """
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    architecture = families.read(model_folder)
    model = AutoModelForCausalLM.from_pretrained(
        model_folder,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        attn_implementation="sdpa",
    ).eval()
    names = [f"{layer}.{part}" for layer in range(architecture.layers) for part in ("key", "value")]
    example, dynamic = _example(architecture)
    try:
        program = torch.onnx.export(
            _WithFlatCache(model).eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            verbose=False,
            input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{n}" for n in names)],
            output_names=["logits", *(f"present.{n}" for n in names)],
        )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"torch.onnx could not export {model_folder}: {str(error).splitlines()[0]}") from error
    folder.mkdir(parents=True, exist_ok=True)
    program.save(str(folder / fused.GRAPH), external_data=True)
    _forget_source(folder / fused.GRAPH)
    fused.copy_serving_files(folder.parent / "fused", folder)
    _settle_config(folder)


def _forget_source(graph: Path) -> None:
    """The exporter writes stack traces into every node, with the path of this file on this machine: the same work in
    another folder would be another version. The names of modules stay, by which a matmul's place is found."""
    model = onnx.load(graph, load_external_data=False)
    for node in model.graph.node:
        kept = [(entry.key, entry.value) for entry in node.metadata_props if entry.key == SCOPES]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)
    files.write_bytes(graph, model.SerializeToString())


def _example(architecture: Any) -> tuple[tuple[Any, ...], Any]:
    """Example inputs (batch 2, past 3, length 4) and which of their dimensions vary."""
    batch, past, length = 2, 3, 4
    cache = [
        torch.zeros(batch, architecture.kv_heads, past, architecture.head_dim) for _ in range(2 * architecture.layers)
    ]
    ids = torch.ones(batch, length, dtype=torch.long)
    mask = torch.ones(batch, past + length, dtype=torch.long)
    positions = torch.arange(past, past + length).expand(batch, length)
    vary = torch.export.Dim.DYNAMIC
    shapes = ({0: vary, 1: vary}, {0: vary, 1: vary}, {0: vary, 1: vary}, [{0: vary, 2: vary} for _ in cache])
    return (ids, mask, positions, cache), shapes


def _settle_config(folder: Path) -> None:
    """The engine must give position ids, and cannot share one buffer between past and present here."""
    path = folder / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["decoder"]["inputs"]["position_ids"] = "position_ids"
    config["search"]["past_present_share_buffer"] = False
    files.write_text(path, json.dumps(config, indent=2) + "\n")

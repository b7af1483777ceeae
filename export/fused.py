"""The fused graph: onnxruntime-genai's own builder, with GroupQueryAttention and packed QKV.

It runs in a process of its own, because it peaks at about three times the weights and keeps what it took.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx

from core import files
from core.errors import ExportError

GRAPH = "model.onnx"
GRAPH_DATA = "model.onnx.data"


def export(
    model_folder: Path,
    folder: Path,
    threads: int,
    precision: str = "fp32",
    provider: str = "cpu",
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write model.onnx, its external data, genai_config.json and the tokenizer's files into `folder`.

    `extra` are the builder's own options. Raises ExportError with the builder's last lines if it fails.
    """
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", "local", "-i", str(model_folder)]
        command += ["-o", str(folder), "-p", precision, "-e", provider, "-c", cache]
        if extra:
            command += ["--extra_options", *(f"{name}={value}" for name, value in extra.items())]
        run = subprocess.run(command, capture_output=True, text=True, env=_environment(threads), check=False)
    if run.returncode != 0:
        last = " | ".join((run.stderr or run.stdout).strip().splitlines()[-3:])
        raise ExportError(f"onnxruntime-genai's builder failed on {model_folder}: {last}")
    _forget_commit(folder / GRAPH)
    _settle_config(model_folder, folder)


def _settle_config(model_folder: Path, folder: Path) -> None:
    """Greedy search by default, and the pad token that the tokenizer has: the engine reads row lengths by it."""
    path = folder / "genai_config.json"
    config = json.loads(path.read_text())
    config["search"].update(do_sample=False, top_k=1)
    config["model"]["pad_token_id"] = pad_token_id(model_folder, config["model"]["pad_token_id"])
    files.write_text(path, json.dumps(config, indent=2) + "\n")


def pad_token_id(model_folder: Path, otherwise: int) -> int:
    """The id to pad batches with. Right padding is found by this id, so it must never occur in a prompt."""
    from models import tokenizer

    found = tokenizer.load(model_folder).pad_token_id
    return int(found) if found is not None else otherwise


def head_dim(graph_folder: Path) -> int:
    """Values of one head in the KV cache, as the engine is told."""
    config = json.loads((graph_folder / "genai_config.json").read_text())
    return int(config["model"]["decoder"]["head_size"])


def copy_serving_files(graph_folder: Path, folder: Path) -> None:
    """Copy what stands beside a graph (configuration and tokenizer) into a variant's folder."""
    for file in sorted(graph_folder.iterdir()):
        if file.is_file() and file.name not in (GRAPH, GRAPH_DATA):
            shutil.copy(file, folder)


def _environment(threads: int) -> dict[str, str]:
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return os.environ | offline | {"OMP_NUM_THREADS": str(threads)}


def _forget_commit(graph: Path) -> None:
    """The builder writes the git commit of the folder it runs in into the graph: not what the graph was made from."""
    model = onnx.load(graph, load_external_data=False)
    model.producer_version = model.producer_version.split("+")[0]
    files.write_bytes(graph, model.SerializeToString())

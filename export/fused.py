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
CONFIG = "genai_config.json"


def export(
    model_folder: Path,
    folder: Path,
    threads: int,
    precision: str = "fp32",
    provider: str = "cpu",
    extra: Mapping[str, str] | None = None,
) -> None:
    """Write model.onnx, its external data and genai_config.json into `folder`.

    No tokenizer: the builder writes one with transformers' own rules. `extra` are the builder's own options. Raises
    ExportError with the builder's last lines if it fails.
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
    for file in folder.iterdir():
        if file.name not in (GRAPH, GRAPH_DATA, CONFIG):
            file.unlink()
    _forget_commit(folder / GRAPH)
    _search_greedily(folder / CONFIG)


def _search_greedily(path: Path) -> None:
    config = json.loads(path.read_text())
    config["search"].update(do_sample=False, top_k=1)
    files.write_text(path, json.dumps(config, indent=2) + "\n")


def head_dim(graph_folder: Path) -> int:
    """Values of one head in the KV cache, as the engine is told."""
    config = json.loads((graph_folder / CONFIG).read_text())
    return int(config["model"]["decoder"]["head_size"])


def copy_serving_files(graph_folder: Path, folder: Path) -> None:
    """Copy the configuration that stands beside a graph into a variant's folder."""
    shutil.copy(graph_folder / CONFIG, folder)


def _environment(threads: int) -> dict[str, str]:
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return os.environ | offline | {"OMP_NUM_THREADS": str(threads)}


def _forget_commit(graph: Path) -> None:
    """The builder writes the git commit of the folder it runs in into the graph: not what the graph was made from."""
    model = onnx.load(graph, load_external_data=False)
    model.producer_version = model.producer_version.split("+")[0]
    files.write_bytes(graph, model.SerializeToString())

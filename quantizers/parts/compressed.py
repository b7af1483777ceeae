"""What the recipes for vLLM share: llm-compressor over the calibration items, and the checkpoint that vLLM reads.

Source: llm-compressor 0.14, `oneshot`; compressed-tensors 0.20, its checkpoint format.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.errors import QuantizationError
from core.progress import say
from data import items
from models import families, manifest, vllm_settings
from models.vllm_settings import EngineSettings
from quantizers import Context

HEAD = "lm_head"  # stays wide: its error goes straight into every logit, and vLLM expects it so
LIBRARIES = ("compressed-tensors", "llmcompressor", "torch", "transformers")
BATCH = 16


class CheckpointOptions(BaseModel):
    """Options of every recipe for vLLM: how its engine is set."""

    model_config = ConfigDict(extra="forbid")

    engine: EngineSettings = EngineSettings()


class CalibratedOptions(CheckpointOptions):
    calibration_items: int = Field(default=128, ge=1, description="of the calibration split, the first ones")


def load(context: Context, engine: EngineSettings) -> Any:
    """The original model in the dtype that will serve, on the GPU where there is one.

    Raises ConfigError when vLLM could not load the model with these settings.
    """
    vllm_settings.check(engine, families.read(context.model_folder))
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(context.threads)
    torch.manual_seed(context.seed)
    model = AutoModelForCausalLM.from_pretrained(
        context.model_folder,
        dtype=getattr(torch, engine.dtype),
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def compress(
    context: Context, recipe: Sequence[Any], options: CalibratedOptions, folder: Path, groups_of: int | None = None
) -> dict[str, object]:
    """Apply llm-compressor's modifiers to the original and write the checkpoint; returns facts for the manifest.

    Raises QuantizationError naming the layers that `groups_of` does not divide, or that were meant to be quantized
    and are not.
    """
    quiet_libraries()
    from llmcompressor.core import reset_session
    from llmcompressor.entrypoints import oneshot

    model = load(context, options.engine)
    _check_groups(model, groups_of)
    batches = _batches(context, options.calibration_items)
    with _bars_only_in_a_terminal():
        oneshot(model=model, dataset=_loader(batches), recipe=list(recipe))
        quantized, kept = _linear_layers(model)
        write(model, context.model_folder, folder)
        reset_session()
    if wrong := [name for name in kept if name != HEAD]:
        raise QuantizationError(f"meant to be quantized and are not: {', '.join(wrong)}")
    rest = ", ".join(kept) or "none"
    say(f"llm-compressor: {len(quantized)} layers quantized, {rest} kept in {options.engine.dtype}")
    return {
        "quantized_layers": len(quantized),
        "kept_wide": kept,
        "calibration_tokens": sum(int(batch.numel()) for batch in batches),
        vllm_settings.FACT: options.engine.model_copy(update={"quantization": "compressed-tensors"}).model_dump(),
    }


def write(model: Any, model_folder: Path, folder: Path) -> None:
    """The model's weights and configuration, with the original's tokenizer and generation settings beside them."""
    model.save_pretrained(folder, save_compressed=True)
    for name in manifest.source_files(model_folder):
        weights = name.endswith((".safetensors", ".safetensors.index.json"))
        if not weights and name != "config.json":
            shutil.copy(model_folder / name, folder / name)
    for file in folder.iterdir():
        file.chmod(0o644)  # a server runs as another user


def _batches(context: Context, count: int) -> list[Any]:
    """Token ids, int64 of shape (up to BATCH, length): prompt and worked solution.

    Items of like length stand together and are cut to the shortest of them: no padding enters the statistics.
    """
    import torch

    rows = items.load(context.data_folder, "calibration")[:count]
    limit = families.read(context.model_folder).max_position_embeddings
    sequences = sorted(([*row.prompt_ids, *row.target_ids][:limit] for row in rows), key=len)
    parts = [sequences[start : start + BATCH] for start in range(0, len(sequences), BATCH)]
    return [torch.tensor([sequence[: len(part[0])] for sequence in part]) for part in parts]


def _loader(batches: Sequence[Any]) -> Any:
    import torch

    return torch.utils.data.DataLoader(
        [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in batches], batch_size=None
    )


def _linear_layers(model: Any) -> tuple[list[str], list[str]]:
    """Names of the linear layers whose weights are quantized, and of those whose are not."""
    import torch

    quantized: list[str] = []
    kept: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            scheme = getattr(module, "quantization_scheme", None)
            done = scheme is not None and scheme.weights is not None and hasattr(module, "weight_scale")
            (quantized if done else kept).append(name)
    return quantized, kept


def _check_groups(model: Any, size: int | None) -> None:
    import torch

    if size is None:
        return
    wrong = [
        f"{name} ({module.in_features})"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != HEAD and module.in_features % size
    ]
    if wrong:
        raise QuantizationError(f"group_size {size} does not divide the inputs of {', '.join(wrong)}: lower it")


def quiet_libraries() -> None:
    """llm-compressor logs every layer. Set before its first import; a user's own level wins."""
    os.environ.setdefault("LLM_COMPRESSOR_LOG_LEVEL", "ERROR")
    os.environ.setdefault("LLM_COMPRESSOR_METRICS_DISABLED", "true")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from loguru import logger

    logger.disable("compressed_tensors")


@contextlib.contextmanager
def _bars_only_in_a_terminal() -> Iterator[None]:
    """Its progress bars help a person; in a log they are a line for each batch of each layer."""
    with contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO()):
        yield

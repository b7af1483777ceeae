"""The one place that chooses between TensorRT and TensorRT-RTX; everything else is written once, for both.

TensorRT proper compiles for the card at hand and runs on every data-centre card. TensorRT-RTX compiles ahead of time
for other cards, without a GPU, but neither compiles for nor runs on Hopper (9.0).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from host.gpu import Card

NAMES = {"tensorrt": ("tensorrt",), "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
NONE_INSTALLED = "neither tensorrt nor tensorrt_rtx is installed (tensorrt-rtx-cu13-bindings is in requirements.lock)"


@dataclass(frozen=True)
class Library:
    """One of the two, imported. `name` is a key of NAMES."""

    name: str
    version: str
    module: Any

    def why_not_compile(self, capability: str, card: Card | None) -> str | None:
        """Why no engine for `capability` can be made here; None if it can."""
        if self.name == "tensorrt-rtx":
            if hasattr(self.module.ComputeCapability, _member(capability)):
                return None
            return f"TensorRT-RTX {self.version} does not support compute capability {capability}"
        if card is None:
            return f"TensorRT {self.version} compiles for the GPU at hand, and there is none"
        if card.capability != capability:
            return f"TensorRT {self.version} compiles for the GPU at hand, {card.name} ({card.capability})"
        return None

    def why_not_run(self, card: Card) -> str | None:
        """Why `card` cannot execute this library's engines; None if it can."""
        if self.name == "tensorrt" or hasattr(self.module.ComputeCapability, _member(card.capability)):
            return None
        return f"TensorRT-RTX {self.version} does not run on compute capability {card.capability} ({card.name})"

    def aim(self, config: Any, capability: str) -> None:
        """Set the compute capability that a builder config compiles for (TensorRT proper takes the card's)."""
        if self.name == "tensorrt-rtx":
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(self.module.ComputeCapability, _member(capability)), 0)


def installed(load: Callable[[str], Any] = importlib.import_module) -> list[Library]:
    """Every TensorRT that can be imported, TensorRT proper first."""
    found = []
    for name, modules in NAMES.items():
        for module_name in modules:
            try:
                module = load(module_name)
            except (ImportError, OSError):  # OSError: its libraries are missing or do not fit
                continue
            found.append(Library(name, str(module.__version__), module))
            break
    return found


def choose(capability: str, libraries: list[Library], card: Card | None) -> tuple[Library | None, str | None]:
    """The library that compiles for `capability`, or None and why none does."""
    reasons = []
    for library in libraries:
        reason = library.why_not_compile(capability, card)
        if reason is None:
            return library, None
        reasons.append(reason)
    return None, "; ".join(reasons) or NONE_INSTALLED


def why_not_run(libraries: list[Library], found: Card | None) -> str | None:
    """Why no engine can be executed on this machine; None if one can."""
    if not libraries:
        return NONE_INSTALLED
    if found is None:
        return "no NVIDIA GPU on this machine"
    reasons = [library.why_not_run(found) for library in libraries]
    return None if None in reasons else "; ".join(str(reason) for reason in reasons)


def _member(capability: str) -> str:
    return "SM" + capability.replace(".", "")

"""Dispatch by file name: `load("runtimes", "ort")` imports runtimes/ort.py. No registry to keep."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from core.errors import ConfigError


def known(package: str) -> list[str]:
    """Names of the plugins in `package`: its modules, without private ones."""
    paths = importlib.import_module(package).__path__
    return sorted(
        module.name for module in pkgutil.iter_modules(paths) if not module.ispkg and not module.name.startswith("_")
    )


def load(package: str, name: str) -> ModuleType:
    """Import plugin `name` of `package`; an unknown name raises ConfigError with the list of known ones."""
    module_name = name.replace("-", "_")
    if module_name not in known(package):
        raise ConfigError(f"{package} has no '{name}'; known: {', '.join(known(package))}")
    return importlib.import_module(f"{package}.{module_name}")

"""Dispatch by file name: `load("runtimes", "ort")` imports runtimes/ort.py. No registry to keep."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from pydantic import AfterValidator, BaseModel, ValidationError

from core.errors import ConfigError, wrong_fields


def known(package: str) -> list[str]:
    """Names of the plugins in `package`: its modules, without private ones."""
    paths = importlib.import_module(package).__path__
    return sorted(
        module.name for module in pkgutil.iter_modules(paths) if not module.ispkg and not module.name.startswith("_")
    )


def module_name(package: str, name: str) -> str:
    """The module of plugin `name`: a name in params is exactly its file's. ConfigError says which there are."""
    names = known(package)
    if name not in names:
        near = name.replace("-", "_")
        hint = f"write '{near}', as its file is called" if near in names else f"known: {', '.join(names)}"
        raise ConfigError(f"{package} has no '{name}'; {hint}")
    return f"{package}.{name}"


def name_of(package: str) -> AfterValidator:
    """For a field that names a plugin: `Annotated[str, plugins.name_of("runtimes")]`."""

    def check(name: str) -> str:
        try:
            module_name(package, name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return name

    return AfterValidator(check)


def load(package: str, name: str) -> ModuleType:
    """Import plugin `name` of `package`; raises ConfigError for a name that no file there has."""
    return importlib.import_module(module_name(package, name))


def options(module: ModuleType, given: Any, key: str, default: type[BaseModel] | None = None) -> Any:
    """`given`, which stands at `key`, as the plugin's `Options`; as `default` where that may be missing, and is.

    ConfigError names each key that is wrong.
    """
    kind: type[BaseModel] = getattr(module, "Options", default) if default else module.Options
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise ConfigError(f"{key}: {wrong_fields(error)}") from error

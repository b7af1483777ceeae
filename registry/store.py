"""The MLflow registry: one version for each manifest, named by its digest, loadable as a pyfunc.

The store is `sqlite:///mlflow.db` with its artifacts in ./mlartifacts, or what MLFLOW_TRACKING_URI names.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import runtimes
from core.errors import RegistryError
from host import packages
from models import manifest

EXPERIMENT = "assay"
CANDIDATE = "candidate"
DEFAULT_STORE = "sqlite:///mlflow.db"
ARTIFACT_ROOT = Path("mlartifacts")
ROOT = Path(__file__).parents[1]
ROOMS = ("core", "host", "models", "runtimes", "trt")  # what the pyfunc imports travels with it
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic", "pyyaml", "tqdm", "transformers", "jinja2")


@dataclass(frozen=True)
class Version:
    """A registered version and whether this call made it."""

    number: int
    run_id: str
    created: bool


def connect() -> Any:
    """A client of the store, with MLflow's own chatter off. Creates a local store at the first call (seconds)."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    import mlflow

    mlflow.set_tracking_uri(store())
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with faults():
        return mlflow.MlflowClient()


def store() -> str:
    """The tracking URI."""
    return os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_STORE


def experiment(client: Any) -> str:
    """The id of the experiment that holds the runs; made at the first call."""
    with faults():
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        # A server decides for itself where artifacts go; a store without one needs a place.
        local = not store().startswith("http")
        location = (ARTIFACT_ROOT / EXPERIMENT).resolve().as_uri() if local else None
        kind = {"mlflow.experimentKind": "custom_model_development"}  # the UI then opens on the table of runs
        return str(client.create_experiment(EXPERIMENT, artifact_location=location, tags=kind))


def find(client: Any, name: str, manifest_sha256: str) -> Any | None:
    """The version of model `name` with this manifest (the newest, should there be several), or None."""
    with faults():
        found = client.search_model_versions(f"name = '{name}' and tags.manifest_sha256 = '{manifest_sha256}'")
    return max(found, key=lambda version: int(version.version), default=None)


def refresh(client: Any, name: str, manifest_sha256: str, tags: Mapping[str, str]) -> Any | None:
    """Set `tags`, the latest evidence, on the version with this manifest; returns that version, or None."""
    found = find(client, name, manifest_sha256)
    if found is not None:
        with faults():
            for key, value in tags.items():
                client.set_model_version_tag(name, found.version, key, value)
    return found


def register(
    client: Any,
    name: str,
    folder: Path,
    run_id: str,
    tags: Mapping[str, str],
    config: Mapping[str, Any],
    sentence: str,
) -> Version:
    """Make the variant in `folder` a version of model `name`, unless its manifest already is one; alias `candidate`.

    `run_id` is the run with its evidence, `config` holds `threads` and `max_tokens` for serving, `sentence` becomes
    the description. Raises RegistryError if an earlier version lost its files.
    """
    digest = manifest.digest(folder)
    found = refresh(client, name, digest, tags)
    with faults():
        if found is None:
            number = _create(client, name, folder, run_id, {"manifest_sha256": digest, **tags}, config)
        else:
            number = int(found.version)
            _check_files(name, number, folder.name)
        client.update_model_version(name, str(number), description=sentence)
        client.set_registered_model_alias(name, CANDIDATE, str(number))
    return Version(number, found.run_id if found is not None else run_id, found is None)


def _create(
    client: Any, name: str, folder: Path, run_id: str, tags: Mapping[str, str], config: Mapping[str, Any]
) -> int:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

    # No input schema: MLflow would turn chats into tables of their keys. The pyfunc checks its input itself.
    signature = ModelSignature(
        outputs=Schema([ColSpec("string")]),
        params=ParamSchema([ParamSpec("max_tokens", "long", int(config["max_tokens"]))]),
    )
    digest = tags["manifest_sha256"]
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=folder.name,
                python_model=str(ROOT / "registry" / "pyfunc.py"),
                artifacts={"variant": str(folder.resolve())},
                code_paths=[str(path) for path in _code(Path(scratch))],
                pip_requirements=_requirements(folder),
                model_config={"manifest_sha256": digest, **config},
                metadata={"manifest_sha256": digest},
                signature=signature,
            )
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(
        name, logged.model_uri, run_id=run_id, tags=dict(tags), model_id=logged.model_id
    )
    return int(version.version)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MLflow's hints (give an input example, which it would run the model on) from a user's terminal."""
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)


def _code(scratch: Path) -> list[Path]:
    """Copies of the rooms' Python files only: models/ also holds the reference model's weights."""

    def not_python(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if not name.endswith(".py") and not Path(folder, name).is_dir()]

    for room in ROOMS:
        shutil.copytree(ROOT / room, scratch / room, ignore=not_python)
        for cache in (scratch / room).rglob("__pycache__"):
            shutil.rmtree(cache)
    return [scratch / room for room in ROOMS]


def _requirements(folder: Path) -> list[str]:
    """Pinned requirements, listed and not inferred: inferring would load the model in another process.

    A runtime that is not installed here comes with everything that its own environment's lock pins.
    """
    made = manifest.read(folder)
    traits = runtimes.traits(made.runtime)
    own = tuple(made.libraries) if traits.requirements is None else traits.requirements
    needed = dict.fromkeys((*REQUIREMENTS, *own))
    known = packages.versions(needed)
    if traits.environment and not known.keys() >= set(own):
        known |= packages.locked(ROOT / traits.environment.lock)
    if missing := [package for package in needed if package not in known]:
        raise RegistryError(
            f"{folder.name} needs {', '.join(missing)}, not installed here: register it where it was measured"
        )
    # The local part (+cpu) names one index's build, and no index has it under that name elsewhere.
    return [f"{package}=={known[package].split('+')[0]}" for package in needed]


def _check_files(name: str, number: int, folder: str) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        listed = mlflow.artifacts.list_artifacts(f"models:/{name}/{number}/artifacts/{folder}")
    except (MlflowException, OSError):
        listed = []
    if not any(entry.path.endswith(manifest.NAME) for entry in listed):
        raise RegistryError(
            f"version {number} of {name} has this manifest, but its files are gone from the artifact store: restore "
            f"them, or delete the version (MLflow UI) and run `dvc repro` again"
        )


@contextmanager
def faults() -> Iterator[None]:
    """Turn what MLflow and its database raise into RegistryError."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise RegistryError(f"MLflow at {store()}: {first_line}") from error

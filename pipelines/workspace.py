"""Another params file's results beside those of params.yaml: a folder of its own, in which the project is linked.

    python -m pipelines.repro --params params.real.yaml

makes workspaces/real. What a run writes lies there: artifacts, reports, dvc.lock and DVC's cache. All else is a link
to the project: code, data, the model cache, the registry (so that versions of both models stand in one MLflow).
Commands work there as they do in the project: `cd workspaces/real && python -m pipelines.serve int8-static`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from core.errors import ConfigError
from core.params import PARAMS_FILE

FOLDER = Path("workspaces")
NAME = re.compile(r"params\.([a-z0-9][a-z0-9-]*)\.yaml")
OWN = {"artifacts", "reports", "dvc.lock", str(PARAMS_FILE), ".dvc", ".git", ".gitignore", str(FOLDER)}
OWN_PREFIXES = ("params.", "rollout.db", "mlflow.db-")  # sqlite puts its journals beside the file that a link names
SHARED = ("mlflow.db", "mlartifacts", ".cache", "attempts")  # may not be there yet


def enter(chosen: Path) -> Path:
    """Make or mend the workspace of the params file `chosen`, in the project's root, and change into it.

    Returns the workspace's path from the root. Raises ConfigError for a file that is not called params.<name>.yaml.
    """
    found = NAME.fullmatch(str(chosen))
    if not found or not chosen.is_file():
        raise ConfigError(
            f"--params {chosen}: not a file params.<name>.yaml in the project's root, where <name> has lower-case "
            "letters, digits and hyphens"
        )
    root, folder = Path.cwd(), FOLDER / found[1]
    (folder / ".dvc").mkdir(parents=True, exist_ok=True)
    for name in SHARED[1:]:
        Path(name).mkdir(exist_ok=True)
    wanted = {entry.name: entry for entry in root.iterdir() if not _own(entry.name)}
    wanted |= {name: root / name for name in SHARED}
    wanted |= {str(PARAMS_FILE): root / chosen, ".dvc/config": root / ".dvc" / "config"}
    for name, target in wanted.items():
        _link(folder / name, target)
    for entry in folder.iterdir():  # of something that the project no longer has
        if entry.is_symlink() and entry.name not in wanted:
            entry.unlink()
    (folder / ".dvc" / "config.local").write_text("[core]\n    no_scm = true\n")
    os.chdir(folder)
    return folder


def _own(name: str) -> bool:
    return name in OWN or name.startswith(OWN_PREFIXES)


def _link(place: Path, target: Path) -> None:
    relative = os.path.relpath(target, place.parent)
    if place.is_symlink() and place.readlink() == Path(relative):
        return
    place.unlink(missing_ok=True)
    place.symlink_to(relative)

"""A second params file's results lie beside the first's, and neither run writes what is the other's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from core.errors import ConfigError
from pipelines import workspace
from tests.parts import project


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = project.copy(tmp_path)
    raw = yaml.safe_load((folder / "params.yaml").read_text())
    (folder / "params.other.yaml").write_text(yaml.safe_dump(raw | {"seed": 7}))
    monkeypatch.chdir(folder)
    return folder


def test_code_is_linked_and_results_are_apart(root: Path) -> None:
    (root / "artifacts").mkdir()
    (root / "dvc.lock").write_text("the first model's")
    assert workspace.enter(Path("params.other.yaml")) == Path("workspaces/other")
    here = Path.cwd()
    assert here == root / "workspaces" / "other"
    assert yaml.safe_load(Path("params.yaml").read_text())["seed"] == 7
    for name in ("stages", "core", "dvc.yaml", ".dvcignore", "mlflow.db", "mlartifacts", ".cache"):
        assert (here / name).resolve() == root / name
    assert not Path("artifacts").exists()
    assert not Path("dvc.lock").exists()


def test_dvc_sees_the_projects_code_there_and_an_edit_of_it(root: Path) -> None:
    """Asked of DVC: a stage committed in the workspace is current, and stale once the project's code changes."""

    def status() -> set[str]:
        done = project.run(Path.cwd(), "-m", "dvc", "status", "--json", "export", check=True)
        return set(json.loads(done.stdout))

    workspace.enter(Path("params.other.yaml"))
    for name in ("artifacts/model/file", "artifacts/export/file", "artifacts/data/calibration.parquet"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(name)
    project.run(Path.cwd(), "-m", "dvc", "commit", "--force", "export", check=True)
    assert Path("dvc.lock").is_file()
    assert not (root / "dvc.lock").exists()
    assert "export" not in status()
    (root / "export" / "graph.py").write_text("# another\n")
    assert "export" in status()


def test_entering_again_mends_the_links(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = root / workspace.enter(Path("params.other.yaml"))
    kept = folder / "artifacts" / "kept"
    kept.parent.mkdir()
    kept.write_text("a result")
    (root / "gone.txt").write_text("")
    (folder / "gone.txt").symlink_to("../../gone.txt")
    (root / "gone.txt").unlink()
    (folder / "core").unlink()
    monkeypatch.chdir(root)
    workspace.enter(Path("params.other.yaml"))
    assert (folder / "core").resolve() == root / "core"
    assert not (folder / "gone.txt").is_symlink()
    assert kept.read_text() == "a result"


@pytest.mark.parametrize("name", ["params.yaml", "params.absent.yaml", "../params.other.yaml", "core"])
def test_another_name_is_refused(root: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"not a file params\.<name>\.yaml"):
        workspace.enter(Path(name))
    assert not (root / "workspaces").exists()


def test_the_real_models_params_are_valid_and_name_every_shipped_recipe() -> None:
    from pipelines import params

    shipped, real = params.load(project.ROOT / "params.yaml"), params.load(project.ROOT / "params.real.yaml")
    made_by = [
        {name: (recipe.quantizer, recipe.runtime, recipe.options) for name, recipe in found.recipes.items()}
        for found in (shipped, real)
    ]
    assert made_by[0] == made_by[1]

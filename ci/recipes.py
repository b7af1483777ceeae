"""ci/recipes.yml from params.yaml: one job for each recipe, on the runner (GitLab's tag) that it needs.

    python -m ci.recipes           after changing `recipes` or `ci.runners`; a test holds the file to params.yaml

A file and not a generated child pipeline: it is read, reviewed and run like any other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from ci.params import CiSettings
from core import cli, params
from core.files import write_text

FILE = Path("ci/recipes.yml")
HEAD = """\
# Made from params.yaml by `python -m ci.recipes`: of jobs `recipe` and `confirm`. ASSAY_RUNNER is a runner's tag.
"""


def render(settings: CiSettings) -> str:
    """The file's text: recipes in the order of params.yaml, a line of the matrix for each runner; and the runners."""
    runners: dict[str, list[str]] = {}
    for name in settings.recipes:
        runners.setdefault(settings.runner(name), []).append(name)
    lines = [{"ASSAY_RUNNER": runner, "RECIPE": names} for runner, names in runners.items()]
    matrices = {".recipes": lines, ".runners": [{"ASSAY_RUNNER": list(runners)}]}
    jobs = {job: {"parallel": {"matrix": matrix}} for job, matrix in matrices.items()}
    text = yaml.safe_dump(jobs, sort_keys=False, width=110)
    return HEAD + text


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    write_text(FILE, render(params.load(CiSettings)))
    print(FILE)


if __name__ == "__main__":
    cli.run(main)

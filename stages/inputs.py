"""Record what lies outside the project: the model's source and the suites' files, by digest, entity tag or version.

    python -m stages.inputs

Runs in every `dvc repro`, in about a second, and writes core.paths.INPUTS, on which `prepare` depends. What cannot be
looked at (a server that is away, a folder of another machine) is taken as it was recorded, with a warning; with
ASSAY_STRICT=1 that is an error. ASSAY_INPUTS=recorded looks at nothing that is recorded already.
"""

from __future__ import annotations

import argparse
import os

from core import cli, params, paths
from core.params import Section
from core.progress import say
from data import inputs
from data.inputs import Inputs
from data.params import DataParams
from models.params import ModelParams

TRUST = "ASSAY_INPUTS"  # set to "recorded": by the jobs of a CI pipeline that come after `prepare`


class Settings(Section):
    model: ModelParams
    data: DataParams


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load(Settings)
    recorded = Inputs.read_if_exists(paths.INPUTS)
    trust, strict = os.environ.get(TRUST) == "recorded", os.environ.get(cli.STRICT) == "1"
    found = inputs.look(settings.model, settings.data, None if strict and not trust else recorded, trust=trust)
    moved = inputs.changed(recorded, found)
    say(f"inputs: {', '.join(moved)} changed" if moved else f"inputs: {', '.join(found.by_key)} unchanged")
    if moved:
        found.save(paths.INPUTS)


if __name__ == "__main__":
    cli.run(main)

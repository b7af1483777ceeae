"""Choose the variant to serve: gates and objective from params over the records of evaluate, benchmark and confirm.

    python -m stages.select

Writes artifacts/decision.json and exits 0 even when no variant passed, so that `report` can still show why;
`register` then refuses with exit code 3.
"""

from __future__ import annotations

import argparse

from core import cli, params, paths
from core.progress import say
from evaluation.params import EvaluateParams
from selection import evidence
from selection.params import SelectSettings
from selection.ranking import decide
from selection.records import Confirmation


class Settings(SelectSettings):
    evaluate: EvaluateParams


def main() -> None:
    settings = params.load(Settings)
    confirmation = Confirmation.read(paths.CONFIRMATION)
    decision = decide(evidence.gather(settings), settings.select, settings.evaluate, confirmation)
    decision.save(paths.DECISION)
    say(decision.sentence)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)

"""Write the page a person reads, and the summary for merge requests.

    python -m stages.report

Reads artifacts/decision.json and everything it rests on; writes reports/index.html and reports/summary.md.
"""

from __future__ import annotations

import argparse

from core import cli, files, params
from core.progress import say
from report import page
from report.material import Settings, gather


def main() -> None:
    material = gather(params.load(Settings))
    files.write_text(page.INDEX, page.html(material))
    files.write_text(page.SUMMARY, page.markdown(material))
    say(f"report: {page.INDEX}")


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cli.run(main)

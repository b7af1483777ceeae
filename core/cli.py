"""How every command ends: one line for an error a user can mend, a traceback only for a bug of ours."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from core.errors import AssayError

# OpenMP's threads spin while they wait: beside one other busy process torch then ran 6 times slower than asleep.
# Set before anything imports torch; the benchmark's processes run without it, as a user's would.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


STRICT = "ASSAY_STRICT"  # set to 1: as if every stage that takes --strict had been given it


def recipe_parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a stage that works on one recipe: `recipe` and `strict`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a key of `recipes` in params.yaml")
    parser.add_argument(
        "--strict",
        action="store_true",
        default=os.environ.get(STRICT) == "1",
        help=f"end with an error where the recipe fails, instead of recording it as failed (as {STRICT}=1 does)",
    )
    return parser


def run(main: Callable[[], int | None], *, server: bool = False) -> None:
    """Call `main`, print an AssayError as one line on stderr, and exit with its code (0 when main returns None).

    SIGTERM unwinds like Ctrl-C, so that temporary files go and children end; a `server` drains by itself.
    """
    if not server:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        code = main()
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: finished chunks are kept, run the same command to go on", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)


def _terminated(number: int, _frame: object) -> NoReturn:
    print("terminated: finished chunks are kept, run the same command to go on", file=sys.stderr)
    sys.exit(128 + number)

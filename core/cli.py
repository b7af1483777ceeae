"""How every command ends: one line for an error a user can mend, a traceback only for a bug of ours."""

from __future__ import annotations

import sys
from collections.abc import Callable

from core.errors import AssayError


def run(main: Callable[[], int | None]) -> None:
    """Call `main`, print an AssayError as one line on stderr, and exit with its code (0 when main returns None)."""
    try:
        code = main()
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted: finished chunks are kept, run the same command to go on", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)

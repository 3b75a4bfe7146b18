"""`python -m nas_distill`."""

from __future__ import annotations

import os
import sys

from nas_distill import cli
from nas_distill.errors import EXIT_INTERRUPTED

__all__ = ["main"]


def main() -> int:
    """Run the command line and return its exit status.

    After an interruption, this ends the process itself: the interpreter takes seconds to take down PyTorch and timm,
    and Ray kills a stopped job after three seconds.
    """
    status = cli.main()
    if status == EXIT_INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""`python -m nas_distill`."""

from __future__ import annotations

import sys

from nas_distill.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())

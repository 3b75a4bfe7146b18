"""Stores a linear teacher's answers slowly, so that it can be killed on the way.

python -m tests.knowledge.slow_build FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from nas_distill.callbacks import NullProgress
from tests.knowledge.helpers import build_computed


class Slow(NullProgress):
    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        time.sleep(0.2)


if __name__ == "__main__":
    build_computed(Path(sys.argv[1]), num_images=1000, progress=Slow())

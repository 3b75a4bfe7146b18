"""Build a knowledge folder and kill this process (SIGKILL) while it writes the shard of view 2.

python -m tests.knowledge.killed_build FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from nas_distill.callbacks import NullProgress
from tests.knowledge.helpers import build_computed

NUM_IMAGES = 1000


class KillInView2(NullProgress):
    def step(self, task: str, done: int, total: int, detail: str = "") -> None:
        if done > 2 * NUM_IMAGES:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    build_computed(Path(sys.argv[1]), num_images=NUM_IMAGES, progress=KillInView2())

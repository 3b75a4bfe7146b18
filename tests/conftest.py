"""Fixtures that are dear to make, made once."""

from __future__ import annotations

import os

# Before torch is imported: tests share two cores with Ray's workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray makes its workers nice, for the user's sake; beside the tests of another process they would starve.
os.environ.setdefault("RAY_worker_niceness", "0")

import signal
from pathlib import Path

import hypothesis
import pytest
import torch

from tests.helpers import SmallRun, make_small_run

# A busy machine holds an example up for longer than any deadline; time is bounded per test.
hypothesis.settings.register_profile("nas_distill", deadline=None)
hypothesis.settings.load_profile("nas_distill")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _heeds_interrupts() -> None:
    """Shells make their background jobs deaf to Ctrl-C, and with them every search that a test interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A shared run; tests write into folders of their own, never into it."""
    return make_small_run(Path(tmp_path_factory.mktemp("small-run")))

"""Settings and expensive fixtures of all tests."""

from __future__ import annotations

import os

# Set before torch is imported, because tests and Ray workers share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray lowers the priority of its workers; next to a second test process they would starve.
os.environ.setdefault("RAY_worker_niceness", "0")
# Without this, Ray starts a worker per CPU that no test uses: `shared_cluster` starts its workers another way.
os.environ.setdefault("RAY_prestart_worker_first_driver", "0")

import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

# The process that only distributes tests reads this file too: fixtures import what takes seconds to import.
if TYPE_CHECKING:
    from tests.helpers import SmallRun

# On a busy machine an example can exceed any deadline; pytest-timeout limits each test instead.
hypothesis.settings.register_profile("nas_distill", deadline=None)
hypothesis.settings.load_profile("nas_distill")


# Imports create millions of objects that live as long as the process: no collection needs to visit them.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, run all files that use Ray in one process: each process would start its own cluster."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneCluster(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            if file not in scopes:
                text = (config.rootpath / file).read_text(encoding="utf-8")
                scopes[file] = "ray" if "shared_cluster" in text or "forks" in text else file
            return scopes[file]

    scopes: dict[str, str] = {}
    return OneCluster(config, log)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _restore_interrupts() -> None:
    """Restore Ctrl-C: shells disable it in background jobs, and tests interrupt searches with it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    """A small run that all tests share. Read it only; write into `tmp_path`."""
    from tests.helpers import make_small_run

    return make_small_run(Path(tmp_path_factory.mktemp("small-run")))

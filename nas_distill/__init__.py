"""nas_distill: architecture search for knowledge distillation.

Given a fixed teacher network and a data set, it searches timm architectures, distils the teacher into every candidate,
and recommends the students with the best trade-off between size and capacity gap.

    import nas_distill

    run = nas_distill.search(data={"source": "digits"}, budget={"trials": 8}, out="runs/digits")
    print(run.picks["knee"])

Heavy packages (torch, Ray, Optuna, pandas) are imported on first use, so that `--help` stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING

# The subpackage `nas_distill.search` and the function `search` below share a name. Importing a subpackage for the first
# time binds its name in the parent, so it must happen before the function is defined: later imports of its modules find
# it in `sys.modules` and leave the function in place.
import nas_distill.search  # noqa: F401 - see above
from nas_distill.callbacks import Callback, EpochEnded, FrontChanged, SearchEnded, SearchStarted
from nas_distill.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from nas_distill.analysis.run import Run
    from nas_distill.api import register_objective
    from nas_distill.callbacks import Progress
    from nas_distill.config import SearchConfig
    from nas_distill.losses.registry import LOSSES
    from nas_distill.search.early_stopping.rules import RULES

    register_loss = LOSSES.register
    register_stopping_rule = RULES.register

__all__ = [
    "Callback",
    "EpochEnded",
    "FrontChanged",
    "Run",
    "SearchConfig",
    "SearchEnded",
    "SearchStarted",
    "__version__",
    "load_run",
    "register_loss",
    "register_objective",
    "register_stopping_rule",
    "resume",
    "search",
]


def search(
    config: SearchConfig | Mapping[str, object] | str | Path | None = None,
    *,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    **sections: object,
) -> Run:
    """Run a search in a new run directory and return the run.

    It does the same as `python -m nas_distill search`, without the report.

    Args:
        config: A `SearchConfig`, a nested mapping, or the path of a YAML file. Default: the defaults.
        out: The run directory; on a cluster, a path that all nodes share. Default: `runs/<data>-<time>`.
        callbacks: Objects that receive records while the search runs.
        progress: Receives texts for people. Default: nothing is shown.
        **sections: Sections and keys over `config`, such as `data={"source": "digits"}`, `budget={"trials": 8}` or
            `seed=1`.

    Returns:
        The run. After Ctrl-C it has the trials so far; `resume` continues.

    Raises:
        NasDistillError: The configuration, the data, the teacher or the machine cannot be used. Results so far are
            kept in the run directory.
    """
    from nas_distill.api import search

    return search(config, out=out, callbacks=callbacks, progress=progress, **sections)


def resume(
    run: Run | str | Path,
    *,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    **sections: Mapping[str, object],
) -> Run:
    """Continue or extend a search, and return the run with all its trials.

    Args:
        run: The run, or its directory.
        callbacks: Objects that receive records while the search runs.
        progress: Receives texts for people. Default: nothing is shown.
        **sections: Changes of `budget`, `sampler`, `assistants` or `picks`, which stay in the run's configuration, and
            of `resources`, for this session only: `budget={"trials": 32}`.

    Raises:
        ConfigError: A section cannot be changed in a run.
        NasDistillError: The run or the machine cannot be used.
    """
    from nas_distill.api import resume

    return resume(run, callbacks=callbacks, progress=progress, **sections)


def load_run(path: str | Path) -> Run:
    """Return a run for analysis: its trials, front, picks, diagnosis and capacity law, without torch, Ray or images.

    Args:
        path: The run directory of a search, finished or not.

    Raises:
        RunError: The directory holds no run, or its configuration cannot be read.
    """
    from nas_distill.analysis.run import Run

    return Run(path)


_LAZY = {
    "Run": "nas_distill.analysis.run:Run",
    "SearchConfig": "nas_distill.config:SearchConfig",
    "register_loss": "nas_distill.losses.registry:LOSSES.register",
    "register_objective": "nas_distill.api:register_objective",
    "register_stopping_rule": "nas_distill.search.early_stopping.rules:RULES.register",
}
"""Public names that need heavy packages -> where they are."""


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'nas_distill' has no attribute '{name}'")
    module, _, attribute = _LAZY[name].partition(":")
    return attrgetter(attribute)(import_module(module))

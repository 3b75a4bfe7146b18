"""nas_distill: architecture search for knowledge distillation.

Given a fixed teacher network and a data set, it searches timm architectures, distils the teacher into every candidate,
and recommends the students with the best trade-off between size and capacity gap.

    import nas_distill

    run = nas_distill.search(data={"source": "digits"}, budget={"trials": 8}, out="runs/digits")
    print(run.picks["knee"])

Heavy packages (torch, Ray, Optuna, pandas) are imported on first use, so that `--help` stays fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

# The subpackage `nas_distill.search` and the function `search` below share a name. Importing a subpackage for the first
# time binds its name in the parent, so it must happen before the function is defined: later imports of its modules find
# it in `sys.modules` and leave the function in place.
import nas_distill.search
from nas_distill.callbacks import Callback, EpochEnded, FrontChanged, SearchEnded, SearchStarted

if TYPE_CHECKING:
    from pathlib import Path

    from nas_distill.analysis.run import Run
    from nas_distill.callbacks import Progress
    from nas_distill.config import SearchConfig
    from nas_distill.losses.entries import LossFunction, Need, Rule
    from nas_distill.losses.learned import LearnedLoss
    from nas_distill.objectives import Objective
    from nas_distill.search.early_stopping.rules import RungOrder

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

__version__ = "0.1.0"


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


def register_loss(
    name: str,
    function: LossFunction,
    *,
    weight: float,
    needs: Iterable[Need],
    equation: str,
    paper: str,
    learned: Callable[..., LearnedLoss] | None = None,
    rules: Mapping[str, Rule] = MappingProxyType({}),
    above: Mapping[str, str] = MappingProxyType({}),
    label_weight: float = 1.0,
    depth: float = 1.0,
    through_teacher: bool = False,
) -> None:
    """Add a distillation loss, which recipes then use by name.

    Call it in a module that the configuration lists under `plugins`: the driver and every worker import it.

    Args:
        name: Name of the loss in recipes.
        function: `(student, teacher, **parameters) -> scalar` on logits [B, C], embeddings [B, D] or feature maps
            [B, C, H, W]; see `nas_distill.losses.registry.LossEntry`. Its keyword-only parameters, with numbers as
            defaults, are the loss's parameters.
        weight: Default weight in the sum of losses.
        needs: Inputs of the loss: `Need.LOGITS`, `Need.LABELS`, `Need.EMBEDDING`, `Need.FEATURES`.
        equation: Formula, for people.
        paper: Authors, year, and arXiv number or doi.
        learned: Factory of a module with parameters that are trained with the student; None without one.
        rules: Parameter -> rule for its values. Default: at least 0.
        above: Parameter -> other parameter that it must exceed.
        label_weight: Weight of cross-entropy with the labels that the literature uses beside `weight`.
        depth: For feature maps: share of the networks' stages after which they are taken, above 0, at most 1.
        through_teacher: Whether the student's features go through the teacher's classifier.

    Raises:
        ValueError: The name is taken.
    """
    from nas_distill.losses.registry import LOSSES

    LOSSES.register(
        name, function, weight=weight, needs=needs, equation=equation, paper=paper, learned=learned, rules=rules,
        above=above, label_weight=label_weight, depth=depth, through_teacher=through_teacher,
    )  # fmt: skip


def register_objective(
    name: str,
    *,
    kind: Literal["quality", "cost"],
    direction: Literal["minimize", "maximize"],
    label: str,
    scale: Literal["linear", "log10"] = "linear",
    unit: str = "",
) -> None:
    """Add an objective, which the key `objectives` then accepts.

    Args:
        name: A number that trials record: for a quality, a field of both `StudentMetrics` and `EpochMetrics`, such as
            "top1"; for a cost, a field of `Cost`.
        kind: "quality" is measured by training; "cost" is known from the architecture before training.
        direction: Whether smaller or larger values are better.
        label: Axis title.
        scale: Scale of the axis; "log10" for sizes, which are compared by ratio.
        unit: Unit in texts; empty for a ratio.

    Raises:
        ConfigError: Trials record no such number.
        ValueError: Another objective of this name exists.
    """
    from nas_distill.api import register_objective
    from nas_distill.objectives import Objective

    register_objective(Objective(name=name, kind=kind, direction=direction, scale=scale, unit=unit, label=label))


def register_stopping_rule(
    name: str, order: Callable[[Sequence[Objective]], RungOrder], *, two_objectives: bool = False
) -> None:
    """Add a rule of early stopping, which the key `asha.rule` then accepts.

    Args:
        name: Name of the rule in the configuration.
        order: Function from the objectives of a search to the rule: `(values, index, enough) -> count`, which returns
            how many rows of `values`, minimised objectives [N, M], are strictly better than row `index`; it may stop
            counting at `enough`.
        two_objectives: Whether the rule compares exactly one quality and one cost.

    Raises:
        ValueError: The name is taken.
    """
    from nas_distill.search.early_stopping.rules import RULES

    RULES.register(name, order, two_objectives=two_objectives)


def __getattr__(name: str) -> object:
    if name == "Run":  # needs pandas
        from nas_distill.analysis.run import Run

        return Run
    if name == "SearchConfig":  # needs pydantic
        from nas_distill.config import SearchConfig

        return SearchConfig
    raise AttributeError(f"module 'nas_distill' has no attribute '{name}'")

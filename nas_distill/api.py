"""The functions behind `nas_distill.search`, `resume`, `load_run` and `register_*`.

The same service runs behind the command line, so both behave alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from nas_distill import objectives
from nas_distill.analysis.run import Run
from nas_distill.callbacks import Callback, NullProgress, Progress, SearchEnded
from nas_distill.config import SearchConfig
from nas_distill.config.loading import config_from_mapping
from nas_distill.errors import ConfigError, NasDistillError, nearest_names
from nas_distill.objectives import Objective, check_objectives
from nas_distill.records import Cost, EpochMetrics, StudentMetrics
from nas_distill.run_directory.config import default_folder
from nas_distill.search.callback_progress import CallbackProgress
from nas_distill.search.service import resume_search, start_search
from nas_distill.search.session import SearchOutcome

_RESUMABLE = ("budget", "sampler", "assistants", "picks", "resources")
"""Sections that `resume` can change."""


def search(
    config: SearchConfig | Mapping[str, object] | str | Path | None = None,
    *,
    out: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    **sections: object,
) -> Run:
    """Run a search in a new run directory and return the run. See `nas_distill.search`."""
    settings = config_from_mapping(sections, base=config, origin="search()")
    folder = Path(out) if out is not None else default_folder(settings.data.source)
    watched = CallbackProgress(callbacks, progress or NullProgress())
    watched.search_started(folder, check_objectives(settings.objectives))
    return _finished(watched, folder, lambda: start_search(settings, folder, watched))


def resume(
    run: Run | str | Path,
    *,
    callbacks: Sequence[Callback] = (),
    progress: Progress | None = None,
    **sections: Mapping[str, object],
) -> Run:
    """Continue or extend a search and return the run. See `nas_distill.resume`."""
    before = Run(run.path if isinstance(run, Run) else run)
    changes = _changes(sections)
    watched = CallbackProgress(callbacks, progress or NullProgress())
    watched.search_started(before.path, check_objectives(before.config.objectives), _front(before))
    resources = {key: changes.pop(key) for key in tuple(changes) if key.startswith("resources.")}
    return _finished(
        watched,
        before.path,
        lambda: resume_search(before.path, watched, changes=changes, resources=resources),
    )


def _finished(watched: CallbackProgress, folder: Path, work: Callable[[], SearchOutcome]) -> Run:
    """Do the work of a session, report its end to the callbacks, and return the run."""
    try:
        outcome = work()
    except NasDistillError as error:
        watched.search_ended(SearchEnded(run=folder, new_trials=watched.new_trials, interrupted=False, error=error))
        raise
    watched.search_ended(SearchEnded(run=folder, new_trials=outcome.new_trials, interrupted=outcome.interrupted))
    return Run(outcome.run.path)


def _changes(sections: Mapping[str, Mapping[str, object]]) -> dict[str, object]:
    """Return dotted keys and values of what a resumed run changes.

    Raises:
        ConfigError: A section cannot be changed, or is not a mapping.
    """
    changes: dict[str, object] = {}
    for name, values in sections.items():
        if name not in _RESUMABLE:
            raise ConfigError(
                f"cannot be changed in a resumed run; only {', '.join(_RESUMABLE)} can",
                code="config.fixed_in_run",
                field=name,
            )
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"should be a mapping, such as budget={{'trials': 32}}; found {values!r:.60}",
                code="config.invalid_value",
                field=name,
            )
        changes.update({f"{name}.{key}": value for key, value in values.items()})
    return changes


def _front(run: Run) -> dict[int, tuple[float, ...]]:
    """Return trial numbers and objective values of the front of earlier sessions; empty before the first trial."""
    with suppress(NasDistillError):  # a run that was interrupted before its teacher was ready has no front
        front = run.front()
        names = [objective.name for objective in front.objectives]
        return {
            int(number): tuple(float(value) for value in values)
            for number, *values in front.members[["number", *names]].itertuples(index=False)
        }
    return {}


def register_objective(
    name: str,
    *,
    kind: Literal["quality", "cost"],
    direction: Literal["minimize", "maximize"],
    label: str,
    reference: float | None = None,
    scale: Literal["linear", "log10"] = "linear",
    unit: str = "",
) -> None:
    """Add an objective, which the configuration key `objectives` then accepts.

    Args:
        name: A number that trials record: for a quality, a field of both `StudentMetrics` and `EpochMetrics`, such as
            "top1"; for a cost, a field of `Cost`.
        kind: "quality" is measured by training; "cost" is known from the architecture before training.
        direction: Whether smaller or larger values are better.
        label: Axis title.
        reference: Value of a useless student, such as the accuracy of guessing; it bounds the hypervolume, and a
            quality needs it. Default for a cost: the teacher's cost.
        scale: Scale of the axis; "log10" for sizes, which are compared by ratio.
        unit: Unit in texts; empty for a ratio.

    Raises:
        ConfigError: Trials record no such number, or a quality has no reference.
        ValueError: Another objective of this name exists.
    """
    quality = set(StudentMetrics.model_fields) & set(EpochMetrics.model_fields)
    recorded = quality if kind == "quality" else set(Cost.model_fields)
    if name not in recorded:
        raise ConfigError(
            f"trials record no {kind} called '{name}'; {nearest_names(name, recorded)}",
            code="config.objective_not_recorded",
            field="objectives",
        )
    if kind == "quality" and reference is None:
        raise ConfigError(
            f"the quality '{name}' needs a reference, the value of a useless student",
            code="config.objective_without_reference",
            field="objectives",
        )
    objective = Objective(
        name=name, kind=kind, direction=direction, scale=scale, unit=unit, label=label, reference=reference
    )
    objectives.register_objective(objective)

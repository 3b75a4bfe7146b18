"""`trials/study.jsonl`: what a study holds besides the tasks and results in the folders of the trials.

One line of JSON with a checksum per change, appended before the database is written; a later line replaces an earlier
one of the same trial or attribute. `rebuild` makes the study again from these lines and the trial folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import NonNegativeInt

from nas_distill.errors import RunError
from nas_distill.records.base import FrozenArguments, FrozenTexts, Record, parse_sealed, seal
from nas_distill.run_directory.files import append_line, reading
from nas_distill.run_directory.layout import RunDirectory

TASK, RESULT = "task", "result"
"""User attributes of a trial that are files of its folder too."""


class LoggedTrial(Record):
    """A trial without its task and result.

    Attributes:
        number: Number of the trial.
        state: Name of Optuna's state.
        params: Values by name of the parameter, as the space received them.
        distributions: Optuna's JSON of each parameter's distribution, by name.
        user_attributes: User attributes besides task and result.
        system_attributes: Optuna's own attributes, among them the constraints.
        started: Start of the trial; None before it starts.
        ended: End of the trial; None before it ends.
    """

    number: NonNegativeInt
    state: str
    params: FrozenArguments = {}  # noqa: RUF012 - pydantic copies it
    distributions: FrozenTexts = {}  # noqa: RUF012
    user_attributes: FrozenArguments = {}  # noqa: RUF012
    system_attributes: FrozenArguments = {}  # noqa: RUF012
    started: datetime | None = None
    ended: datetime | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> LoggedTrial:
        """Return the line of a trial."""
        return cls(
            number=trial.number,
            state=trial.state.name,
            params=trial.params,
            distributions={name: distribution_to_json(one) for name, one in trial.distributions.items()},
            user_attributes={key: value for key, value in trial.user_attrs.items() if key not in {TASK, RESULT}},
            system_attributes=trial.system_attrs,
            started=trial.datetime_start,
            ended=trial.datetime_complete,
        )

    def frozen(self, state: TrialState, values: tuple[float, ...] | None, attributes: Mapping[str, Any]) -> FrozenTrial:
        """Return the trial for a database.

        Args:
            state: State of the trial.
            values: Values of the objectives, for a complete trial.
            attributes: User attributes besides those of this line.
        """
        plain = self.model_dump(mode="json")
        return FrozenTrial(
            number=self.number,
            state=state,
            value=None,
            values=values,
            datetime_start=self.started or self.ended or datetime.now(),  # noqa: DTZ005 - Optuna's times are naive
            datetime_complete=self.ended if state.is_finished() else None,
            params=plain["params"],
            distributions={name: json_to_distribution(text) for name, text in self.distributions.items()},
            user_attrs={**plain["user_attributes"], **attributes},
            system_attrs=plain["system_attributes"],
            intermediate_values={},
            trial_id=-1,
        )


class LoggedAttribute(Record):
    """A user attribute of the study.

    Attributes:
        key: Name of the attribute.
        value: The attribute below the key "value"; any JSON.
    """

    key: str
    value: FrozenArguments


@dataclass(frozen=True, slots=True)
class LoggedStudy:
    """The last state of everything in the log.

    Attributes:
        trials: Trials by number.
        attributes: User attributes of the study.
        num_damaged: Number of lines that cannot be read.
    """

    trials: dict[int, LoggedTrial] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    num_damaged: int = 0


class StudyLog:
    """The log of a run's study.

    Args:
        run: The run directory.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._path = run.study_log

    def note_trial(self, trial: FrozenTrial) -> None:
        """Append the state of a trial.

        Raises:
            RunError: The log cannot be written.
        """
        append_line(self._path, seal(LoggedTrial.of(trial)))

    def note_attribute(self, key: str, value: Any) -> None:
        """Append an attribute of the study.

        Raises:
            RunError: The log cannot be written.
        """
        append_line(self._path, seal(LoggedAttribute(key=key, value={"value": value})))

    def clear(self) -> None:
        """Remove the log of a study that never started. That of a study with trials stays."""
        if not self._run.trial_numbers():
            self._path.unlink(missing_ok=True)
            with suppress(OSError):  # there is no folder, or it is not empty
                self._path.parent.rmdir()


def read_log(path: Path) -> LoggedStudy:
    """Return what the log holds, without lines that are damaged or were left incomplete by a crash.

    Raises:
        RunError: The log cannot be read.
    """
    with reading(path):
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    trials: dict[int, LoggedTrial] = {}
    attributes: dict[str, Any] = {}
    num_damaged = 0
    for line in filter(None, lines):
        try:
            if line.startswith(b'{"key"'):
                attribute = parse_sealed(LoggedAttribute, line, origin=str(path))
                attributes[attribute.key] = attribute.model_dump(mode="json")["value"]["value"]
            else:
                trial = parse_sealed(LoggedTrial, line, origin=str(path))
                trials[trial.number] = trial
        except RunError:
            num_damaged += 1
    return LoggedStudy(trials, attributes, num_damaged)

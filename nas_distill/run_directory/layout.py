"""The run directory: its paths and files, the event log and the lock."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock, Timeout

from nas_distill.errors import RunError
from nas_distill.records import Confirmation, Fold, TeacherRecord, TrialRecord
from nas_distill.records.base import other_version
from nas_distill.records.cost import TargetRecord
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.run_directory.files import append_line, read_record, reading
from nas_distill.run_directory.trial_folder import TrialFolder

_NOT_ESCAPED = "".join(map(chr, range(32, 127))).translate({ord(character): None for character in "?#%"})


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths and plain files of one run (DESIGN section 5)."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def events(self) -> Path:
        """One line of JSON per event of the search."""
        return self.path / "events.jsonl"

    @property
    def data_manifest(self) -> Path:
        """Description of the images: source, sizes, classes, counts and digests."""
        return self.path / "data.json"

    @property
    def split(self) -> Path:
        """Image indices of the splits."""
        return self.path / "split.npz"

    @property
    def images(self) -> Path:
        """Decoded images, memory-mapped by all workers of a node."""
        return self.path / "images"

    @property
    def teacher(self) -> Path:
        """The teacher in the format of a timm local-dir."""
        return self.path / "teacher"

    @property
    def teacher_record(self) -> Path:
        """Record of the teacher (`TeacherRecord`)."""
        return self.teacher / "metrics.json"

    @property
    def target(self) -> Path:
        """Where latencies come from, and the teacher's (`TargetRecord`); only if the search uses latencies."""
        return self.path / "target.json"

    @property
    def knowledge(self) -> Path:
        """Stored outputs of the teacher, one folder per digest."""
        return self.path / "knowledge"

    @property
    def trials(self) -> Path:
        """One folder per trial."""
        return self.path / "trials"

    @property
    def study_log(self) -> Path:
        """What the study holds besides the tasks and results of trials; with these, it can be built again."""
        return self.trials / "study.jsonl"

    @property
    def assistants(self) -> Path:
        """Plan of the assistants: which student teaches which others, and why."""
        return self.path / "assistants.json"

    @property
    def folds(self) -> Path:
        """One folder per cross-validated student."""
        return self.path / "folds"

    @property
    def confirm(self) -> Path:
        """Results of `confirm`: the teacher's outputs for the test images, and one folder per student."""
        return self.path / "confirm"

    @property
    def tune(self) -> Path:
        """Ray's own folder; not needed to resume."""
        return self.path / "tune"

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    @property
    def own_storage(self) -> str:
        """URL of the run's SQLite file, which holds the study unless `resources.storage` names a database."""
        # SQLAlchemy would cut the path at a question mark and open another file.
        escaped = quote(str(self.study_file.resolve()), safe=_NOT_ESCAPED)
        return f"sqlite:///{escaped}"

    @property
    def study_file(self) -> Path:
        """The run's SQLite file."""
        return self.path / "study.db"

    @property
    def tested_teacher(self) -> Path:
        """Record of the teacher measured on the test split; written when a student is confirmed there."""
        return self.confirm / "teacher.json"

    def trial_numbers(self) -> set[int]:
        """Return the numbers of all trials that have a folder.

        Raises:
            RunError: The folder of the trials cannot be read.
        """
        with reading(self.trials):
            names = [path.name for path in self.trials.iterdir()] if self.trials.exists() else []
        return {int(name) for name in names if name.isascii() and name.isdecimal()}

    def int8(self, number: int) -> Path:
        """What a student scores after quantisation (`Int8Record`), written by `nas_distill quantise`."""
        return self.path / "int8" / f"{number:05d}.json"

    def trial(self, number: int) -> TrialFolder:
        """Return the folder of the trial with Optuna's number `number`."""
        return TrialFolder(self.trials / f"{number:05d}")

    def fold(self, number: int, fold: Fold) -> TrialFolder:
        """Return the folder of the training of trial `number`'s student on one fold."""
        return TrialFolder(self.folds / f"{number:05d}" / f"{fold.of}-{fold.number}")

    def confirmation(self, number: int, confirmation: Confirmation, fold: Fold | None) -> TrialFolder:
        """Return the folder of one of the trainings that confirm the student of trial `number`."""
        repeat = f"seed-{confirmation.repetition}" if fold is None else f"fold-{fold.of}-{fold.number}"
        return TrialFolder(self.confirm / f"{number:05d}" / f"{repeat}-{confirmation.arm}")

    def read_confirmations(self) -> tuple[TrialRecord, ...]:
        """Return the records of all ended trainings of `confirm`, sorted by student and folder.

        Raises:
            RunError: A record is damaged, or cannot be read.
        """
        records = (TrialFolder(path.parent).read_record() for path in sorted(self.confirm.glob("*/*/result.json")))
        return tuple(record for record in records if record is not None)

    def read_folds(self, number: int, of: int) -> tuple[TrialRecord, ...]:
        """Return the records of the ended trainings of a student on its folds.

        Args:
            number: Trial number of the student.
            of: Number of folds.

        Raises:
            RunError: A record is damaged, or cannot be read.
        """
        records = (self.fold(number, Fold(number=part, of=of)).read_record() for part in range(of))
        return tuple(record for record in records if record is not None)

    def existing(self) -> RunDirectory:
        """Return the run directory itself, after checking that it holds a run that this version can read.

        Raises:
            RunError: There is no run here, the folder may not be entered, or another version wrote it.
        """
        with reading(self.config):
            exists = self.config.exists()
        if not exists:
            raise RunError(
                "holds no run (no config.yaml); give the folder that `nas_distill search` printed",
                code="run.missing",
                field=str(self.path),
            )
        with reading(self.trials):
            first = next(self.trials.iterdir(), None) if self.trials.exists() else None
        # Version 1 wrote spec.json and recipe.json instead of task.json.
        if first is not None and (first / "spec.json").exists() and not (first / "task.json").exists():
            raise other_version(str(self.path), 1, TRIAL_SCHEMA_VERSION)
        return self

    def read_teacher(self) -> TeacherRecord:
        """Return the record of the run's teacher, with its latency if the search measured it.

        Raises:
            RunError: The record is missing or damaged.
        """
        record = read_record(self.teacher_record, TeacherRecord)
        if not self.target.exists():
            return record
        return record.model_copy(update={"cost": read_record(self.target, TargetRecord).teacher})

    def log_event(self, kind: str, **fields: Any) -> None:
        """Append one line to the event log.

        A last line that a crash left incomplete stays a line of its own, which readers skip. A full disk is ignored.
        """
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **fields})
        # A full disk or a read-only mount must not end a search: the log is not needed to resume.
        with suppress(RunError):
            append_line(self.events, line, durable=False)

    def read_events(self) -> Iterator[dict[str, Any]]:
        """Yield the events of the log, oldest first, without lines that a crash left incomplete.

        Raises:
            RunError: The log exists and cannot be read.
        """
        with reading(self.events):
            lines = self.events.read_bytes().splitlines() if self.events.exists() else []
        for line in lines:
            with suppress(ValueError, RecursionError):
                event = json.loads(line)
                if isinstance(event, dict) and isinstance(event.get("event"), str):
                    yield event

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for this process. The lock ends with the process.

        Raises:
            RunError: Another process holds the lock, or the folder cannot be created or written.
        """
        lock, holder = FileLock(self.path / "lock", timeout=0), self.path / "lock.holder"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise RunError(
                f"another process is using this run ({_holder(holder)}); wait for it or choose another --out",
                code="run.locked",
                field=str(self.path),
            ) from None
        except OSError as error:
            raise RunError(
                f"cannot be a run directory: {error.strerror or error}; choose another --out",
                code="run.not_a_directory",
                field=str(self.path),
            ) from error
        try:
            with suppress(OSError):  # it only makes an error more helpful
                holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            yield
        finally:
            holder.unlink(missing_ok=True)
            lock.release()


def _holder(path: Path) -> str:
    """Return which process holds a lock, as it wrote at its start."""
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[:200]
    return "it did not say which"

"""One trial, from assignment to `TrialRecord`: builds the student, distils it, writes its folder. No Ray, no Optuna."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import NonNegativeInt

from nas_distill.config import LOCAL_DIR, DataConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.splits import open_split
from nas_distill.errors import ConfigError, NasDistillError, RunError, SpaceError, TrialError
from nas_distill.knowledge.store import Knowledge, ReferenceAnswers
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.student import build_student
from nas_distill.models.teacher import load_teacher
from nas_distill.records import (
    Cost,
    EpochMetrics,
    Recipe,
    Record,
    StudentMetrics,
    StudentSpec,
    TeacherRecord,
    TrialRecord,
    TrialStatus,
)
from nas_distill.store import RunDirectory, TrialFolder, write_atomic, write_record
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.loop import Trainer, TrainingData
from nas_distill.train.metrics import class_gaps, compare, gap_points, score


class Assignment(Record):
    """What a worker is told to do.

    Attributes:
        number: Optuna's trial number.
        seed: Of initial weights, order of images and dropout.
        spec: The candidate.
        recipe: How to distil it.
        cost: What the candidate costs.
    """

    number: NonNegativeInt
    seed: NonNegativeInt
    spec: StudentSpec
    recipe: Recipe
    cost: Cost


class Workplace(Record):
    """Where a worker finds what all trials of a run share.

    Attributes:
        run: The run directory, on a path that every node sees.
        data: How the images are read.
        knowledge_id: Folder name of the teacher's stored answers.
        threads: Threads that torch may use.
        cuda: Train on the first visible GPU.
    """

    run: str
    data: DataConfig
    knowledge_id: str
    threads: int
    cuda: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialContext:
    """What all trials of a run share, opened once per process.

    Attributes:
        manifest: What the images are.
        data: Splits, views and preprocessing.
        targets: Where the teacher's answers to views come from.
        reference: The teacher's answers to plain images.
        teacher: The teacher's record.
        device: Where to train.
    """

    manifest: DataManifest
    data: TrainingData
    targets: Targets
    reference: ReferenceAnswers
    teacher: TeacherRecord
    device: torch.device


def open_context(workplace: Workplace) -> TrialContext:
    """Opens data, knowledge and, when it answers online, the teacher.

    Raises:
        RunError: Part of the run directory is missing or damaged.
    """
    run = RunDirectory(Path(workplace.run))
    device = torch.device("cuda" if workplace.cuda else "cpu")
    torch.set_num_threads(workplace.threads)
    train = open_split(workplace.data, run.path, "train")
    manifest = train.manifest
    knowledge = Knowledge(run.knowledge / workplace.knowledge_id)
    targets: Targets
    if knowledge.manifest.key.slabs:
        targets = StoredTargets(knowledge, device)
    else:
        teacher = load_teacher(
            f"{LOCAL_DIR}{run.teacher}",
            class_names=manifest.class_names,
            channels=manifest.channels,
            image_size=knowledge.manifest.key.teacher_image_size,
        )
        targets = OnlineTargets(teacher.to(device))
    return TrialContext(
        manifest=manifest,
        data=TrainingData(
            train=train,
            validation=open_split(workplace.data, run.path, "validation"),
            plan=knowledge.manifest.key.plan,
            preprocess=Preprocess(mean=manifest.mean, std=manifest.std),
        ),
        targets=targets,
        reference=knowledge.reference(),
        teacher=run.read_teacher(),
        device=device,
    )


class Trial:
    """One trial in progress: call `advance()` until `record` is there.

    The folder is the trial's log: `spec.json` and `recipe.json` first, the curve and a checkpoint after every epoch,
    the student's weights and `result.json` last. A trial whose folder holds a checkpoint of the same assignment goes
    on from it; one whose folder holds a result has ended and is not trained again.

    Args:
        assignment: What to do.
        context: What all trials share.
        folder: The trial's folder.

    Attributes:
        record: How the trial ended; None while it goes on. A candidate that cannot be built, a recipe that names
            an unknown loss, and training that goes to NaN end it as failed.

    Raises:
        RunError: The folder cannot be written, or its result cannot be read.
    """

    def __init__(self, assignment: Assignment, context: TrialContext, folder: TrialFolder) -> None:
        self._assignment = assignment
        self._context = context
        self._folder = folder
        self._curve: list[EpochMetrics] = []
        self._resumptions = 0
        self.record = folder.read_result()
        if self.record is not None:
            return
        write_record(folder.path / "spec.json", assignment.spec)
        write_record(folder.path / "recipe.json", assignment.recipe)
        try:
            self._trainer = self._fresh_trainer()
        except (SpaceError, ConfigError) as error:
            self._end(TrialStatus.FAILED, error=one_line(error))
            return
        self._go_on_from_checkpoint()

    def advance(self) -> EpochMetrics | None:
        """Trains one epoch and returns its metrics once its checkpoint is on disk; None when there was none to train.

        Raises:
            RunError: The folder cannot be written.
        """
        if self.record is not None:
            return None
        point = None
        if not self._trainer.is_finished():
            try:
                point = self._trainer.run_epoch()
            except TrialError as error:
                self._end(TrialStatus.FAILED, error=one_line(error))
                return None
            self._curve.append(point)
            self._folder.write_curve(self._curve)
        if self._trainer.is_finished():
            self._complete()
        else:
            own = {"assignment": self._assignment.digest(), "resumptions": self._resumptions}
            save_state(self._folder.checkpoint, own | self._trainer.state())
        return point

    def stop(self) -> None:
        """Records that a scheduler ended the trial; nothing when it has ended."""
        if self.record is None:
            self._end(TrialStatus.STOPPED)

    def _fresh_trainer(self) -> Trainer:
        recipe, context = self._assignment.recipe, self._context
        torch.manual_seed(self._assignment.seed)
        network = build_student(
            self._assignment.spec,
            num_classes=context.manifest.num_classes,
            channels=context.manifest.channels,
            image_size=context.manifest.image_size,
            drop_rate=recipe.dropout,
            drop_path_rate=recipe.drop_path,
        )
        return Trainer(
            network,
            recipe=recipe,
            data=context.data,
            targets=context.targets,
            reference=context.reference,
            seed=self._assignment.seed,
            device=context.device,
        )

    def _go_on_from_checkpoint(self) -> None:
        if not self._folder.checkpoint.exists():
            return
        try:
            state = load_state(self._folder.checkpoint, self._context.device)
        except RunError:
            return  # a damaged checkpoint costs its epochs, not the trial
        if state["assignment"] != self._assignment.digest():
            return
        self._resumptions = state["resumptions"] + 1
        self._trainer.load(state)
        # The curve is written before the checkpoint, so it may be one epoch ahead, never behind.
        self._curve = list(self._folder.read_curve()[: self._trainer.epochs_done])

    def _complete(self) -> None:
        network = self._trainer.keep()
        weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
        write_atomic(self._folder.weights, lambda path: safetensors.torch.save_file(weights, path))
        self._end(TrialStatus.COMPLETE, metrics=self._measure())

    def _measure(self) -> StudentMetrics:
        data, reference = self._context.data, self._context.reference
        labels = data.validation.labels.cpu()
        logits = self._trainer.evaluate(data.validation)
        subset_logits = self._trainer.evaluate(data.train, reference.subset_indices)
        student, teacher = score(logits, labels), score(reference.validation, labels)
        subset = score(subset_logits, data.train.labels.cpu()[reference.subset_indices])
        comparison = compare(logits, reference.validation)
        subset_comparison = compare(subset_logits, reference.subset)
        return StudentMetrics(
            top1=student.top1,
            nll_nats=student.nll_nats,
            gap_points=gap_points(teacher.top1, student.top1),
            agreement=comparison.agreement,
            divergence_nats=comparison.divergence_nats,
            train_top1=subset.top1,
            train_agreement=subset_comparison.agreement,
            train_divergence_nats=subset_comparison.divergence_nats,
            generalisation_gap_points=gap_points(subset.top1, student.top1),
            capacity_ratio=self._assignment.cost.num_params / self._context.teacher.cost.num_params,
            class_gap_points=class_gaps(teacher, student),
            class_counts=student.class_counts,
        )

    def _end(self, status: TrialStatus, *, metrics: StudentMetrics | None = None, error: str | None = None) -> None:
        self.record = end_trial(
            self._assignment,
            self._folder,
            status=status,
            curve=self._curve,
            metrics=metrics,
            error=error,
            resumptions=self._resumptions,
            device=device_name(self._context.device),
        )


def run_trial(assignment: Assignment, context: TrialContext, folder: TrialFolder) -> TrialRecord:
    """Runs one trial to its end and returns its record.

    Raises:
        RunError: The folder cannot be written, or its result cannot be read.
    """
    trial = Trial(assignment, context, folder)
    while trial.record is None:
        trial.advance()
    return trial.record


def end_trial(
    assignment: Assignment,
    folder: TrialFolder,
    *,
    status: TrialStatus,
    curve: Sequence[EpochMetrics],
    device: str,
    metrics: StudentMetrics | None = None,
    error: str | None = None,
    resumptions: int = 0,
) -> TrialRecord:
    """Writes `result.json`, removes the checkpoint, and returns the record; fields as in `TrialRecord`."""
    record = TrialRecord(
        number=assignment.number,
        seed=assignment.seed,
        spec=assignment.spec,
        recipe=assignment.recipe,
        cost=assignment.cost,
        status=status,
        epochs=len(curve),
        curve=tuple(curve),
        metrics=metrics,
        error=error,
        resumptions=resumptions,
        wall_time_s=sum(point.wall_time_s for point in curve),
        device=device,
    )
    write_record(folder.result, record)
    shutil.rmtree(folder.checkpoint.parent, ignore_errors=True)
    return record


def device_name(device: torch.device) -> str:
    """Returns "cpu", or the accelerator's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def one_line(error: BaseException) -> str:
    """Returns an error as one line: its class, unless it is a user error, and the first line of its message."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return first if isinstance(error, NasDistillError) else f"{type(error).__name__}: {first}"

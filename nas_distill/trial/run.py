"""One trial, from its task to its record: build the student, distil it, write its folder. No Ray, no Optuna."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from nas_distill.errors import ConfigError, RunError, SpaceError, TeacherError, TrialError, one_line
from nas_distill.losses.registry import uses_teacher_head
from nas_distill.machine_lock import training
from nas_distill.models.student import build_student
from nas_distill.models.weights import save_weights
from nas_distill.records import (
    RANDOM,
    EpochMetrics,
    ExecutionInfo,
    InitialWeightsReport,
    StudentMetrics,
    TrialOutcome,
    TrialRecord,
    TrialStatus,
    TrialTask,
)
from nas_distill.records.resizing import Resizing
from nas_distill.records.student_interface import StudentInterface
from nas_distill.run_directory.files import write_record
from nas_distill.run_directory.results import end_trial, read_own_result
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.loop import Trainer
from nas_distill.trial.context import TrialContext, TrialInputs
from nas_distill.trial.initial_weights import apply_initial_weights
from nas_distill.trial.trained_student import TrainedStudent

_PROFILE_STEPS = 3


class Trial:
    """A trial that is trained epoch by epoch: call `advance()` until `record` is set.

    The folder is the trial's log: `task.json` first, then periodically the curve and a checkpoint, last the student's
    weights and `result.json`. A trial whose folder holds a checkpoint of the same task resumes from it. A trial whose
    folder holds a result has ended and is not trained again.

    Args:
        task: Task of the trial.
        context: What all trials of the run share.
        folder: Folder of the trial.

    Attributes:
        record: Record of the trial; None while it is running. The trial fails when its student cannot be built, its
            recipe is invalid, or its training loss becomes NaN.

    Raises:
        RunError: The folder cannot be written, or holds a result that is damaged or belongs to another task.
    """

    def __init__(self, task: TrialTask, context: TrialContext, folder: TrialFolder) -> None:
        self._task = task
        self._context = context
        self._folder = folder
        self._curve: list[EpochMetrics] = []
        self._resumptions = 0
        self._saved_at = time.monotonic()
        self.record = read_own_result(task, folder)
        if self.record is not None:
            return
        write_record(folder.task, task)
        try:
            with training():  # fitting initial weights takes all of a CPU for a while
                self._inputs = context.trial_inputs(task)
                self._trainer, self._initial_weights = make_trainer(task, context, self._inputs)
        except (SpaceError, ConfigError, TeacherError) as error:
            self._end(TrialStatus.FAILED, ExecutionInfo(device=device_name(context.device)), error=one_line(error))
            return
        self._resume()

    def advance(self) -> EpochMetrics | None:
        """Train one epoch and return its metrics, or None when no epoch was trained.

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
                self._end(TrialStatus.FAILED, self._execution_info(), error=one_line(error))
                return None
            self._curve.append(point)
        if self._trainer.is_finished():
            self._complete()
        elif time.monotonic() - self._saved_at >= self._context.checkpoint_interval_s:
            self._save()
        return point

    def account(self) -> ExecutionInfo:
        """Write the curve so far and return the execution info, from which the driver makes the record of a stop.

        Raises:
            RunError: The folder cannot be written.
        """
        assert self.record is None
        self._folder.write_curve(self._curve)
        return self._execution_info()

    def _resume(self) -> None:
        if not self._folder.checkpoint.exists():
            return
        try:
            state = load_state(self._folder.checkpoint)
            if state["task"] != self._task.digest():
                return
            self._trainer.load(state)
            # The curve is written before the checkpoint, so it may be ahead, never behind.
            curve = self._folder.read_curve()[: self._trainer.epochs_done]
            if len(curve) < self._trainer.epochs_done:
                raise RunError(
                    "lacks epochs that the checkpoint has trained",
                    code="run.damaged_record",
                    field=str(self._folder.curve),
                )
        except (RunError, AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            # A damaged checkpoint, or one of another version, restarts the trial instead of failing it.
            self._trainer, self._initial_weights = make_trainer(self._task, self._context, self._inputs)
            return
        self._curve = list(curve)
        self._resumptions = state["resumptions"] + 1

    def _save(self) -> None:
        self._folder.write_curve(self._curve)
        own = {"task": self._task.digest(), "resumptions": self._resumptions}
        save_state(self._folder.checkpoint, own | self._trainer.state())
        self._saved_at = time.monotonic()

    def _complete(self) -> None:
        ratio = self._task.cost.num_params / self._context.teacher_params
        with training():
            student = TrainedStudent(self._trainer, self._inputs, device=self._context.device)
            metrics = student.metrics(capacity_ratio=ratio)
        save_weights(student.network, self._folder.weights)
        write_record(self._folder.interface, self._interface())
        self._end(TrialStatus.COMPLETE, self._execution_info(), metrics=metrics)

    def _interface(self) -> StudentInterface:
        manifest = self._context.manifest
        return StudentInterface(
            architecture=self._task.spec.architecture,
            arguments=self._task.spec.arguments,
            class_names=manifest.class_names,
            channels=manifest.channels,
            image_size=manifest.image_size,
            resizing=manifest.resizing or Resizing(),
            normalisation=self._inputs.data.preprocess.normalisation,
        )

    def _execution_info(self) -> ExecutionInfo:
        return ExecutionInfo(
            resumptions=self._resumptions,
            device=device_name(self._context.device),
            settings=self._trainer.execution,
            normalisation=self._inputs.data.preprocess.normalisation,
            released_classes=self._trainer.released_classes,
            initial_weights=self._initial_weights,
        )

    def _end(
        self,
        status: TrialStatus,
        execution: ExecutionInfo,
        *,
        metrics: StudentMetrics | None = None,
        error: str | None = None,
    ) -> None:
        outcome = TrialOutcome(status=status, curve=tuple(self._curve), metrics=metrics, error=error)
        self.record = end_trial(self._folder, TrialRecord(task=self._task, execution=execution, outcome=outcome))


def make_trainer(
    task: TrialTask, context: TrialContext, trial_inputs: TrialInputs
) -> tuple[Trainer, InitialWeightsReport]:
    """Return a trainer of the task's student with its initial weights, and what these are.

    Raises:
        SpaceError: The student cannot be built, its initial weights do not fit, or it lacks outputs that its recipe
            compares.
        ConfigError: The recipe names something unknown, or needs teacher outputs that are not stored.
        TeacherError: The teacher lacks outputs that the recipe compares.
    """
    recipe = task.recipe
    torch.manual_seed(task.seed)
    network = build_student(
        task.spec,
        num_classes=context.manifest.num_classes,
        channels=context.manifest.channels,
        image_size=context.manifest.image_size,
        drop_rate=recipe.dropout,
        drop_path_rate=recipe.drop_path,
        teacher_head=context.teacher.head() if uses_teacher_head(recipe) else None,
    )
    report = apply_initial_weights(network, task, context, trial_inputs)
    trainer = Trainer(
        network,
        recipe=recipe if report.source == RANDOM else recipe.for_fine_tuning(),
        data=trial_inputs.data,
        targets=trial_inputs.targets,
        reference=trial_inputs.reference,
        seed=task.seed,
        device=context.device,
        execution=context.execution,
    )
    return trainer, report


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryProfile:
    """GPU memory of a trial.

    Attributes:
        peak_bytes: Most memory that the process reserved on the GPU, its copy of the data included.
        gpu_bytes: Memory of the GPU that the process could have used.
    """

    peak_bytes: int
    gpu_bytes: int


def profile_memory(task: TrialTask, context: TrialContext) -> MemoryProfile:
    """Run a few training steps and an evaluation of a trial on the GPU, and return the memory they took.

    Nothing is written.

    Raises:
        ConfigError, SpaceError, TeacherError, TrialError: The trial itself would fail with the same error.
    """
    torch.cuda.reset_peak_memory_stats(context.device)
    reserved = torch.cuda.memory_reserved(context.device)
    free, _ = torch.cuda.mem_get_info(context.device)
    trainer, _ = make_trainer(task, context, context.trial_inputs(task))
    trainer.profile_memory(_PROFILE_STEPS)
    return MemoryProfile(peak_bytes=torch.cuda.max_memory_reserved(context.device), gpu_bytes=free + reserved)


def run_trial(task: TrialTask, context: TrialContext, folder: TrialFolder) -> TrialRecord:
    """Run one trial to its end and return its record.

    Raises:
        RunError: The folder cannot be written, or its result cannot be read.
    """
    trial = Trial(task, context, folder)
    while trial.record is None:
        trial.advance()
    return trial.record


def device_name(device: torch.device) -> str:
    """Return "cpu", or the name of the accelerator."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

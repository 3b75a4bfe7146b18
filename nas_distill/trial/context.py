"""The configuration of a worker, and what all trials of a run share. No Ray, no Optuna."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from pydantic import Field, NonNegativeFloat

from nas_distill.config import LOCAL_DIR, RUN, DataConfig, ExecutionConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.data.stratified import k_folds
from nas_distill.errors import ConfigError
from nas_distill.knowledge.inference import TeacherInference
from nas_distill.knowledge.store import Knowledge
from nas_distill.knowledge.targets import OnlineTargets, StoredTargets, Targets
from nas_distill.knowledge.teacher_test_logits import read_test_logits
from nas_distill.knowledge.writing import plain_logits
from nas_distill.models.normalisation import student_normalisation
from nas_distill.models.preprocess import Preprocess
from nas_distill.models.teacher import Teacher, load_teacher
from nas_distill.models.weight_selection import CutImages
from nas_distill.records.base import FrozenTexts, Record
from nas_distill.records.task import OF_TEACHER, Fold, TrialTask
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.train.evaluation import Reference
from nas_distill.train.metrics import SplitMetrics, metric_sums
from nas_distill.train.training_data import TrainingData
from nas_distill.trial.cut_images import cut_images
from nas_distill.user_code import USER_MODULE_FIELDS, import_modules


def teacher_reference(run: RunDirectory, assistant: int | None) -> str:
    """Return the name under which `load_teacher` finds a network of a run.

    Args:
        run: Run directory.
        assistant: Number of the trial whose student is the network; None for the run's teacher.
    """
    return f"{LOCAL_DIR}{run.teacher}" if assistant is None else f"{RUN}{run.path}/{assistant}"


FOLD_SEED = 0
"""Seed of the folds. It is the same for all trials, so that students are compared on the same folds."""


class WorkerConfig(Record):
    """The configuration of a worker, the same for all trials of a run.

    Attributes:
        run: Path of the run directory, which every node must be able to read and write.
        data: Configuration of the data.
        knowledge: Folder names of the stored teacher outputs, by name of the source (`source_name`).
        threads: Number of threads for torch.
        cuda: Whether to train on the first visible GPU.
        execution: Configuration of how networks are run in training.
        checkpoint_interval_s: Time between the checkpoints of a trial, seconds.
        user_modules: Modules and files that a worker imports first; they register losses and architectures.
        pretrained_root: Folder with timm's weight files; None for the local cache and the hub.
    """

    run: str
    data: DataConfig
    knowledge: FrozenTexts
    threads: int
    cuda: bool
    execution: ExecutionConfig = Field(default_factory=ExecutionConfig)
    checkpoint_interval_s: NonNegativeFloat = 0.0
    user_modules: tuple[str, ...] = ()
    pretrained_root: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalTest:
    """The test split, on which students are confirmed.

    Attributes:
        split: Images and labels of the test split.
        logits: Logits of the teacher for these images, float32 [N_test, C].
        teacher: Metrics of the teacher on the test split.
    """

    split: ImageSplit
    logits: torch.Tensor
    teacher: SplitMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialInputs:
    """The data and teacher outputs with which one trial is trained and measured.

    Attributes:
        data: Splits, views and preprocessing.
        targets: Teacher outputs for the training views.
        reference: Teacher outputs for plain images.
        validation: Validation split, on which the trained student is calibrated.
        final: Test split on which the final student is scored; None to score it on the images of the learning curve.
    """

    data: TrainingData
    targets: Targets
    reference: Reference
    validation: ImageSplit
    final: FinalTest | None = None


class TrialContext:
    """What all trials of a run share, opened once per process. Parts that only some trials need are opened lazily.

    Args:
        worker_config: Configuration of the worker.

    Attributes:
        manifest: Description of the images.
        device: Device to train on.
        execution: Configuration of how networks are run in training.
        checkpoint_interval_s: Time between the checkpoints of a trial, seconds.
        teacher_params: Number of parameters of the teacher.
        pretrained_root: Folder with timm's weight files; None for the local cache and the hub.

    Raises:
        RunError: Part of the run directory is missing or damaged.
    """

    def __init__(self, worker_config: WorkerConfig) -> None:
        self._worker_config = worker_config
        self._run = RunDirectory(Path(worker_config.run))
        self.device = torch.device("cuda" if worker_config.cuda else "cpu")
        self.execution = worker_config.execution
        self.pretrained_root = None if worker_config.pretrained_root is None else Path(worker_config.pretrained_root)
        self.checkpoint_interval_s = worker_config.checkpoint_interval_s
        self._train = open_split(worker_config.data, self._run.path, "train")
        self._validation = open_split(worker_config.data, self._run.path, "validation")
        self.manifest: DataManifest = self._train.manifest
        teacher = self._run.read_teacher()
        self.teacher_params = teacher.cost.num_params
        self._teacher_normalisation = teacher.normalisation
        self._cut_images: dict[Fold | None, CutImages] = {}
        self._sources: dict[str, tuple[Knowledge, Targets]] = {}

    def trial_inputs(self, task: TrialTask) -> TrialInputs:
        """Return the data and teacher outputs for one trial.

        Args:
            task: Task of the trial.

        Raises:
            ConfigError: The teacher's outputs for the recipe's mixed images are not stored, or mixing would bring
                images of the fold into training.
            TeacherError: The student whose weights the task's student continues cannot be found.
            RunError: Part of the run directory is missing or damaged.
        """
        knowledge, targets = self._source(task)
        data = TrainingData(
            train=self._train,
            validation=self._validation,
            plan=knowledge.manifest.key.plan,
            preprocess=Preprocess.of(
                student_normalisation(task.spec, teacher=self._teacher_normalisation, channels=self.manifest.channels)
            ),
        )
        if task.fold is None:
            final = None if task.confirmation is None else self._final
            return TrialInputs(
                data=data, targets=targets, reference=self._reference, validation=self._validation, final=final
            )
        if task.recipe.mix != "none":
            raise ConfigError(
                f"cannot be used with recipe.mix {task.recipe.mix}, which mixes images of the fold that is left out "
                "into training images; score this student by seeds, or search without mixing",
                code="train.mix_with_folds",
                field="picks.folds",
            )
        folds = k_folds(self._train.labels, task.fold.of, FOLD_SEED)
        scored = folds[task.fold.number]
        trained = torch.cat([part for number, part in enumerate(folds) if number != task.fold.number])
        return TrialInputs(
            data=replace(data, validation=self._train, train_indices=trained.sort().values, validation_indices=scored),
            targets=targets,
            reference=self._reference.for_fold(scored, self._plain_logits(scored), self._train.labels[scored]),
            validation=self._validation,
        )

    @cached_property
    def teacher(self) -> Teacher:
        """The run's teacher, on the device."""
        return self._load(None)

    @cached_property
    def _knowledge_of_teacher(self) -> Knowledge:
        # Any source of the teacher: its outputs for plain images are stored with each of them and are the same.
        name = next(name for name in self._worker_config.knowledge if name.startswith(OF_TEACHER))
        return Knowledge(self._run.knowledge / self._worker_config.knowledge[name])

    @cached_property
    def _final(self) -> FinalTest:
        test, record = open_split(self._worker_config.data, self._run.path, "test"), self._run.read_teacher()
        logits = read_test_logits(
            self._run.confirm, teacher_sha256=record.weights_sha256, data_id=self.manifest.data_id
        )
        return FinalTest(split=test, logits=logits, teacher=metric_sums(logits, test.labels).metrics())

    @cached_property
    def _reference(self) -> Reference:
        stored = self._knowledge_of_teacher.reference()
        return Reference.from_store(stored, self._validation.labels, self.device)

    def cut_images(self, task: TrialTask, data: TrainingData) -> CutImages:
        """Return the images on which students are cut from the teacher, with what was computed on them before.

        Args:
            task: Task of a trial whose student starts from the teacher.
            data: Data of the trial.
        """
        if task.fold not in self._cut_images:
            self._cut_images = {task.fold: cut_images(data, self.teacher)}  # one fold at a time: it takes memory
        return self._cut_images[task.fold]

    def _source(self, task: TrialTask) -> tuple[Knowledge, Targets]:
        name = task.source
        if name not in self._worker_config.knowledge:
            raise ConfigError(
                f"the teacher's outputs for {task.recipe.mix} views are not stored; add {task.recipe.mix} to "
                "views.mixes in a new search",
                code="train.mix_not_stored",
                field="recipe.mix",
            )
        if name not in self._sources:
            self._sources.clear()  # one source at a time: an online teacher takes memory
            knowledge = Knowledge(self._run.knowledge / self._worker_config.knowledge[name])
            targets: Targets
            if knowledge.manifest.key.num_shards:
                targets = StoredTargets(knowledge, self.device)
            else:
                targets = OnlineTargets(self.teacher if task.assistant is None else self._load(task.assistant))
            self._sources[name] = knowledge, targets
        return self._sources[name]

    def _load(self, assistant: int | None) -> Teacher:
        size = self._knowledge_of_teacher.manifest.key.teacher_image_size if assistant is None else None
        return load_teacher(
            teacher_reference(self._run, assistant),
            class_names=self.manifest.class_names,
            channels=self.manifest.channels,
            image_size=size,
        ).to(self.device)

    def _plain_logits(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the teacher's logits for plain training images, float32 [V, C]."""
        inference = TeacherInference(self.teacher, self.device, embeddings=False)
        return torch.cat(list(plain_logits(inference, self._train, positions)))


def open_context(worker_config: WorkerConfig) -> TrialContext:
    """Open what all trials of a run share, after importing the user's modules.

    Args:
        worker_config: Configuration of the worker.

    Raises:
        ConfigError: A module of the user cannot be imported.
        RunError: Part of the run directory is missing or damaged.
    """
    import_modules(worker_config.user_modules, field=USER_MODULE_FIELDS)
    torch.set_num_threads(worker_config.threads)
    torch.backends.cudnn.benchmark = True  # shapes hardly change within a trial
    return TrialContext(worker_config)

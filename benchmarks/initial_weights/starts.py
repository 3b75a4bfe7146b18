"""Starts that are compared, and one training from a start in a worker process."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
from pydantic import NonNegativeFloat
from torch import nn

from benchmarks.common.materials import Material
from benchmarks.common.tasks import Result, Task
from benchmarks.common.trainings import SharedInputs, load_inputs, open_teacher, train_network
from nas_distill.config import DataConfig, ViewsConfig
from nas_distill.data.views.plan import plan_views
from nas_distill.models.initial_weights import copy_weights
from nas_distill.models.weight_selection import CutOptions, initialise_from_teacher
from nas_distill.models.weights import save_weights
from nas_distill.records import Recipe, StudentSpec
from nas_distill.records.base import Record, Share
from nas_distill.train.loop import Trainer
from nas_distill.train.training_data import TrainingData
from nas_distill.trial.cut_images import cut_images

RANDOM, STAND_IN = "random", "stand-in"
UNIFORM = CutOptions(layers="first", channels="even", dropped_inputs="ignore", recompute_batch_norm=False)
RECONSTRUCT = CutOptions(layers="first", channels="even", dropped_inputs="reconstruct", recompute_batch_norm=True)
CUTS = {
    "uniform": UNIFORM,
    "even layers": UNIFORM.model_copy(update={"layers": "even"}),
    "norm": UNIFORM.model_copy(update={"channels": "norm"}),
    "rescale": UNIFORM.model_copy(update={"dropped_inputs": "rescale"}),
    "recompute": UNIFORM.model_copy(update={"recompute_batch_norm": True}),
    "reconstruct": RECONSTRUCT,
    "even+reconstruct": RECONSTRUCT.model_copy(update={"layers": "even"}),
    "norm+reconstruct": RECONSTRUCT.model_copy(update={"channels": "norm"}),
}
"""Ways of cutting the student out of the teacher, by name. "uniform" is that of Xu et al. 2024."""


class StartTask(Task):
    """One training from a start. Starts that do the same to a student are the same task.

    Attributes:
        cut: Options of the cut; None for other starts.
        stand_in: Digest of the data and recipe that the network was trained with before; empty for other starts.
    """

    cut: CutOptions | None = None
    stand_in: str = ""


class StartResult(Result):
    """Result of a training from a start.

    Attributes:
        copied_share: Share of the parameters that were taken over, 0 to 1.
        start_top1: Accuracy on validation before the training, 0 to 1.
        start_seconds: Wall time for the initial weights, without the training of a stand-in.
    """

    copied_share: Share
    start_top1: Share
    start_seconds: NonNegativeFloat


class StartInputs(Record):
    """Inputs that all trainings of a family share.

    Attributes:
        shared: Data, knowledge and teacher.
        other: Configuration of the other data, for the stand-in of pretrained weights.
        other_folder: Folder of the other data, prepared; weights trained on them are kept there.
        other_recipe: Recipe of the trainings on the other data.
    """

    shared: SharedInputs
    other: DataConfig
    other_folder: Path
    other_recipe: Recipe


def effective(cut: CutOptions, student: StudentSpec, teacher: StudentSpec) -> CutOptions:
    """Return the options without those that change nothing for a student."""
    own, theirs = (spec.arguments.get("depths", (spec.arguments.get("depth"),)) for spec in (student, teacher))
    changes: dict[str, object] = {}
    if tuple(own) == tuple(theirs)[: len(own)]:
        changes["layers"] = "first"
    if "embed_dim" in student.arguments:  # no batch normalisation
        changes["recompute_batch_norm"] = False
    return cut.model_copy(update=changes)


def train_start(task: StartTask, inputs: StartInputs) -> StartResult:
    """Give a student its initial weights and train it."""
    material = load_inputs(inputs.shared).material
    network = material.network(task.student, task.seed)
    copied: frozenset[str] = frozenset()
    started = time.perf_counter()
    if task.cut is not None:
        copied = cut_from_teacher(network, task, task.cut, inputs.shared)
    seconds = time.perf_counter() - started
    if task.stand_in:
        copied = _copy_stand_in(network, task, inputs)
    top1 = _top1(network, material)
    found = train_network(network, task, inputs.shared)
    return StartResult(
        **found.model_dump(), copied_share=_share(network, copied), start_top1=top1, start_seconds=seconds
    )


def cut_from_teacher(network: nn.Module, task: Task, cut: CutOptions, inputs: SharedInputs) -> frozenset[str]:
    """Give a student weights that are cut from the teacher, and return the names of their tensors."""
    loaded = load_inputs(inputs)
    teacher = open_teacher(inputs).to(loaded.device)
    images = cut_images(loaded.material.training_data(task.plan), teacher) if cut.need_images else None
    return initialise_from_teacher(network, teacher.network, options=cut, images=images)


def _copy_stand_in(network: nn.Module, task: StartTask, inputs: StartInputs) -> frozenset[str]:
    """Copy weights that were trained on other data, without the classifier, and return the names of the tensors."""
    path = inputs.other_folder / "weights" / f"{task.student.spec_id}-{task.seed}-{task.stand_in}.safetensors"
    other = _open(inputs.other.model_dump_json(), inputs.other_folder)
    source = other.network(task.student, task.seed)
    if not path.exists():
        plan = plan_views(ViewsConfig(), other.manifest, epochs=inputs.other_recipe.epochs, online=False)
        trainer = Trainer(
            source,
            recipe=inputs.other_recipe,
            data=TrainingData(train=other.train, validation=other.validation, plan=plan, preprocess=other.preprocess),
            targets=None,
            reference=None,
            seed=task.seed,
            device=torch.device(inputs.shared.device),
            execution=task.execution,
        )
        while not trainer.is_finished():
            trainer.run_epoch()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(trainer.finish(), path)
    source.load_state_dict(safetensors.torch.load_file(path))
    with torch.no_grad():
        return copy_weights(network, source, same_classes=False)


def _share(network: nn.Module, copied: frozenset[str]) -> float:
    """Return the share of a network's parameters that were taken over, 0 to 1."""
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    return sum(size for name, size in sizes.items() if name in copied) / sum(sizes.values())


@cache
def _open(config: str, folder: Path) -> Material:
    return Material.open(DataConfig.model_validate_json(config), folder)


@torch.no_grad()
def _top1(network: nn.Module, material: Material) -> float:
    network.eval()
    order = torch.arange(material.validation.num_images)
    hits = 0
    for batch in material.validation.batches(order, 256, device=torch.device("cpu")):
        hits += int((network(material.preprocess(batch.images)).argmax(1) == batch.labels).sum())
    network.train()
    return hits / len(order)

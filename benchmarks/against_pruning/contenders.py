"""Networks that the contenders find: pruned and fine-tuned by the peers, or found by a search of ours."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import nn

from benchmarks.against_pruning.peers import Metric, accuracy, prune
from benchmarks.common.process import run_watched
from benchmarks.common.tasks import Task, TaskResult
from benchmarks.common.trainings import SharedInputs, load_inputs, open_teacher, train_network
from nas_distill.callbacks import NullProgress
from nas_distill.config import RUN
from nas_distill.data.prepare import cache_test_images
from nas_distill.data.splits import ImageSplit, open_split
from nas_distill.models.costs.cost import measure_module_cost
from nas_distill.models.run_student import load_run_student
from nas_distill.records.base import Record, Share
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.trial_folder import TrialFolder
from nas_distill.train.evaluation import evaluate

_STATISTICS_IMAGES = 512
"""Training images that a peer receives for its statistics."""


class FoundNetwork(TaskResult):
    """A trained network smaller than the teacher.

    Attributes:
        num_params: Number of parameters.
        macs: Multiply-accumulates of one image.
        validation_top1: Accuracy on the images by which networks are chosen, 0 to 1.
        test_top1: Accuracy on images that nothing was chosen by, 0 to 1.
        epochs: Epochs of training that it took.
        pruned_top1: Accuracy on validation after pruning, before fine-tuning; 0 for networks that were not pruned.
    """

    num_params: PositiveInt
    macs: NonNegativeInt
    validation_top1: Share
    test_top1: Share
    epochs: NonNegativeInt
    pruned_top1: Share = 0.0

    def cost(self, metric: Metric) -> int:
        """Return one of the two costs."""
        return self.num_params if metric == "num_params" else self.macs

    def summary(self) -> str:
        """Return costs and accuracy."""
        return (
            f"{self.num_params:,} parameters, {self.macs:,} MACs: {100 * self.pruned_top1:.1f} % after pruning, "
            f"{100 * self.test_top1:.2f} % on test after {self.epochs} epochs"
        )


class PruneTask(Task):
    """One network of a peer: pruned and fine-tuned with the teacher.

    Attributes:
        peer: Name of the peer.
        metric: Cost that is limited.
        share: Largest cost, as a share of the teacher's.
    """

    peer: str
    metric: Metric
    share: NonNegativeFloat


def prune_and_train(task: PruneTask, inputs: SharedInputs) -> FoundNetwork:
    """Prune the teacher and fine-tune the result with distillation, by the loop that trains our students."""
    loaded = load_inputs(inputs)
    material = loaded.material
    random.seed(task.seed)
    np.random.seed(task.seed)  # noqa: NPY002 - the peers use NumPy's global generator
    torch.manual_seed(task.seed)
    train = next(material.train.batches(torch.arange(_STATISTICS_IMAGES), _STATISTICS_IMAGES, device=loaded.device))
    labels = material.validation.labels
    held_out = next(material.validation.batches(torch.arange(len(labels)), len(labels), device=loaded.device))

    def score(network: nn.Module) -> float:
        return accuracy(network, material.preprocess(held_out.images), labels)

    network = prune(
        task.peer,
        open_teacher(inputs).network,
        metric=task.metric,
        share=task.share,
        images=material.preprocess(train.images),
        score=score,
    )
    pruned_top1 = score(network)
    trained = train_network(network, task, inputs)
    cost = measure_module_cost(network, channels=material.manifest.channels, image_size=material.manifest.image_size)
    return FoundNetwork(
        num_params=cost.num_params,
        macs=cost.macs,
        validation_top1=trained.top1,
        test_top1=top1_of(network, inputs),
        epochs=task.recipe.epochs,
        pruned_top1=pruned_top1,
    )


def top1_of(network: nn.Module, inputs: SharedInputs) -> float:
    """Return the accuracy of a network on the test images."""
    loaded = load_inputs(inputs)
    network.eval()
    with torch.no_grad():
        sums = evaluate(
            lambda images: network(loaded.material.preprocess(images)), _test_split(inputs), device=loaded.device
        )
    return sums.metrics().top1


@cache
def _test_split(inputs: SharedInputs) -> ImageSplit:
    cache_test_images(inputs.data, inputs.folder, NullProgress())
    return open_split(inputs.data, inputs.folder, "test")


class SearchPlan(Record):
    """A search of ours.

    Attributes:
        seed: Seed.
        epoch_budget: Epochs over all trials.
        arguments: Further arguments of `nas_distill search`.
    """

    seed: NonNegativeInt
    epoch_budget: PositiveInt
    arguments: tuple[str, ...]


class _Students(Record):
    networks: tuple[FoundNetwork, ...]


def search(plan: SearchPlan, inputs: SharedInputs, folder: Path) -> list[FoundNetwork]:
    """Run a search in its own process, unless its folder holds a finished one, and return its trained students."""
    kept = folder / f"students-{plan.digest()}.json"
    if not kept.exists():
        run = folder / f"run-{plan.digest()}"
        command = [
            sys.executable, "-m", "nas_distill", "search", "--teacher", inputs.teacher,
            "--epoch-budget", str(plan.epoch_budget), "--seed", str(plan.seed), "--out", str(run), *plan.arguments,
        ]  # fmt: skip
        if run.exists():
            command = [sys.executable, "-m", "nas_distill", "search", "--resume", str(run)]
        run_watched(command, folder=folder)
        kept.write_text(_Students(networks=tuple(_students(run, inputs))).model_dump_json(), encoding="utf-8")
    return list(_Students.model_validate_json(kept.read_text(encoding="utf-8")).networks)


def _students(run: Path, inputs: SharedInputs) -> Iterator[FoundNetwork]:
    for path in sorted(RunDirectory(run).trials.iterdir()):
        record = TrialFolder(path).read_record()
        if record is None or record.status != "complete" or record.metrics is None:
            continue
        student = load_run_student(f"{RUN}{run}/{record.number}")
        yield FoundNetwork(
            num_params=record.cost.num_params,
            macs=record.cost.macs,
            validation_top1=record.metrics.top1,
            test_top1=top1_of(student.network, inputs),
            epochs=record.epochs,
        )


def best_within(found: Sequence[FoundNetwork], metric: Metric, largest: float) -> FoundNetwork | None:
    """Return the network within a cost that is most accurate on validation; of equal ones, the cheapest."""
    fitting = [network for network in found if network.cost(metric) <= largest]
    return max(fitting, key=lambda network: (network.validation_top1, -network.cost(metric)), default=None)

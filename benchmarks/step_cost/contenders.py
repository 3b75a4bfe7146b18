"""Contenders of `benchmarks.step_cost`: functions that train one epoch and return its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.common.materials import LARGE_TEACHER, SMALL_TEACHER, ImagesInMemory, Material
from benchmarks.step_cost.peer_loops import augmentation, timm_loop, torchdistill_box, wait_for
from nas_distill.config import ExecutionConfig
from nas_distill.data.views.plan import ViewPlan
from nas_distill.knowledge.targets import OnlineTargets, Targets
from nas_distill.records import ExecutionSettings, Recipe, StudentSpec
from nas_distill.train.execution import apply_execution, autocast, torch_memory_format
from nas_distill.train.loop import Trainer
from nas_distill.train.metrics import MetricSums
from nas_distill.train.optimisation import make_optimizer

SEED = 0
PLAIN = ExecutionSettings()
TEACHERS = {"small teacher": SMALL_TEACHER, "large teacher": LARGE_TEACHER}

Epoch = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to train an epoch.

    Attributes:
        epoch: Function that trains an epoch and returns its seconds.
        execution: Precision, memory format and attention.
        role: "floor", "stored", "online", "torchdistill" or "timm".
        teacher: Name of the teacher that runs at every step; empty if none does.
    """

    epoch: Epoch
    execution: ExecutionSettings
    role: str
    teacher: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """One student on one device, trained in different ways."""

    material: Material
    spec: StudentSpec
    recipe: Recipe
    plan: ViewPlan
    device: torch.device

    def floor(self, execution: ExecutionSettings) -> Epoch:
        """Return an epoch of the bare student: no views, teacher or moving average."""
        train, preprocess = self.material.train, self.material.preprocess
        layout = torch_memory_format(execution)
        network = apply_execution(self.material.network(self.spec, SEED).to(self.device), execution).train()
        optimizer = make_optimizer(network, self.recipe)
        size = self.recipe.batch_size
        order = torch.randperm(train.num_images)[: train.num_images // size * size]
        batches = [
            (preprocess(batch.images).contiguous(memory_format=layout), batch.labels)
            for batch in train.batches(order, size, device=self.device)
        ]

        def epoch() -> float:
            started = time.perf_counter()
            for images, labels in batches:
                with autocast(execution, self.device):
                    logits = network(images)
                loss = cross_entropy(logits.float(), labels)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
            wait_for(self.device)
            return time.perf_counter() - started

        return epoch

    def ours(self, targets: Targets, execution: ExecutionConfig) -> tuple[Trainer, Epoch]:
        """Return a trainer, and a function that runs its epochs and returns their seconds without the evaluation."""
        trainer = TrainerWithWatch(
            self.material.network(self.spec, SEED),
            recipe=self.recipe,
            data=self.material.training_data(self.plan),
            targets=targets,
            reference=None,
            seed=SEED,
            device=self.device,
            execution=execution,
        )

        def epoch() -> float:
            started, evaluated_s = time.perf_counter(), trainer.evaluation_s
            trainer.run_epoch()
            wait_for(self.device)
            return time.perf_counter() - started - (trainer.evaluation_s - evaluated_s)

        return trainer, epoch

    def with_teacher(self, name: str, *, workers: int) -> dict[str, Contender]:
        """Return the contenders that run the teacher at every step; torchdistill only if it is installed."""
        teacher = self.material.untrained_teacher(TEACHERS[name]).to(self.device)
        trainer, epoch = self.ours(OnlineTargets(teacher), ExecutionConfig())
        epoch()
        manifest = self.material.manifest
        transform = augmentation(manifest.image_size, manifest.mean, manifest.std)
        loops = {"torchdistill": torchdistill_box, "timm": timm_loop}
        if find_spec("torchdistill") is None:
            del loops["torchdistill"]
        peers = {
            role: loop(
                self.material.network(self.spec, SEED),
                self.material.network(TEACHERS[name], SEED),
                ImagesInMemory.of(self.material.train, transform),
                batch_size=self.recipe.batch_size,
                workers=workers,
                device=self.device,
            )
            for role, loop in loops.items()
        }
        titles = {"torchdistill": "torchdistill", "timm": "plain timm loop"}
        return {
            f"ours, online, {name}": Contender(epoch=epoch, execution=trainer.execution, role="online", teacher=name),
            **{
                f"{titles[role]}, {name}": Contender(epoch=loop, execution=PLAIN, role=role, teacher=name)
                for role, loop in peers.items()
            },
        }


class TrainerWithWatch(Trainer):
    """A trainer that measures the time of its evaluations.

    Attributes:
        evaluation_s: Seconds of all evaluations so far.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.evaluation_s = 0.0

    def measure(self) -> MetricSums:
        """Measure the validation metrics, with the device synchronised before and after."""
        wait_for(self._device)
        started = time.perf_counter()
        measured = super().measure()
        wait_for(self._device)
        self.evaluation_s += time.perf_counter() - started
        return measured

"""Two common ways to distil, one epoch at a time: torchdistill's box, and a plain training loop with timm models.

Both read images through a `torch.utils.data.DataLoader` with torchvision's transforms on PIL images, run the teacher at
every step (in eval mode, without autograd), and synchronise the device at the end of an epoch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import timm.optim
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms

LEARNING_RATE = 4e-3
WEIGHT_DECAY = 0.02
TEMPERATURE = 4.0
LABEL_WEIGHT = 0.1


def augmentation(image_size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> Any:
    """Return the usual transforms for CIFAR: crop with padding of an eighth, horizontal flip, normalisation."""
    return transforms.Compose(
        [
            transforms.RandomCrop(image_size, padding=image_size // 8),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def wait_for(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timm_loop(
    student: nn.Module,
    teacher: nn.Module,
    images: Dataset[Any],
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> Callable[[], float]:
    """Return a function that trains one epoch with a plain loop and returns its seconds."""
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        **_loader_arguments(workers, device),
    )
    student = student.to(device).train()
    teacher = teacher.to(device).eval().requires_grad_(False)
    optimizer = timm.optim.create_optimizer_v2(student, opt="adamw", lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)

    def epoch() -> float:
        started = time.perf_counter()
        for inputs, labels in loader:
            inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)  # noqa: PLW2901
            with torch.no_grad():
                teacher_logits = teacher(inputs)
            logits = student(inputs)
            divergence = kl_div(
                log_softmax(logits / TEMPERATURE, dim=1),
                softmax(teacher_logits / TEMPERATURE, dim=1),
                reduction="batchmean",
            )
            loss = (1 - LABEL_WEIGHT) * TEMPERATURE**2 * divergence + LABEL_WEIGHT * cross_entropy(logits, labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        wait_for(device)
        return time.perf_counter() - started

    return epoch


def torchdistill_box(
    student: nn.Module,
    teacher: nn.Module,
    images: Dataset[Any],
    *,
    batch_size: int,
    workers: int,
    device: torch.device,
) -> Callable[[], float]:
    """Return a function that trains one epoch with the loop of torchdistill's examples and returns its seconds.

    Raises:
        ImportError: torchdistill is not installed; it is in this project's `bench` extra.
    """
    from torchdistill.common.constant import def_logger
    from torchdistill.core.distillation import get_distillation_box

    def_logger.setLevel(logging.WARNING)
    student, teacher = student.to(device), teacher.to(device)
    box = get_distillation_box(
        teacher,
        student,
        {"train": images},
        _box_settings(batch_size, workers, device),
        device,
        device_ids=None,
        distributed=False,
        lr_factor=1,
    )
    # torchdistill does not change the teacher's mode, and a new module is in training mode.
    teacher.eval()

    def epoch() -> float:
        started = time.perf_counter()
        box.pre_epoch_process(epoch=0)
        for inputs, labels, extra in box.train_data_loader:
            inputs, labels = inputs.to(device, non_blocking=True), labels.to(device, non_blocking=True)  # noqa: PLW2901
            loss = box.forward_process(inputs, labels, extra)
            box.post_forward_process(loss=loss)
        box.post_epoch_process()
        wait_for(device)
        return time.perf_counter() - started

    return epoch


def _box_settings(batch_size: int, workers: int, device: torch.device) -> dict[str, Any]:
    logits = {"student_module_path": ".", "student_module_io": "output"}
    teacher_logits = {"teacher_module_path": ".", "teacher_module_io": "output"}
    loss = {
        "key": "KDLoss",
        "kwargs": {
            **logits,
            **teacher_logits,
            "temperature": TEMPERATURE,
            "alpha": LABEL_WEIGHT,
            "reduction": "batchmean",
        },
    }
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": batch_size, "drop_last": True, **_loader_arguments(workers, device)},
        },
        "val_data_loader": {},
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "AdamW", "kwargs": {"lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": loss, "weight": 1.0}}}},
    }


def _loader_arguments(workers: int, device: torch.device) -> dict[str, Any]:
    # Persistent workers: otherwise every epoch would include their start.
    return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": device.type == "cuda"}

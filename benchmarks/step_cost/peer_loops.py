"""Two ways in which people distil today, an epoch at a time: torchdistill's box, and a plain loop around timm.

Both get their images from a `torch.utils.data.DataLoader` with torchvision's transforms on PIL images, ask the teacher
at every step (in eval mode and without autograd), and end an epoch with the device at rest.
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
    """Returns CIFAR's usual transforms: crop with an eighth of padding, mirror, scale, normalise."""
    return transforms.Compose(
        [
            transforms.RandomCrop(image_size, padding=image_size // 8),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )


def wait_for(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
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
    """Returns a function that trains one epoch and returns its seconds."""
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
                answers = teacher(inputs)
            logits = student(inputs)
            divergence = kl_div(
                log_softmax(logits / TEMPERATURE, dim=1), softmax(answers / TEMPERATURE, dim=1), reduction="batchmean"
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
    """Returns a function that trains one epoch and returns its seconds: the loop of torchdistill's own examples.

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
    # torchdistill leaves the teacher in whichever mode it came, which for a fresh module is training.
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
    answers = {"teacher_module_path": ".", "teacher_module_io": "output"}
    loss = {
        "key": "KDLoss",
        "kwargs": {**logits, **answers, "temperature": TEMPERATURE, "alpha": LABEL_WEIGHT, "reduction": "batchmean"},
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
    # Workers that outlive the epoch: starting them anew would be charged to every epoch.
    return {"num_workers": workers, "persistent_workers": workers > 0, "pin_memory": device.type == "cuda"}

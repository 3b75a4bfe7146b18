"""Detects a teacher that was trained on images of another size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nas_distill.analysis.stats import accuracy_half_width_points
from nas_distill.callbacks import Progress
from nas_distill.data.splits import ImageSplit
from nas_distill.models.teacher import Teacher
from nas_distill.train.evaluation import evaluate

# What networks that accept one image size raise at another.
_WRONG_SIZE = (AssertionError, RuntimeError, ValueError)


def warn_about_size(teacher: Teacher, validation: ImageSplit, *, top1: float, progress: Progress) -> None:
    """Warn if the teacher's configuration names another size than that of the images.

    The images are then resized for the teacher alone. That is right for a teacher that was fine-tuned on enlarged
    images, and wrong for one whose configuration is timm's default. The accuracy at the images' own size tells which.

    Args:
        teacher: Teacher at the size in its configuration, on its device.
        validation: Validation split.
        top1: Accuracy of the teacher on it, 0 to 1.
        progress: Receives the warning.
    """
    size, configured = validation.manifest.image_size, teacher.image_size
    if size == configured:
        return
    at_own_size = _top1_at(teacher, validation, size)
    problem = f"the teacher's configuration says {configured}x{configured} pixels, but the images have {size}x{size}"
    scores = f"it classifies {100 * top1:.2f} % of the validation images when they are resized"
    if at_own_size is not None:
        scores += f", and {100 * at_own_size:.2f} % as they are"
        if 100 * (at_own_size - top1) > accuracy_half_width_points(np.array(at_own_size), validation.num_images):
            progress.event(
                "warning",
                f"{problem}: {scores}, so it was probably trained on this size; set teacher.image_size={size}",
            )
            return
    progress.event(
        "warning",
        f"{problem}: {scores}; pass --image-size {configured} to give students that size too, or "
        f"teacher.image_size={configured} if the teacher was trained on resized images",
    )


def _top1_at(teacher: Teacher, validation: ImageSplit, size: int) -> float | None:
    """Return the teacher's accuracy on images of `size` pixels, 0 to 1; None if it cannot process them."""
    resized = Teacher(
        teacher.network,
        architecture=teacher.architecture,
        arguments=teacher.arguments,
        channels=teacher.channels,
        image_size=size,
        preprocess=replace(teacher.preprocess, image_size=size),
    )
    try:
        return evaluate(resized, validation, device=next(teacher.parameters()).device).metrics().top1
    except _WRONG_SIZE:
        return None

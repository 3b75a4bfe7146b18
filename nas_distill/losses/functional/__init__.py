"""Distillation losses as pure functions of tensors that return a scalar. One module per family.

All of them compute in float32 or better, send no gradient to the teacher, and have finite values and gradients for
constant rows, huge logits, a single image and two classes.
"""

from nas_distill.losses.functional.attention import at
from nas_distill.losses.functional.correlation import cc, kernel_matrix
from nas_distill.losses.functional.decoupled import dkd, nkd
from nas_distill.losses.functional.hinton import ctkd, kd
from nas_distill.losses.functional.information import vid
from nas_distill.losses.functional.multilevel import between_classes, between_images, mlkd
from nas_distill.losses.functional.pearson import dist
from nas_distill.losses.functional.probabilities import pkt
from nas_distill.losses.functional.regression import hint, simkd
from nas_distill.losses.functional.relations import rkd
from nas_distill.losses.functional.similarity import sp
from nas_distill.losses.functional.standardised import standardise
from nas_distill.losses.functional.weighted import wsld

__all__ = [
    "at",
    "between_classes",
    "between_images",
    "cc",
    "ctkd",
    "dist",
    "dkd",
    "hint",
    "kd",
    "kernel_matrix",
    "mlkd",
    "nkd",
    "pkt",
    "rkd",
    "simkd",
    "sp",
    "standardise",
    "vid",
    "wsld",
]

"""Our value for each record of the original authors' code: the function, or the recipe, that must reproduce it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from nas_distill.losses.functional import (
    at,
    between_classes,
    between_images,
    dist,
    hint,
    kernel_matrix,
    nkd,
    pkt,
    rkd,
    simkd,
    sp,
    wsld,
)
from nas_distill.losses.functional.numerics import pool_to_same_size
from nas_distill.losses.learned import HintRegressor, LearnedLoss, VariationalRegressor
from nas_distill.losses.registry import LOSSES, DistillationLoss, LossTerm
from nas_distill.model_outputs import ModelOutputs
from nas_distill.models.teacher_head import Projector
from nas_distill.records import Recipe
from tests.losses.reference import Record, fill, labels

Value = Callable[[Record, Tensor, Tensor], Tensor]


def temperature_of(record: Record) -> float:
    return next(float(record.hyper[name]) for name in ("T", "tau", "temp", "temperature") if name in record.hyper)


def _term(name: str, record: Record, student: Tensor, teacher: Tensor, **given: float) -> Tensor:
    """Return the value of a registered loss before weighting."""
    entry = LOSSES.get(name)
    value: Tensor = LossTerm(entry, entry.resolve(given))(student, teacher, labels(record.input))
    return value


def _kd(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    standardises = record.hyper.get("logit_stand", record.variant.startswith("lskd"))
    return _term("kd", record, student, teacher, temperature=temperature_of(record), standardise=float(standardises))


def _dkd(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    alpha, beta, temperature = (record.hyper[name] for name in ("alpha", "beta", "T"))
    given = {"alpha": alpha, "beta": beta, "temperature": temperature}
    return _term("dkd", record, student, teacher, standardise=float(record.hyper.get("logit_stand", False)), **given)


def _dist(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    hyper = record.hyper
    return dist(student, teacher, beta=hyper["beta"], gamma=hyper["gamma"], temperature=hyper.get("tau", 1))


def _nkd(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    gamma, temperature = record.hyper["gamma"], record.hyper["temp"]
    return nkd(student, teacher, labels(record.input), gamma=gamma, temperature=temperature)


def _wsld(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    alpha: float = record.hyper["alpha"]
    return alpha * wsld(student, teacher, labels(record.input), temperature=record.hyper["temp"])


def _with_labels(record: Record, student: Tensor, teacher: Tensor, label: float, **losses: dict[str, float]) -> Tensor:
    """Return the weighted sum of a recipe, the cross-entropy with the labels included."""
    loss = DistillationLoss(Recipe(losses=losses, label_weight=label))
    total: Tensor = loss(ModelOutputs(student), ModelOutputs(teacher), labels(record.input))["total"]
    return total


def _attention_transfer(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    alpha, temperature = record.hyper["alpha"], record.hyper["T"]
    return _with_labels(record, student, teacher, 1 - alpha, kd={"weight": alpha, "temperature": temperature})


def _torchdistill(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    hyper = record.hyper
    standardise = float(record.variant.startswith("lskd"))
    if "alpha" not in hyper:
        return _kd(record, student, teacher)
    term = {"weight": hyper.get("beta", 1 - hyper["alpha"]), "temperature": hyper["temperature"]}
    return _with_labels(record, student, teacher, hyper["alpha"], kd={**term, "standardise": standardise})


def _takd(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    """Return the loss in the scale of TAKD, whose KL is averaged over classes too."""
    weight = record.hyper["lambda_"] / student.shape[1]
    label = 1 - record.hyper["lambda_"]
    return _with_labels(record, student, teacher, label, kd={"weight": weight, "temperature": record.hyper["T"]})


def _wsld_original(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    term = {"weight": record.hyper["alpha"], "temperature": record.hyper["T"]}
    return _with_labels(record, student, teacher, 1.0, wsld=term)


def _mlkd(part: Callable[[Tensor, Tensor], Tensor]) -> Value:
    def value(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
        return part(*((values / record.hyper["T"]).softmax(dim=1) for values in (student, teacher)))

    return value


def _learned(loss: LearnedLoss, student: Tensor, teacher: Tensor) -> Tensor:
    fill(loss, skip=("log_scale",))
    value: Tensor = loss(student, teacher)
    return value


def _regressed(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    relu = float(record.hyper.get("use_relu", True))
    return _learned(HintRegressor(student.shape[1:], teacher.shape[1:], relu=relu), student, teacher)


def _projected(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    projector = Projector(student.shape[1], teacher.shape[1], record.hyper["factor"])
    fill(projector)
    return simkd(projector(pool_to_same_size(student, teacher)[0]), teacher)


def _variational(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    hyper = record.hyper
    options = {"hidden": hyper["mid"], "variance": hyper["init_pred_var"], "floor": hyper["eps"]}
    regressor = VariationalRegressor(student.shape[1:], teacher.shape[1:], **options).double()
    # The constructor rounds the initial variance to float32; the original ran in float64.
    rest = torch.full((teacher.shape[1],), hyper["init_pred_var"] - hyper["eps"], dtype=torch.float64)
    with torch.no_grad():
        regressor.log_scale.copy_(rest.expm1().log())
    return _learned(regressor, student, teacher)


def _at(*, squared: bool) -> Value:
    def value(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
        return at(student, teacher, power=record.hyper.get("p", 2), squared=float(squared))

    return value


def _rkd(*names: str) -> Value:
    def value(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
        distance, angle = (record.hyper.get(name, float(name == "on")) for name in names)
        return rkd(student, teacher, distance=distance, angle=angle)

    return value


def _kernel(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
    """Return the original's distance between kernel matrices, computed from our kernel."""
    options: dict[str, Any] = {"gamma": record.hyper["kernel"]["gamma"], "order": record.hyper["kernel"]["max_p"]}
    difference = kernel_matrix(student, **options) - kernel_matrix(teacher, **options)
    return difference.square().sum().sqrt() / len(student) ** 2


def _plain(function: Callable[[Tensor, Tensor], Tensor]) -> Value:
    def value(record: Record, student: Tensor, teacher: Tensor) -> Tensor:
        del record
        return function(student, teacher)

    return value


OUR_VALUES: dict[str, Value] = {
    "kd.mdistiller": _kd,
    "kd.repdistiller": _kd,
    "kd.simkd": _kd,
    "kd.hunto": _kd,
    "kd.gnosis_kl": _kd,
    "kd.cls_kd": _kd,
    "kd.gnosis_fwd_ce": _kd,
    "kd.attention_transfer": _attention_transfer,
    "kd.torchdistill": _torchdistill,
    "kd.takd": _takd,
    "dkd.mdistiller": _dkd,
    "dkd.cls_kd": _dkd,
    "dkd.ctkd": _dkd,
    "dist.hunto": _dist,
    "dist.hunto_segmentation": _dist,
    "dist.torchdistill": _dist,
    "lskd.kd": _kd,
    "lskd.ctkd_variant": _kd,
    "lskd.dkd": _dkd,
    "lskd.torchdistill": _torchdistill,
    "nkd.cls_kd": _nkd,
    "wsld.cls_kd": _wsld,
    "wsld.original": _wsld_original,
    "mlkd.class_corr": _mlkd(between_classes),
    "mlkd.batch_corr": _mlkd(between_images),
    "hint.repdistiller": _plain(hint),
    "hint.mdistiller_convreg": _regressed,
    "simkd.projector": _projected,
    "vid.repdistiller": _variational,
    "at.original": _at(squared=True),
    "at.repdistiller": _at(squared=True),
    "at.mdistiller_sum": _at(squared=True),
    "at.torchdistill_paper": _at(squared=False),
    "sp.repdistiller": _plain(sp),
    "sp.torchdistill": _plain(sp),
    "rkd.original_distance": _rkd("on", "off"),
    "rkd.original_angle": _rkd("off", "on"),
    "rkd.repdistiller": _rkd("w_d", "w_a"),
    "rkd.mdistiller": _rkd("distance_weight", "angle_weight"),
    "pkt.repdistiller": _plain(pkt),
    "cc.torchdistill": _kernel,
}

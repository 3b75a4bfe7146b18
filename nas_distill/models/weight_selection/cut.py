"""Cut a student's initial weights out of its teacher's (weight selection, Xu et al. 2024, arXiv 2311.18823)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed, resize_rel_pos_bias_table
from torch import Tensor, nn

from nas_distill.models.weight_selection.batch_norm import recompute_batch_norm
from nas_distill.models.weight_selection.channels import Axis, choose_channels
from nas_distill.models.weight_selection.images import CutImages
from nas_distill.models.weight_selection.indices import uniform_indices
from nas_distill.models.weight_selection.layout import read_layout
from nas_distill.models.weight_selection.options import CutOptions
from nas_distill.models.weight_selection.plan import TensorCut, plan_cut
from nas_distill.models.weight_selection.reconstruction import TeacherLayer, fit_layers


@torch.no_grad()
def initialise_from_teacher(
    student: nn.Module, teacher: nn.Module, *, options: CutOptions, images: CutImages | None = None
) -> frozenset[str]:
    """Replace a student's weights by channels and blocks of its teacher, where they correspond.

    Args:
        student: Student with random weights, which remain in tensors without a counterpart; its body alone if it uses
            the teacher's classifier.
        teacher: Network of the teacher, for the same classes in the same order; it does not change.
        options: Options of the cut.
        images: Images for options that need them (`CutOptions.need_images`).

    Returns:
        Names of the student's tensors that were replaced.

    Raises:
        MisfitError: The student does not fit, see `plan_cut`.
    """
    layout, teacher_layout = read_layout(student), read_layout(teacher)
    cuts = plan_cut(layout, teacher_layout, options)
    chosen: dict[Axis, Tensor] = {}
    if options.channels != "even":
        assert images is not None
        chosen = choose_channels(cuts.values(), teacher, images.teacher[:1])
    own, theirs = student.state_dict(), teacher.state_dict()
    for name, cut in cuts.items():
        value = _selected(theirs[cut.partner], cut, chosen)
        if options.dropped_inputs == "rescale" and _has_fewer_inputs(cut):
            value = value * math.sqrt(cut.teacher.shape[1] / cut.student.shape[1])
        own[name].copy_(_resampled(value, cut))
    replaced = frozenset(cuts)
    if not options.need_images or layout == teacher_layout:
        return replaced  # the teacher's own weights and statistics are exact for a student that is the teacher
    assert images is not None
    if options.dropped_inputs == "reconstruct":
        return replaced | fit_layers(student, _layers(cuts, theirs, chosen), teacher, images)
    if options.recompute_batch_norm:
        recompute_batch_norm(student, images.student)
    return replaced


def _layers(
    cuts: Mapping[str, TensorCut], state: Mapping[str, Tensor], chosen: Mapping[Axis, Tensor]
) -> dict[str, TeacherLayer]:
    """Return the teacher's layers that layers of the student follow from, by name of the student's layer."""
    return {
        name.removesuffix(".weight"): TeacherLayer(
            name=cut.partner.removesuffix(".weight"),
            weight=_selected(state[cut.partner], cut, chosen, inputs=False),
            kept=_indices(cut, 1, chosen) if 1 in cut.axes else torch.arange(cut.student.shape[1]),
        )
        for name, cut in cuts.items()
        if name.endswith(".weight") and len(cut.student.shape) in (2, 4)
        and not cut.student.image_channels and cut.student.shape[2:] == cut.teacher.shape[2:]
    }  # fmt: skip


def _has_fewer_inputs(cut: TensorCut) -> bool:
    """Return whether a tensor is the weight of a layer that sums over fewer channels than the teacher's."""
    grouped = 1 in cut.student.structure and len(cut.student.structure[1]) == 1
    return cut.partner.endswith(".weight") and 1 in cut.axes and len(cut.student.shape) in (2, 4) and not grouped


def _indices(cut: TensorCut, axis: int, chosen: Mapping[Axis, Tensor]) -> Tensor:
    found = chosen.get((cut.partner, axis))
    sizes = cut.axes[axis]
    return uniform_indices(sizes.student, sizes.teacher) if found is None else found


def _selected(value: Tensor, cut: TensorCut, chosen: Mapping[Axis, Tensor], *, inputs: bool = True) -> Tensor:
    """Return the chosen channels of a teacher's tensor; all of its inputs (axis 1) if `inputs` is False."""
    for axis in cut.axes:
        if axis != 1 or inputs:
            value = value.index_select(axis, _indices(cut, axis, chosen).to(value.device))
    return value


def _resampled(value: Tensor, cut: TensorCut) -> Tensor:
    student, teacher = cut.student, cut.teacher
    if student.image_channels and student.shape[1] != teacher.shape[1]:
        value = value.sum(dim=1, keepdim=True)  # the teacher sees the grey value in all of its channels
    if value.shape == student.shape and student.grid == teacher.grid:
        return value
    found: Tensor
    if student.resampling == "patch":
        found = resample_patch_embed(value, list(student.shape[2:]))
    elif student.resampling == "position":
        prefix = student.shape[1] - student.grid[0] * student.grid[1]
        found = resample_abs_pos_embed(
            value, new_size=list(student.grid), old_size=list(teacher.grid), num_prefix_tokens=prefix
        )
    else:
        found = resize_rel_pos_bias_table(
            value, new_window_size=student.grid, new_bias_shape=student.shape, old_window_size=teacher.grid
        )
    return found

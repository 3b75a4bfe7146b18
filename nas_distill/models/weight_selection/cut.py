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
from nas_distill.models.weight_selection.plan import AxisCut, TensorCut, plan_cut
from nas_distill.models.weight_selection.reconstruction import reconstruction


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
        chosen = choose_channels(cuts.values(), teacher, images, options.channels)
    matrices = _reconstructions(cuts, teacher, options, images, chosen)
    own, theirs = student.state_dict(), teacher.state_dict()
    for name, cut in cuts.items():
        value = _selected(theirs[cut.partner], cut, chosen, matrices.get(cut.partner))
        if options.dropped_inputs == "rescale" and _has_fewer_inputs(cut):
            value = value * math.sqrt(cut.teacher.shape[1] / cut.student.shape[1])
        own[name].copy_(_resampled(value, cut))
    # The teacher's statistics are exact for a student that is the teacher.
    if options.recompute_batch_norm and layout != teacher_layout:
        assert images is not None
        recompute_batch_norm(student, images.student)
    return frozenset(cuts)


def _reconstructions(
    cuts: Mapping[str, TensorCut],
    teacher: nn.Module,
    options: CutOptions,
    images: CutImages | None,
    chosen: Mapping[Axis, Tensor],
) -> dict[str, Tensor]:
    """Return the matrices that replace dropped inputs, by name of the teacher's weight."""
    if options.dropped_inputs != "reconstruct":
        return {}
    assert images is not None
    narrowed = {cut.partner: cut.axes[1] for cut in cuts.values() if _has_fewer_inputs(cut)}
    moments = images.moments(teacher)
    return {
        name: reconstruction(moments[module], _indices(axis, chosen.get((name, 1))))
        for name, axis in narrowed.items()
        if (module := name.removesuffix(".weight")) in moments
    }


def _has_fewer_inputs(cut: TensorCut) -> bool:
    """Return whether a tensor is the weight of a layer that sums over fewer channels than the teacher's."""
    grouped = 1 in cut.student.structure and len(cut.student.structure[1]) == 1
    return cut.partner.endswith(".weight") and 1 in cut.axes and len(cut.student.shape) in (2, 4) and not grouped


def _indices(axis: AxisCut, chosen: Tensor | None) -> Tensor:
    return uniform_indices(axis.student, axis.teacher) if chosen is None else chosen


def _selected(value: Tensor, cut: TensorCut, chosen: Mapping[Axis, Tensor], matrix: Tensor | None) -> Tensor:
    for axis, sizes in cut.axes.items():
        if axis == 1 and matrix is not None:
            value = torch.tensordot(value, matrix.to(value), dims=([1], [0])).movedim(-1, 1)
        else:
            indices = _indices(sizes, chosen.get((cut.partner, axis)))
            value = value.index_select(axis, indices.to(value.device))
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

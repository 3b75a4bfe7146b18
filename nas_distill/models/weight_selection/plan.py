"""Decide what a student takes over from its teacher, or why it cannot: names and shapes only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nas_distill.models.weight_selection.blocks import Blocks, find_blocks, partner_names
from nas_distill.models.weight_selection.layout import Factors, NetworkLayout, TensorLayout
from nas_distill.models.weight_selection.options import CutOptions

_MIN_PARTNERS = 0.5
"""Least share of a block's tensors that the teacher must have under the same names."""


class MisfitError(Exception):
    """A student cannot be cut from a teacher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisCut:
    """Channels to take along one axis.

    Attributes:
        student: Factors of the student's axis.
        teacher: Factors of the teacher's axis, as many, none smaller.
    """

    student: Factors
    teacher: Factors


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorCut:
    """How one tensor of the student follows from one of the teacher.

    Attributes:
        partner: Name of the teacher's tensor.
        axes: Axes along which channels are chosen, by number.
        student: Layout of the student's tensor.
        teacher: Layout of the teacher's tensor.
    """

    partner: str
    axes: Mapping[int, AxisCut]
    student: TensorLayout
    teacher: TensorLayout


def plan_cut(student: NetworkLayout, teacher: NetworkLayout, options: CutOptions) -> dict[str, TensorCut]:
    """Return how each tensor of a student follows from the teacher; tensors that stay random are missing.

    Args:
        student: Layout of the student, with or without its classifier.
        teacher: Layout of the teacher, for the same classes in the same order.
        options: Options of the cut.

    Raises:
        MisfitError: The student is of another class of networks, or larger than the teacher in some dimension. The
            message is one line and names the first such tensor.
    """
    if student.kind != teacher.kind:
        raise MisfitError(f"the student is a {student.kind} and the teacher a {teacher.kind}")
    own, theirs = find_blocks(student.tensors), find_blocks(teacher.tensors)
    _check_depth(own, theirs)
    partners = partner_names(own, theirs, student.tensors, options.layers)
    if any(partner not in teacher.tensors for partner in partners.values()):
        partners = partner_names(own, theirs, student.tensors, "first")
    _check_partners(teacher, own, partners)
    # After fewer stages, features mean something else, and the teacher's classifier would mislead the student.
    untouched = set() if own.numbers.keys() == theirs.numbers.keys() else own.tail
    cuts = {}
    for name, partner in partners.items():
        random = name in untouched or (
            name.rpartition(".")[0] in student.classifier and student.num_classes != teacher.num_classes
        )
        if not random and partner in teacher.tensors:
            cuts[name] = _cut(name, partner, student, teacher)
    return cuts


def _check_depth(student: Blocks, teacher: Blocks) -> None:
    for stage, numbers in student.numbers.items():
        longest = len(teacher.numbers.get(stage, ()))
        if len(numbers) > longest:
            raise MisfitError(f"the student has {len(numbers)} blocks {stage}*, the teacher {longest}")


def _check_partners(teacher: NetworkLayout, blocks: Blocks, partners: Mapping[str, str]) -> None:
    stages = tuple(filter(None, (stage.rstrip(".").rpartition(".")[0] for stage in blocks.numbers)))
    for name, partner in partners.items():
        # A stage may begin with a downsampling that the teacher does not need.
        if partner not in teacher.tensors and name not in blocks.places and not name.startswith(stages):
            raise MisfitError(f"the teacher has no tensor {partner}")
    members: dict[tuple[str, int], list[str]] = {}
    for name, place in blocks.places.items():
        members.setdefault((place.stage, place.number), []).append(partners[name])
    for block in members.values():
        missing = [partner for partner in block if partner not in teacher.tensors]
        if len(missing) > (1 - _MIN_PARTNERS) * len(block):
            raise MisfitError(f"the teacher has no tensor {missing[0]}")


def _cut(name: str, partner: str, student: NetworkLayout, teacher: NetworkLayout) -> TensorCut:
    mine, theirs = student.tensors[name], teacher.tensors[partner]
    if len(mine.shape) != len(theirs.shape):
        raise MisfitError(_sizes(name, mine, theirs))
    axes = {}
    for axis in _channel_axes(name, mine, theirs):
        own, other = _factors(axis, mine, theirs, student, teacher)
        if any(here > there for here, there in zip(own, other, strict=True)):
            raise MisfitError(_sizes(name, mine, theirs))
        if own != other:
            axes[axis] = AxisCut(student=own, teacher=other)
    return TensorCut(partner=partner, axes=axes, student=mine, teacher=theirs)


def _channel_axes(name: str, student: TensorLayout, teacher: TensorLayout) -> Iterator[int]:
    """Yield the axes along which channels can be chosen, after checking the others.

    Raises:
        MisfitError: A kernel or the number of image channels differs and cannot be converted.
    """
    for axis, (own, other) in enumerate(zip(student.shape, teacher.shape, strict=True)):
        if axis == 1 and student.image_channels:
            # A teacher with more channels than the images sees the same grey image in each of them.
            if own not in (other, 1):
                raise MisfitError(_sizes(name, student, teacher))
        elif axis in _spatial_axes(student):
            if own != other and (student.resampling is None or teacher.resampling != student.resampling):
                raise MisfitError(_sizes(name, student, teacher))
        else:
            yield axis


def _spatial_axes(tensor: TensorLayout) -> tuple[int, ...]:
    match tensor.resampling:
        case "position":
            return (1,)
        case "relative position":
            return (0,)
        case _:
            return (2, 3) if len(tensor.shape) == 4 else ()


def _factors(
    axis: int, mine: TensorLayout, theirs: TensorLayout, student: NetworkLayout, teacher: NetworkLayout
) -> tuple[Factors, Factors]:
    """Return the factors of an axis in student and teacher, equally many."""
    own, other = mine.structure.get(axis), theirs.structure.get(axis)
    if own is None or other is None:
        # Channels that pass a grouped convolution keep to its groups, in all tensors with axes of these lengths.
        own, other = (
            network.grouped_widths.get(tensor.shape[axis]) for network, tensor in ((student, mine), (teacher, theirs))
        )
    if own is None or other is None:
        return (mine.shape[axis],), (theirs.shape[axis],)
    if len(own) == 3 and (own[1] > other[1] or own[2] > other[2]):
        # No head of the student fits into one of the teacher: spread its channels over all heads of each part.
        return (own[0], own[1] * own[2]), (other[0], other[1] * other[2])
    return own, other


def _sizes(name: str, student: TensorLayout, teacher: TensorLayout) -> str:
    own, other = ("x".join(str(length) for length in tensor.shape) for tensor in (student, teacher))
    return f"{name} is {own} in the student and {other} in the teacher"

"""Give a trial's student its initial weights."""

from __future__ import annotations

import torch
from torch import nn

from nas_distill.errors import SpaceError, TeacherError
from nas_distill.models.initial_weights import copy_weights
from nas_distill.models.starts.from_run import load_from_run
from nas_distill.models.starts.pretrained import load_pretrained
from nas_distill.models.student import build_student
from nas_distill.models.teacher_head import StudentWithTeacherHead
from nas_distill.models.weight_selection import CutOptions, MisfitError, initialise_from_teacher
from nas_distill.records import FROM_TEACHER, PRETRAINED, RANDOM, InitialWeightsReport
from nas_distill.records.task import TrialTask
from nas_distill.trial.context import TrialContext, TrialInputs


@torch.no_grad()
def apply_initial_weights(
    network: nn.Module, task: TrialTask, context: TrialContext, trial_inputs: TrialInputs
) -> InitialWeightsReport:
    """Replace the random weights of a new student by those that its specification names.

    A student that uses the teacher's classifier (SimKD) keeps a random projector.

    Args:
        network: Student of the task, with random weights, on the CPU.
        task: Task of the trial. A start that the search did not choose is random.
        context: What all trials of the run share.
        trial_inputs: Data of the trial.

    Raises:
        SpaceError: The weights cannot be read, or do not fit the student.
    """
    source = task.spec.initial_weights or RANDOM
    tensors = network.state_dict()
    body, prefix = (network.backbone, "backbone.") if isinstance(network, StudentWithTeacherHead) else (network, "")
    copied: frozenset[str] = frozenset()
    if source == FROM_TEACHER:
        copied = _from_teacher(body, task, context, trial_inputs)
    elif source != RANDOM:
        copied = _from_copy(body, task, context)
    parameters = {name: parameter.numel() for name, parameter in network.named_parameters()}
    share = sum(parameters.get(f"{prefix}{name}", 0) for name in copied) / sum(parameters.values())
    return InitialWeightsReport(
        source=source, copied_share=share, tensors_copied=len(copied), tensors_total=len(tensors)
    )


def _from_teacher(
    network: nn.Module, task: TrialTask, context: TrialContext, trial_inputs: TrialInputs
) -> frozenset[str]:
    options = CutOptions()
    images = context.cut_images(task, trial_inputs.data) if options.need_images else None
    try:
        return initialise_from_teacher(network, context.teacher.network, options=options, images=images)
    except MisfitError as error:
        raise SpaceError(
            f"it cannot start from the teacher's weights: {error}; use initial_weights='random'",
            code="models.cut_misfit",
            field=f"candidate {task.spec.architecture}",
        ) from None


def _from_copy(network: nn.Module, task: TrialTask, context: TrialContext) -> frozenset[str]:
    """Copy weights of the same architecture, and return the names of the tensors that got them."""
    spec, manifest = task.spec, context.manifest
    whole = build_student(
        spec, num_classes=manifest.num_classes, channels=manifest.channels, image_size=manifest.image_size
    )
    try:
        if spec.initial_weights == PRETRAINED:
            source = load_pretrained(spec, image_size=manifest.image_size, root=context.pretrained_root)
            copied = copy_weights(whole, source)
        else:
            other = load_from_run(spec, str(spec.initial_weights), image_size=manifest.image_size)
            same = other.class_names == tuple(manifest.class_names)
            copied = copy_weights(whole, other.network, same_classes=same)
    except TeacherError as error:
        raise SpaceError(str(error.args[0]), code=error.code, field=f"candidate {spec.architecture}") from error
    found, own = whole.state_dict(), network.state_dict()
    taken = copied & own.keys()
    for name in taken:
        own[name].copy_(found[name])
    return frozenset(taken)

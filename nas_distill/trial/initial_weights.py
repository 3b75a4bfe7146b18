"""Give a trial's student its initial weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_distill.errors import SpaceError
from nas_distill.models.teacher import Teacher
from nas_distill.models.teacher_head import StudentWithTeacherHead
from nas_distill.models.weight_selection import CutImages, CutOptions, MisfitError, initialise_from_teacher
from nas_distill.records import FROM_TEACHER, RANDOM, InitialWeightsReport
from nas_distill.records.task import TrialTask
from nas_distill.train.training_data import TrainingData
from nas_distill.trial.context import TrialContext, TrialInputs

CUT_IMAGES = 512
"""Most training images that a cut uses. They are the same for all trials of a run with the same training images."""


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
        SpaceError: The weights do not fit the student.
    """
    body = network.backbone if isinstance(network, StudentWithTeacherHead) else network
    source = task.spec.initial_weights or RANDOM
    if source == FROM_TEACHER:
        report = _from_teacher(body, task, context, trial_inputs)
    else:
        report = InitialWeightsReport(source=source, tensors_total=len(network.state_dict()))
    if body is network:
        return report
    whole, part = (sum(parameter.numel() for parameter in module.parameters()) for module in (network, body))
    return report.model_copy(
        update={"copied_share": report.copied_share * part / whole, "tensors_total": len(network.state_dict())}
    )


def _from_teacher(
    network: nn.Module, task: TrialTask, context: TrialContext, trial_inputs: TrialInputs
) -> InitialWeightsReport:
    options = CutOptions()
    images = cut_images(trial_inputs.data, context.teacher) if options.need_images else None
    try:
        return initialise_from_teacher(network, context.teacher.network, options=options, images=images)
    except MisfitError as error:
        raise SpaceError(
            f"it cannot start from the teacher's weights: {error}; use initial_weights='random'",
            code="models.cut_misfit",
            field=f"candidate {task.spec.architecture}",
        ) from None


def cut_images(data: TrainingData, teacher: Teacher) -> CutImages:
    """Return the training images that a cut uses, without augmentation.

    Args:
        data: Images that the student is trained on.
        teacher: Teacher, on its device.
    """
    positions = data.positions  # without the images of a fold that is left out
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))
    chosen = positions[order[:CUT_IMAGES]].sort().values
    batches = data.train.batches(chosen, CUT_IMAGES, device=torch.device("cpu"))
    images: Tensor = torch.cat([batch.images for batch in batches])
    device = next(teacher.network.parameters()).device
    return CutImages(student=data.preprocess(images), teacher=teacher.preprocess(images.to(device)))

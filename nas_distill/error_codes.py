"""The stable codes of all user errors and their meaning; `docs/reference/error-codes.md` is generated from them.

A code is `area.rule`. It never changes once released; the wording of a message may.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CONFIG: dict[str, str] = {}

_DATA: dict[str, str] = {}

_KNOWLEDGE: dict[str, str] = {}

_MODELS: dict[str, str] = {
    "models.architecture_unknown": "timm has no architecture with this name.",
    "models.candidate_not_buildable": "The constructor of a candidate's architecture rejects its arguments.",
    "models.channels_mismatch": "The network takes another number of input channels than the data have.",
    "models.checkpoint_missing": "The checkpoint file does not exist.",
    "models.checkpoint_needed": "A timm architecture as a teacher needs a checkpoint with weights for these classes.",
    "models.classes_mismatch": "The teacher has other classes than the data, or has them in another order.",
    "models.full_float32_unavailable": "Another component set torch's precision API in a way that rules out float32.",
    "models.image_size_rejected": "The network cannot process images of this size.",
    "models.output_missing": "A loss compares an embedding or a feature map that the network does not provide.",
    "models.output_shape_wrong": "The network does not return one logit per class and image.",
    "models.pickle_not_trusted": "Pickled weights can run any code and are opened only with --trust-pickle.",
    "models.pretrained_unavailable": "timm's pretrained weights cannot be loaded.",
    "models.reserved_argument": "A candidate sets a constructor argument that the data or the recipe decide.",
    "models.run_unreadable": "The run that a `run:RUN/TRIAL` teacher names is missing or has damaged records.",
    "models.student_not_rebuildable": "The student of a run cannot be built again from its recorded specification.",
    "models.teacher_head_unusable": "The teacher's classifier does not work on the pooled feature map alone.",
    "models.teacher_not_loadable": "A local-dir folder is not a network that timm can load.",
    "models.trial_not_complete": "The trial has not ended, or has not trained a student to its end.",
    "models.two_weight_sources": "Weights or arguments are given next to a model that already includes them.",
    "models.uses_teacher_head": "A student that uses its own teacher's classifier cannot be a teacher.",
    "models.weights_mismatch": "Weights do not fit the network that they are loaded into.",
    "models.weights_unreadable": "The file with a student's weights cannot be read.",
}

_LOSSES: dict[str, str] = {
    "losses.adaptation_without_loss": "`recipe.adaptive` changes a setting, but the recipe has no teacher loss.",
    "losses.batch_mismatch": "Student and teacher features are of different numbers of images.",
    "losses.control_with_others": "The control `none` cannot be combined with teacher losses.",
    "losses.control_with_parameters": "The control `none` has no parameters.",
    "losses.needs_feature_map": "A loss of feature maps got features of another shape.",
    "losses.parameter_out_of_range": "The value of a loss parameter breaks the parameter's rule.",
    "losses.parameter_unknown": "The loss has no parameter with this name.",
    "losses.patience_with_temperature_schedule": "`teacher_patience` needs a constant temperature.",
    "losses.release_needs_logit_losses": "Per-class release works only with losses of logits.",
    "losses.release_with_mixing": "Per-class release needs images of one class, so it excludes mixed images.",
    "losses.shape_mismatch": "Student and teacher tensors have different shapes.",
    "losses.temperature_missing": "A temperature schedule needs a loss with a fixed temperature.",
    "losses.unknown": "No registered loss has this name.",
}

_TRAIN: dict[str, str] = {
    "train.checkpoint_damaged": "A checkpoint file cannot be read.",
    "train.holdout_too_small": "Per-class release would hold out too few images of every class to release any.",
    "train.loss_not_finite": "The training loss became NaN or infinite.",
    "train.out_of_memory": "The device has too little memory for the smallest part of a batch.",
    "train.optimizer_needs_second_derivatives": "The optimiser needs second derivatives, which are not computed.",
    "train.optimizer_unavailable": "The optimiser cannot be created on this machine.",
    "train.optimizer_unknown": "timm has no optimiser with this name.",
    "train.outputs_not_finite": "The network's logits became NaN or infinite.",
    "train.step_failed": "torch could not run the training steps of this network.",
    "train.teacher_exists": "The output folder already holds a trained teacher.",
    "train.teacher_training_failed": "The training of a teacher failed.",
    "train.teacher_with_losses": "A teacher is trained without distillation losses.",
    "train.teacher_not_buildable": "The architecture of the teacher cannot be built, or cannot process the images.",
}

_RUN: dict[str, str] = {}

_STUDY: dict[str, str] = {}

_SPACE: dict[str, str] = {}

_SEARCH: dict[str, str] = {}

_CLUSTER: dict[str, str] = {}

_CONFIRM: dict[str, str] = {}

_ANALYSIS: dict[str, str] = {
    "analysis.gap_tolerance_not_a_number": "A gap tolerance is not a finite number of percentage points.",
    "analysis.unknown_pick": "No pick rule has this name.",
}

_CLI: dict[str, str] = {}

CODES: Mapping[str, str] = MappingProxyType(
    _CONFIG | _DATA | _KNOWLEDGE | _MODELS | _LOSSES | _TRAIN | _RUN | _STUDY | _SPACE | _SEARCH | _CLUSTER | _CONFIRM
    | _ANALYSIS | _CLI
)  # fmt: skip
"""Code -> meaning, one sentence."""

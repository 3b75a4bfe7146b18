"""A student that answers through its teacher's classifier (SimKD: Chen et al. 2022, arXiv 2203.14001).

Shapes: B images; C channels of H x W positions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from nas_distill.model_outputs import OutputRequest, Shape
from nas_distill.models.features import (
    MissingOutputError,
    check_outputs,
    eval_without_side_effects,
    features_and_maps,
    logits_agree,
    output_shapes,
)
from nas_distill.models.split_model import copy_body, copy_head

_POOLED = OutputRequest(depths=(1.0,))


class TeacherHead(nn.Module):
    """What a teacher does with the map that its classifier pools: frozen, and in eval mode whatever `train()` says.

    A gradient goes through it to the map.

    Args:
        network: A classifier of which `forward_head` is used alone.
        features: (C, H, W) of the map in the teacher.
        layout: What `forward_head` takes: "NCHW", "NHWC", or "NLC" for tokens.

    Attributes:
        features: As given.
        num_classes: Number of outputs.
    """

    def __init__(self, network: nn.Module, *, features: Shape, layout: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.features = features
        self.num_classes = int(network.num_classes)  # type: ignore[arg-type]
        self._layout = layout
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode, whatever `mode` says."""
        del mode
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Stay frozen, whatever `requires_grad` says."""
        del requires_grad
        return super().requires_grad_(False)

    def get_classifier(self) -> Any:
        """Return the classification layer, or what timm has in its place."""
        return getattr(self.network, "get_classifier", lambda: None)()

    def forward(self, feature_map: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits [B, num_classes], or the embedding [B, D] with `pre_logits`.

        Args:
            feature_map: [B, C, H, W]; height and width may differ from the teacher's where its head pools any.
            pre_logits: Leave the last layer out.
        """
        features = feature_map
        if self._layout == "NHWC":
            features = feature_map.permute(0, 2, 3, 1)
        elif self._layout == "NLC":
            features = feature_map.flatten(2).transpose(1, 2)
        answers: Tensor = self.network.forward_head(features, pre_logits=pre_logits)  # type: ignore[operator]
        return answers


def copy_teacher_head(network: nn.Module, inputs: Tensor) -> TeacherHead:
    """Return a copy of what a classifier does with the map that it pools.

    Args:
        network: A timm classifier; nothing of it changes.
        inputs: float [B, channels, H, W] on its device, to try it on.

    Raises:
        MissingOutputError: It has no such map, or its classifier needs more than the map (a class token).
    """
    (shape,) = check_outputs(network, inputs, _POOLED).maps
    with eval_without_side_effects(network, inputs.device):
        features, (feature_map,) = features_and_maps(network, inputs, _POOLED.depths)
        expected = network.forward_head(features)  # type: ignore[operator]
        reason = "its classifier needs more than the map"
        try:
            head = TeacherHead(copy_head(network, inputs), features=shape, layout=_layout(network, features))
            found = head(feature_map)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise MissingOutputError("feature map", reason) from error
    if not logits_agree(found, expected):
        raise MissingOutputError("feature map", reason)
    return head


def _layout(network: nn.Module, features: Tensor) -> str:
    return "NLC" if features.ndim == 3 else getattr(network, "output_fmt", "NCHW")


class Projector(nn.Sequential):
    """From the student's map to the teacher's channels: 1x1, 3x3 and 1x1 convolutions, each with norm and ReLU.

    (Chen et al. 2022, section 3.2.)

    Args:
        inputs: Channels of the student's map.
        outputs: Channels of the teacher's.
        factor: Between the convolutions there are `outputs` divided by this, rounded down, at least 1.
    """

    def __init__(self, inputs: int, outputs: int, factor: float = 2.0) -> None:
        middle = max(1, int(outputs // factor))
        layers: list[nn.Module] = []
        for sizes in ((inputs, middle, 1), (middle, middle, 3), (middle, outputs, 1)):
            layers += [nn.Conv2d(*sizes, padding="same", bias=False), nn.BatchNorm2d(sizes[1]), nn.ReLU()]
        super().__init__(*layers)


class StudentWithTeacherHead(nn.Module):
    """A backbone, a projector to the teacher's map, and the teacher's frozen classifier, as one network.

    It speaks timm's interface; its feature map at depth 1 is the projected one, and those below are the backbone's.
    `state_dict` holds all of it, under `backbone`, `projector` and `classifier`. The larger of the two maps is
    average-pooled to the smaller: the student's here, the teacher's by the loss.

    Args:
        backbone: A timm classifier; a copy is made without its own head.
        head: The teacher's; a copy is made on the backbone's device, "meta" included.
        inputs: float [B, channels, H, W] on that device, to find the backbone's map with.

    Raises:
        MissingOutputError: The backbone has no feature map.
    """

    def __init__(self, backbone: nn.Module, head: TeacherHead, *, inputs: Tensor) -> None:
        super().__init__()
        ((channels, _, _),) = output_shapes(backbone, inputs, _POOLED).maps
        self.backbone = copy_body(backbone, inputs)
        with torch.device(inputs.device):
            self.projector = Projector(channels, head.features[0])
        self.classifier = copy.deepcopy(head).to(inputs.device)
        self.num_classes = head.num_classes
        self.pretrained_cfg = getattr(backbone, "pretrained_cfg", None)
        self._largest = head.features[1:]

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze or wakes backbone and projector; the teacher's classifier stays frozen."""
        super().requires_grad_(requires_grad)
        self.classifier.requires_grad_(False)
        return self

    def get_classifier(self) -> Any:
        """Return the teacher's classification layer, or what timm has in its place."""
        return self.classifier.get_classifier()

    def features_and_maps(self, inputs: Tensor, depths: Sequence[float]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the projected map, and the maps at `depths` (`anatomy.features_and_maps`)."""
        below = [depth for depth in depths if depth < 1]
        _, (*maps, last) = features_and_maps(self.backbone, inputs, (*below, 1.0))
        size = (min(last.shape[2], self._largest[0]), min(last.shape[3], self._largest[1]))
        projected: Tensor = self.projector(last if last.shape[2:] == size else adaptive_avg_pool2d(last, size))
        rest = iter(maps)
        return projected, tuple(projected if depth == 1 else next(rest) for depth in depths)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the projected map, [B, C, H, W], with the teacher's channels."""
        return self.features_and_maps(x, ())[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the teacher's classifier's logits for a projected map, or its embedding with `pre_logits`."""
        answers: Tensor = self.classifier(x, pre_logits=pre_logits)
        return answers

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, num_classes] for images [B, channels, H, W]."""
        return self.forward_head(self.forward_features(x))

"""A student that uses its teacher's classifier (SimKD: Chen et al. 2022, arXiv 2203.14001).

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
    """The teacher's classifier from the pooled feature map on. It is frozen and always in eval mode.

    Gradients flow through it to the feature map.

    Args:
        network: Classifier whose `forward_head` is used.
        features: Shape (C, H, W) of the feature map in the teacher.
        layout: Layout that `forward_head` takes: "NCHW", "NHWC", or "NLC" for tokens.

    Attributes:
        features: Shape (C, H, W) of the feature map in the teacher.
        num_classes: Number of classes.
    """

    def __init__(self, network: nn.Module, *, features: Shape, layout: str) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)
        self.features = features
        self.num_classes = int(network.num_classes)  # type: ignore[arg-type]
        self._layout = layout
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode for any `mode`."""
        del mode
        return super().train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Stay frozen for any `requires_grad`."""
        del requires_grad
        return super().requires_grad_(False)

    def get_classifier(self) -> Any:
        """Return what timm's `get_classifier` returns: the classification layer, or several of them."""
        return getattr(self.network, "get_classifier", lambda: None)()

    def forward(self, feature_map: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits [B, num_classes], or the embedding [B, D] with `pre_logits`.

        Args:
            feature_map: Feature map [B, C, H, W]. Height and width may differ from the teacher's if its head pools.
            pre_logits: Whether to skip the classification layer.
        """
        features = feature_map
        if self._layout == "NHWC":
            features = feature_map.permute(0, 2, 3, 1)
        elif self._layout == "NLC":
            features = feature_map.flatten(2).transpose(1, 2)
        outputs: Tensor = self.network.forward_head(features, pre_logits=pre_logits)  # type: ignore[operator]
        return outputs


def copy_teacher_head(network: nn.Module, inputs: Tensor) -> TeacherHead:
    """Return a copy of a network's classifier from the pooled feature map on.

    Args:
        network: timm classifier; it does not change.
        inputs: Network inputs for a check, float [B, channels, H, W], on its device.

    Raises:
        MissingOutputError: The network has no such map, or its classifier needs more than the map (a class token).
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
    """Map the student's feature map to the teacher's channels (Chen et al. 2022, section 3.2).

    Convolutions of 1x1, 3x3 and 1x1, each followed by batch normalisation and ReLU.

    Args:
        inputs: Channels of the student's map.
        outputs: Channels of the teacher's map.
        factor: Reduction factor: between the convolutions are `outputs / factor` channels, rounded down, at least 1.
    """

    def __init__(self, inputs: int, outputs: int, factor: float = 2.0) -> None:
        middle = max(1, int(outputs // factor))
        layers: list[nn.Module] = []
        for sizes in ((inputs, middle, 1), (middle, middle, 3), (middle, outputs, 1)):
            layers += [nn.Conv2d(*sizes, padding="same", bias=False), nn.BatchNorm2d(sizes[1]), nn.ReLU()]
        super().__init__(*layers)


class StudentWithTeacherHead(nn.Module):
    """A backbone, a projector to the teacher's map, and the teacher's frozen classifier, as one network.

    It implements timm's interface. Its feature map at depth 1 is the projected one; maps at smaller depths are those of
    the backbone. `state_dict` holds `backbone`, `projector` and `classifier`. A student map that is larger than the
    teacher's is average-pooled here; a larger teacher map is pooled by the loss.

    Args:
        backbone: timm classifier. It is copied without its own head.
        head: Head of the teacher. It is copied to the backbone's device, also "meta".
        inputs: Network inputs, float [B, channels, H, W], on that device. One forward pass shows the backbone's map.

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
        """Set `requires_grad` of backbone and projector; the teacher's classifier stays frozen."""
        super().requires_grad_(requires_grad)
        self.classifier.requires_grad_(False)
        return self

    def get_classifier(self) -> Any:
        """Return what `TeacherHead.get_classifier` returns."""
        return self.classifier.get_classifier()

    def features_and_maps(self, inputs: Tensor, depths: Sequence[float]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the projected map, and the maps at `depths` (see `features.features_and_maps`)."""
        below = [depth for depth in depths if depth < 1]
        _, (*maps, last) = features_and_maps(self.backbone, inputs, (*below, 1.0))
        size = (min(last.shape[2], self._largest[0]), min(last.shape[3], self._largest[1]))
        projected: Tensor = self.projector(last if last.shape[2:] == size else adaptive_avg_pool2d(last, size))
        rest = iter(maps)
        return projected, tuple(projected if depth == 1 else next(rest) for depth in depths)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the projected map [B, C, H, W] with the teacher's channels."""
        return self.features_and_maps(x, ())[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits [B, num_classes] for a projected map, or the embedding [B, D] with `pre_logits`."""
        outputs: Tensor = self.classifier(x, pre_logits=pre_logits)
        return outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, num_classes] for images [B, channels, H, W]."""
        return self.forward_head(self.forward_features(x))

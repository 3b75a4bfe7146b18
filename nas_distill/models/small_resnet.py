"""A ResNet for small images, registered with timm as `small_resnet`.

ImageNet's stem (7x7 convolution with stride 2, then max-pooling) reduces a 32x32 image to 8x8 before the first block.
This network follows section 4.2 of He et al. 2015 (arXiv 1512.03385): a 3x3 stem with stride 1 and without pooling,
then stages of residual blocks. Every stage except the first starts by halving the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from timm.layers import DropPath, calculate_drop_path_rates, create_classifier
from timm.models import build_model_with_cfg, register_model
from timm.models._features import feature_take_indices
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from nas_distill.models.entrypoints.registration import untrained_configs

_BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}
_WIDTHS = (16, 32, 64)


class SmallResNet(nn.Module):
    """Residual network without early downsampling. It implements timm's model interface.

    Shapes: images float [B, in_chans, H, W]; features [B, num_features, H/2^(S-1), W/2^(S-1)] rounded up, with S
    the number of stages; logits [B, num_classes].

    Args:
        widths: Channels of each stage (before the expansion by 4 of bottleneck blocks).
        depths: Number of blocks of each stage; as many numbers as `widths`.
        block: Kind of block: "basic" (two 3x3 convolutions) or "bottleneck" (1x1, 3x3, 1x1).
        stem_stride: Stride of the 3x3 stem; 2 suits images of 64 pixels and more.
        num_classes: Number of classes; 0 for a network that returns the pooled features.
        in_chans: Number of input channels.
        global_pool: timm's name of the pooling.
        drop_rate: Dropout probability before the classifier.
        drop_path_rate: Stochastic depth of the last block. It rises linearly from 0 at the first block.

    Raises:
        ValueError: `widths` and `depths` differ in length, are empty or contain a number below 1, or `block` is
            unknown.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = _WIDTHS,
        depths: Sequence[int] = (1, 1, 1),
        block: Literal["basic", "bottleneck"] = "basic",
        stem_stride: int = 1,
        num_classes: int = 10,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        _check_shape(widths, depths, block)
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.conv1 = nn.Conv2d(in_chans, widths[0], 3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.act1 = nn.ReLU(inplace=True)

        block_class = _BLOCKS[block]
        drop_paths = calculate_drop_path_rates(drop_path_rate, list(depths), stagewise=True)
        channels = [widths[0], *(width * block_class.expansion for width in widths)]
        self.stages = nn.Sequential(
            *(
                _stage(block_class, inputs, width, stride=1 if index == 0 else 2, drop_paths=drop_paths[index])
                for index, ((inputs, _), width) in enumerate(zip(pairwise(channels), widths, strict=True))
            )
        )
        self.feature_info = [
            {"num_chs": outputs, "reduction": stem_stride * 2**index, "module": f"stages.{index}"}
            for index, outputs in enumerate(channels[1:])
        ]
        self.num_features = self.head_hidden_size = channels[-1]
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)
        self.apply(_initialise)

    def get_classifier(self) -> nn.Module:
        """Return the classification layer."""
        head: nn.Module = self.fc
        return head

    def reset_classifier(self, num_classes: int, global_pool: str = "avg") -> None:
        """Replace the classification layer by a new one with `num_classes` outputs and random weights."""
        self.num_classes = num_classes
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=global_pool)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the feature map of the last stage, [B, num_features, h, w]."""
        out: Tensor = self.stages(self.act1(self.bn1(self.conv1(x))))
        return out

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        *,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the last feature map and the maps after the requested stages, as timm's models do.

        Args:
            x: Images [B, in_chans, H, W].
            indices: Indices of the stages whose maps are returned, from 0, negative from the end; a number n for the
                last n stages, None for all.
            norm: Not used: the network has no final norm.
            stop_early: Whether to skip the stages after the last requested one.
            output_fmt: Must be "NCHW".
            intermediates_only: Whether to return only the list of maps.

        Returns:
            The feature map of the last computed stage and the list of maps, or only the list.

        Raises:
            ValueError: `output_fmt` is not "NCHW".
        """
        del norm
        if output_fmt != "NCHW":
            raise ValueError(f"small_resnet: output_fmt '{output_fmt}' must be NCHW")
        taken, last = feature_take_indices(len(self.stages), indices)
        x = self.act1(self.bn1(self.conv1(x)))
        maps = []
        for index, stage in enumerate(self.stages[: last + 1] if stop_early else self.stages):
            x = stage(x)
            if index in taken:
                maps.append(x)
        return maps if intermediates_only else (x, maps)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits [B, num_classes], or pooled features [B, num_features] with `pre_logits`."""
        x = self.global_pool(x)
        if self.drop_rate > 0:
            x = nn.functional.dropout(x, p=self.drop_rate, training=self.training)
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits [B, num_classes] for images [B, in_chans, H, W]."""
        return self.forward_head(self.forward_features(x))


def _check_shape(widths: Sequence[int], depths: Sequence[int], block: str) -> None:
    sizes = f"small_resnet: widths {tuple(widths)} and depths {tuple(depths)}"
    if not widths or len(widths) != len(depths):
        raise ValueError(f"{sizes} must have the same length, at least 1")
    if min(*widths, *depths) < 1:
        raise ValueError(f"{sizes} must be 1 or more")
    if block not in _BLOCKS:
        raise ValueError(f"small_resnet: block '{block}' must be one of {', '.join(_BLOCKS)}")


def _stage(
    block_class: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    width: int,
    *,
    stride: int,
    drop_paths: Sequence[float],
) -> nn.Sequential:
    outputs = width * block_class.expansion
    blocks = []
    for index, drop_path in enumerate(drop_paths):
        first = index == 0
        shortcut = None
        if first and (stride != 1 or inputs != outputs):
            shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
        blocks.append(
            block_class(
                inputs if first else outputs,
                width,
                stride=stride if first else 1,
                downsample=shortcut,
                drop_path=DropPath(drop_path) if drop_path > 0 else None,
            )
        )
    return nn.Sequential(*blocks)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


default_cfgs = untrained_configs("conv1", "fc", ("small_resnet",))


@register_model  # type: ignore[untyped-decorator]
def small_resnet(pretrained: bool = False, **kwargs: Any) -> SmallResNet:
    """Build a `SmallResNet` from its arguments and those of every timm entrypoint."""
    stages = range(len(kwargs.get("widths", _WIDTHS)))
    model: SmallResNet = build_model_with_cfg(
        SmallResNet,
        "small_resnet",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": tuple(stages)},
        **kwargs,
    )
    return model

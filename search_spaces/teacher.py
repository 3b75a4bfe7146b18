"""The teacher's own architecture, narrower and shallower."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas_distill.records import SpaceContext, SpaceInfo, SpaceMisfitError, SpaceTrial, StudentSpec, TeacherShape

INFO = SpaceInfo(families=("teacher",), min_image_size=8, max_image_size=384, min_params=1_000, max_params=400_000_000)

_Arguments = dict[str, Any]
_Scaling = Callable[[SpaceTrial, _Arguments, float], _Arguments]

_WIDTH, _SLOPE, _HEADS = "teacher_width", "teacher_slope", "teacher_heads"

_LEAST_WIDTH = 0.1
"""Smallest factor on the teacher's widths; it leaves about a hundredth of the parameters."""

_HEADROOM = 2.0
"""How much wider a student of a limited size may be than the teacher scaled to that size: it may be shallower."""

_STAND_INS: Mapping[str, tuple[str, _Arguments]] = {
    **{
        name: ("small_efficientnet", {"version": 1, "width": width, "depth": depth})
        for name, width, depth in (
            ("efficientnet_b0", 1.0, 1.0),
            ("efficientnet_b1", 1.0, 1.1),
            ("efficientnet_b2", 1.1, 1.2),
            ("efficientnet_b3", 1.2, 1.4),
            ("efficientnet_b4", 1.4, 1.8),
        )
    },
    "tf_efficientnetv2_b0": ("small_efficientnet", {"version": 2}),
    "mobilenetv2_050": ("small_mobilenetv2", {"width": 0.5}),
    "mobilenetv2_100": ("small_mobilenetv2", {}),
    "mobilenetv2_140": ("small_mobilenetv2", {"width": 1.4}),
    "mobilenetv3_small_050": ("small_mobilenetv3", {"size": "small", "width": 0.5}),
    "mobilenetv3_small_075": ("small_mobilenetv3", {"size": "small", "width": 0.75}),
    "mobilenetv3_small_100": ("small_mobilenetv3", {"size": "small"}),
    "mobilenetv3_large_075": ("small_mobilenetv3", {"size": "large", "width": 0.75}),
    "mobilenetv3_large_100": ("small_mobilenetv3", {"size": "large"}),
    "mobilenetv4_conv_small": ("small_mobilenetv4", {"size": "small"}),
    "mobilenetv4_conv_medium": ("small_mobilenetv4", {"size": "medium"}),
    "ghostnet_050": ("small_ghostnet", {"version": 1, "width": 0.5}),
    "ghostnet_100": ("small_ghostnet", {"version": 1}),
    "ghostnetv2_100": ("small_ghostnet", {"version": 2}),
}
"""Architectures whose entrypoints fix widths and depths: the project's entrypoint for the same network."""

_RESNEXT_BASE = 64
"""Channels of a ResNeXt stage whose groups have `base_width` channels."""

_NOT_SCALED = ("img_size", "drop_rate", "drop_path_rate")
"""Arguments that the data or the recipe set."""


def space(trial: SpaceTrial, context: SpaceContext) -> StudentSpec:
    """The teacher's own architecture with 10 to 100 % of its widths and 1 block to all blocks per stage.

    Searches a factor on all widths, a slope between the widths of the first and the last stage, and the depth of each
    stage; for transformers, the number and the width of the heads and the depth. No student exceeds the teacher in any
    width or depth, so that each can start from weights that are cut from the teacher. Under a limit on parameters or
    multiply-accumulates, the range of the factor ends near that limit. The search first tries up to three students that
    scale all stages alike and start from the teacher's weights.

    Teachers: ResNet (also ResNeXt and SE), ResNetV2, RegNet, ConvNeXt, ViT and DeiT, Swin, EfficientNet, MobileNetV2
    to V4, GhostNet, and the architectures that this project registers with timm.

    Args:
        trial: Trial that suggests the parameters.
        context: The teacher and the limits of the search.

    Returns:
        Candidate of family `teacher`.

    Raises:
        SpaceMisfitError: The arguments that set the teacher's widths and depths are not known.
    """
    architecture, arguments = _scalable(context.teacher)
    scaling = _find_scaling(architecture, arguments)
    if scaling is None:
        raise SpaceMisfitError(
            f"it scales the teacher's own architecture, and the arguments that set the widths and depths of "
            f"{context.teacher.architecture} are not known; choose --space mixed or a family"
        )
    return StudentSpec(
        architecture=architecture,
        arguments={**arguments, **scaling(trial, arguments, _most_width(context))},
        family="teacher",
    )


def is_scalable(teacher: TeacherShape) -> bool:
    """Return whether this space has candidates for a teacher."""
    return _find_scaling(*_scalable(teacher)) is not None


def describe(context: SpaceContext) -> str:
    """Return what the space chose for a search, one line."""
    return f"{context.teacher.architecture} with {_LEAST_WIDTH:.0%} to {_most_width(context):.0%} of its widths"


def first_points(context: SpaceContext) -> tuple[Mapping[str, Any], ...]:
    """Return points that scale all stages of the teacher alike at its full depth, the widest first.

    From one point to the next, the number of parameters and multiply-accumulates is about halved.
    """
    architecture, arguments = _scalable(context.teacher)
    scaling = _find_scaling(architecture, arguments)
    if scaling is None:
        return ()
    most, points = _most_width(context), []
    factor = most
    while factor >= _LEAST_WIDTH:
        trial = _UniformScaling(factor / most)
        scaling(trial, arguments, most)
        if trial.params not in points:
            points.append(trial.params)
        factor /= math.sqrt(2)
    return tuple(points)


class _UniformScaling(SpaceTrial):
    """Suggests a share of the largest factor on the widths, no slope, and the largest depth.

    Args:
        share: Share of the largest factor or number of heads, 0 to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._params: dict[str, Any] = {}

    @property
    def number(self) -> int:
        return 0

    @property
    def params(self) -> dict[str, Any]:
        return self._params

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._params.setdefault(name, choices[-1])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del step, log
        value = max(low, round(self._share * high)) if name == _HEADS else high
        return int(self._params.setdefault(name, value))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        del step, log
        value = max(low, self._share * high) if name == _WIDTH else 0.0 if name == _SLOPE else high
        return float(self._params.setdefault(name, value))


def _scalable(teacher: TeacherShape) -> tuple[str, _Arguments]:
    """Return an architecture and arguments that build the teacher's network and can be scaled."""
    arguments = {name: value for name, value in teacher.arguments.items() if name not in _NOT_SCALED}
    if teacher.architecture in _STAND_INS and not arguments:
        return _STAND_INS[teacher.architecture]
    return teacher.architecture, arguments


def _most_width(context: SpaceContext) -> float:
    teacher = context.teacher
    shares = [
        limit / cost
        for limit, cost in ((context.max_params, teacher.num_params), (context.max_macs, teacher.macs))
        if limit is not None
    ]
    # Parameters and multiply-accumulates grow with the square of the width.
    return max(2 * _LEAST_WIDTH, min(1.0, _HEADROOM * math.sqrt(min(shares, default=1.0))))


def _find_scaling(architecture: str, arguments: _Arguments) -> _Scaling | None:
    """Return the function that scales an architecture; None if its arguments do not set widths and depths."""
    if architecture in _FACTORS:
        return _scale_factors
    for names, scaling in _SCALINGS:
        if all(arguments.get(name) for name in names):
            return scaling
    return None


def _suggest_width(trial: SpaceTrial, most: float) -> float:
    return trial.suggest_float(_WIDTH, _LEAST_WIDTH, most, log=True)


def _suggest_depths(trial: SpaceTrial, depths: Sequence[int]) -> tuple[int, ...]:
    return tuple(
        trial.suggest_int(f"teacher_depth_{stage}", 1, depth) if depth > 1 else depth
        for stage, depth in enumerate(depths)
    )


def _scaled(width: int, factor: float, step: int) -> int:
    """Return a width times a factor, as a multiple of `step` from `step` to the width itself."""
    return min(width, max(step, round(width * factor / step) * step))


def _least_width(arguments: _Arguments, widths: Sequence[int]) -> int:
    """Return the number of channels that all widths are multiples of."""
    if arguments.get("cardinality", 1) > 1:
        return max(8, math.ceil(_RESNEXT_BASE / int(arguments["base_width"])))  # a group has at least one channel
    return int(arguments.get("head_dim", 8 if min(widths) >= 32 else 1))


def _scale_stages(widths_name: str, depths_name: str) -> _Scaling:
    """Return the scaling of a network with one width and one depth per stage."""

    def scale(trial: SpaceTrial, arguments: _Arguments, most: float) -> _Arguments:
        widths, depths = arguments[widths_name], arguments[depths_name]
        factor = _suggest_width(trial, most)
        slope = trial.suggest_float(_SLOPE, -1.0, 1.0, step=0.5)
        step = _least_width(arguments, widths)
        last = max(1, len(widths) - 1)
        # The widest stage, relative to the teacher's, has the factor; the narrowest half of it for a slope of +-1.
        shares = [factor * 2.0 ** (slope * stage / last - max(0.0, slope)) for stage in range(len(widths))]
        return {
            widths_name: tuple(_scaled(width, share, step) for width, share in zip(widths, shares, strict=True)),
            depths_name: _suggest_depths(trial, depths),
        }

    return scale


def _scale_tokens(width_name: str, depth_name: str) -> _Scaling:
    """Return the scaling of a network with one width and one depth."""

    def scale(trial: SpaceTrial, arguments: _Arguments, most: float) -> _Arguments:
        return {
            width_name: _scaled(arguments[width_name], _suggest_width(trial, most), 8),
            depth_name: trial.suggest_int("teacher_depth", 1, arguments[depth_name], log=True),
        }

    return scale


def _suggest_heads(trial: SpaceTrial, width: int, heads: int, most: float) -> tuple[int, int]:
    """Return a number of attention heads and their common width, neither larger than the teacher's."""
    head_width = width // heads
    chosen = trial.suggest_int(_HEADS, 1, max(1, math.ceil(heads * most)))
    widths = [head_width // divisor for divisor in (4, 2, 1) if head_width // divisor >= 8]
    return chosen, int(trial.suggest_categorical("teacher_head_width", widths or [head_width]))


def _scale_vit(trial: SpaceTrial, arguments: _Arguments, most: float) -> _Arguments:
    heads, head_width = _suggest_heads(trial, arguments["embed_dim"], arguments["num_heads"], most)
    depth = trial.suggest_int("teacher_depth", 1, arguments["depth"], log=True)
    return {"embed_dim": heads * head_width, "num_heads": heads, "depth": depth}


def _scale_swin(trial: SpaceTrial, arguments: _Arguments, most: float) -> _Arguments:
    given = arguments["num_heads"]
    heads, head_width = _suggest_heads(trial, arguments["embed_dim"], given[0], most)
    return {
        "embed_dim": heads * head_width,
        "num_heads": tuple(heads * number // given[0] for number in given),
        "depths": _suggest_depths(trial, arguments["depths"]),
    }


def _scale_regnet(trial: SpaceTrial, arguments: _Arguments, most: float) -> _Arguments:
    """Scale the formula that gives the widths of a RegNet's blocks, so that all stages remain."""
    blocks, width, ratio = arguments["depth"], arguments["w0"], arguments["wm"]
    scaled = _scaled(width, _suggest_width(trial, most), 8)
    depth = trial.suggest_int("teacher_depth", min(4, blocks), blocks, log=True)
    slope = arguments["wa"] * scaled / width * (blocks - 1)
    stages = _count_stages(width, arguments["wa"], ratio, blocks)
    # A steeper slope lets fewer blocks reach the same last width, but may skip a stage.
    while depth < blocks and _count_stages(scaled, slope / (depth - 1), ratio, depth) != stages:
        depth += 1
    return {"w0": scaled, "wa": slope / max(1, depth - 1), "depth": depth}


def _count_stages(width: int, slope: float, ratio: float, depth: int) -> int:
    """Return the number of stages of a RegNet (Radosavovic et al. 2020, arXiv 2003.13678, equations 2 to 4)."""
    exponents = (round(math.log((width + slope * block) / width) / math.log(ratio)) for block in range(depth))
    return len({round(width * ratio**exponent / 8) for exponent in exponents})


def _scale_factors(trial: SpaceTrial, arguments: _Arguments, most: float) -> _Arguments:
    depth = trial.suggest_float("teacher_depth", 0.25, 1.0, step=0.25)
    return {
        "width": round(arguments.get("width", 1.0) * _suggest_width(trial, most), 3),
        "depth": arguments.get("depth", 1.0) * depth,
    }


_FACTORS = ("small_efficientnet", "small_mobilenetv2", "small_mobilenetv3", "small_mobilenetv4", "small_ghostnet")
"""Architectures whose arguments `width` and `depth` are factors."""

_SCALINGS: tuple[tuple[tuple[str, ...], _Scaling], ...] = (
    (("layers", "channels"), _scale_stages("channels", "layers")),
    (("dims", "depths"), _scale_stages("dims", "depths")),
    (("widths", "depths"), _scale_stages("widths", "depths")),
    (("embed_dim", "depth", "num_heads"), _scale_vit),
    (("embed_dim", "depths", "num_heads"), _scale_swin),
    (("embed_dim", "num_blocks"), _scale_tokens("embed_dim", "num_blocks")),
    (("depth", "w0", "wa", "wm"), _scale_regnet),
)
"""Arguments that mean width, depth and heads, and how they are scaled; the first match applies."""

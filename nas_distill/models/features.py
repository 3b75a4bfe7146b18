"""Intermediate outputs of a network: the embedding, and feature maps after some of its stages.

Everything goes through timm's interface: `forward_features` or `forward_intermediates` for the body, then
`forward_head`, each called once.

Shapes: B images; C channels of H x W positions; D features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nas_distill.errors import first_line
from nas_distill.model_outputs import ModelOutputs, OutputRequest, OutputShapes
from nas_distill.models.memory import is_out_of_memory

OutputKind = Literal["embedding", "feature map"]

LOGITS_ONLY = OutputRequest()
"""A request for the logits and nothing else."""

_TOLERANCE = 1e-3
"""Largest accepted difference, relative to the largest logit, between body + head and the whole forward pass."""

_NOISE = 1e-5
"""Largest accepted absolute difference: the logits of untrained networks can all be close to 0."""

_ROUNDING = 1e-9
"""Tolerance for decimal depths: 0.28 of 25 stages is stage 7, but 7.000000000000001 in floating point."""


class MissingOutputError(Exception):
    """A network does not provide a requested output. Callers turn this into a user error that suggests a fix.

    Attributes:
        kind: The missing output.
        reason: Why it is missing, as one line that follows "it provides no ...: ".
    """

    def __init__(self, kind: OutputKind, reason: str) -> None:
        super().__init__(f"it provides no {kind}: {reason}")
        self.kind: OutputKind = kind
        self.reason = reason


def network_outputs(network: nn.Module, inputs: Tensor, request: OutputRequest) -> ModelOutputs:
    """Return the logits and the requested outputs of one forward pass, with gradients.

    The embedding is the input of the classification layer (timm's `pre_logits`), after dropout, so that this layer
    maps the embedding to exactly these logits. For networks with several classifiers, or with a classifier that pools,
    the embedding comes from a second pass of the head, with another random draw of its dropout.

    Depth 1 is the map that the classifier pools. For transformers it consists of the last image tokens, without class
    tokens. Where no image tokens are left (class attention), it is the map after the last stage. Depth d < 1 of S
    stages is the map after stage ceil(d S), as `forward_intermediates` counts stages; in many networks the stem is the
    first. The network's last norm is not applied to it.

    Args:
        network: timm classifier.
        inputs: Network inputs, float [B, channels, H, W].
        request: Outputs that are needed besides the logits.

    Raises:
        MissingOutputError: The network does not implement timm's interface, or has no such map.
    """
    if not request.more_than_logits:
        return ModelOutputs(network(inputs))
    features, maps = features_and_maps(network, inputs, request.depths)
    head = _method(network, "forward_head", "feature map" if request.depths else "embedding")
    if not request.embedding:
        return ModelOutputs(head(features), None, maps)
    logits, embedding = _logits_and_embedding(network, head, features)
    return ModelOutputs(logits, embedding, maps)


def features_and_maps(network: nn.Module, inputs: Tensor, depths: Sequence[float]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the input of `forward_head`, and the feature maps [B, C, H, W] at `depths`, of one pass.

    A network composed of others can define a method of this name, which is called instead.

    Args:
        network: timm classifier.
        inputs: Network inputs, float [B, channels, H, W].
        depths: Depths of the feature maps, see `network_outputs`.

    Raises:
        MissingOutputError: See `network_outputs`.
    """
    own = getattr(network, "features_and_maps", None)
    if own is not None:
        composed: tuple[Tensor, tuple[Tensor, ...]] = own(inputs, depths)
        return composed
    if not depths:
        return _method(network, "forward_features", "embedding")(inputs), ()
    walk = getattr(network, "forward_intermediates", None)
    if not callable(walk):
        return _pooled_map_alone(network, inputs, depths)
    # Without timm's description of the stages, all maps are taken and counted.
    stages = len(getattr(network, "feature_info", None) or ())
    taken = sorted({_stage(depth, stages) for depth in depths}) if stages else None
    features, found = walk(inputs, indices=taken, output_fmt="NCHW")
    after = dict(zip(taken or range(len(found)), found, strict=True))
    stages = stages or len(found)
    maps = (
        _pooled_map(network, features, after[stages - 1]) if depth == 1 else after[_stage(depth, stages)]
        for depth in depths
    )
    return features, tuple(maps)


def output_shapes(network: nn.Module, inputs: Tensor, request: OutputRequest) -> OutputShapes:
    """Return the shapes of a network's outputs for one image. The network and the random state do not change.

    Args:
        network: timm classifier on any device, also "meta".
        inputs: Network inputs, float [B, channels, H, W], on its device.
        request: Outputs that are needed besides the logits.

    Raises:
        MissingOutputError: The network has no such outputs, or computing them fails.
    """
    with eval_without_side_effects(network, inputs.device):
        return _shapes(_checked_outputs(network, inputs, request), len(inputs))


def check_outputs(network: nn.Module, inputs: Tensor, request: OutputRequest) -> OutputShapes:
    """Return `output_shapes` after checking that the logits equal those of the network's own forward pass.

    On the meta device, which has no values, only the shapes of the logits are compared.

    Raises:
        MissingOutputError: The logits differ, the network has no such outputs, or computing them fails.
    """
    with eval_without_side_effects(network, inputs.device):
        expected: Tensor = network(inputs)
        outputs = _checked_outputs(network, inputs, request)
    if not logits_agree(outputs.logits, expected):
        kind: OutputKind = "feature map" if request.depths else "embedding"
        raise MissingOutputError(kind, f"the logits computed from its {kind} differ from those of its forward pass")
    return _shapes(outputs, len(inputs))


def _pooled_map_alone(network: nn.Module, inputs: Tensor, depths: Sequence[float]) -> tuple[Tensor, tuple[Tensor, ...]]:
    if min(depths) < 1:
        raise MissingOutputError("feature map", f"it has no forward_intermediates for depth {min(depths):g}")
    features = _method(network, "forward_features", "feature map")(inputs)
    feature_map = _as_map(network, features)
    if feature_map is None:
        reason = "it has no forward_intermediates, and forward_features does not return a map"
        raise MissingOutputError("feature map", reason)
    return features, (feature_map,) * len(depths)


def _stage(depth: float, stages: int) -> int:
    return max(1, math.ceil(depth * stages - _ROUNDING)) - 1


def _pooled_map(network: nn.Module, features: Any, last: Tensor) -> Tensor:
    """Return the map that the classifier pools, [B, C, H, W], or the map of the last stage if it pools none."""
    feature_map = _as_map(network, features)
    if feature_map is not None:
        return feature_map
    height, width = last.shape[2:]
    if isinstance(features, Tensor) and features.ndim == 3 and features.shape[1] >= height * width:
        # Class and register tokens come first.
        tokens = features[:, features.shape[1] - height * width :]
        return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
    return last


def _as_map(network: nn.Module, features: Any) -> Tensor | None:
    if not isinstance(features, Tensor) or features.ndim != 4:
        return None
    return features.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else features


def _logits_and_embedding(network: nn.Module, head: Any, features: Any) -> tuple[Tensor, Tensor]:
    seen: list[Tensor] = []
    classifier = getattr(network, "get_classifier", lambda: None)()
    if not isinstance(classifier, nn.Module):
        return head(features), head(features, pre_logits=True)
    # A second pass with pre_logits would draw dropout again and update the norms of the head twice.
    handle = classifier.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        logits: Tensor = head(features)
    finally:
        handle.remove()
    if len(seen) == 1 and seen[0].shape[2:].numel() == 1:
        return logits, seen[0].flatten(1)
    return logits, head(features, pre_logits=True)


def _method(network: nn.Module, name: str, kind: OutputKind) -> Any:
    found = getattr(network, name, None)
    if not callable(found):
        raise MissingOutputError(kind, "it has no forward_features and forward_head")
    return found


def _checked_outputs(network: nn.Module, inputs: Tensor, request: OutputRequest) -> ModelOutputs:
    try:
        return network_outputs(network, inputs, request)
    except MissingOutputError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kind: OutputKind = "feature map" if request.depths else "embedding"
        raise MissingOutputError(kind, f"computing its {kind} fails ({first_line(error)})") from error


def _shapes(outputs: ModelOutputs, images: int) -> OutputShapes:
    embedding = outputs.embedding
    if embedding is not None and (embedding.ndim != 2 or len(embedding) != images):
        raise MissingOutputError(
            "embedding", f"its embedding has shape {tuple(embedding.shape)}, not one vector per image"
        )
    for feature_map in outputs.maps:
        if feature_map.ndim != 4 or len(feature_map) != images:
            raise MissingOutputError(
                "feature map", f"its feature map has shape {tuple(feature_map.shape)}, not one per image"
            )
    return OutputShapes(
        None if embedding is None else tuple(embedding.shape[1:]),
        tuple(tuple(feature_map.shape[1:]) for feature_map in outputs.maps),
    )


def logits_agree(found: Tensor, expected: Tensor) -> bool:
    """Return whether two logits [B, num_classes] agree up to rounding; on the meta device, whether their shapes do."""
    if found.shape != expected.shape:
        return False
    if expected.is_meta:
        return True
    difference = (found.float() - expected.float()).abs().max().item()
    return difference <= _TOLERANCE * expected.abs().max().item() + _NOISE


@contextmanager
def eval_without_side_effects(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Switch a network to eval mode without autograd for a while, and restore its mode and the random state."""
    training = [module for module in network.modules() if module.training]
    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            network.eval()
            yield
    finally:
        for module in training:
            module.training = True

"""What a network says on the way to its logits: the embedding, and feature maps after some of its stages.

timm's interface is spoken throughout: `forward_features` or `forward_intermediates` for the body, `forward_head` for
the rest, once each.

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
"""Nothing else."""

_TOLERANCE = 1e-3
"""Largest difference, relative to the largest logit, between a forward pass in two halves and one in whole."""

_NOISE = 1e-5
"""Largest difference where all logits are close to 0, as those of fresh networks can be."""

_ROUNDING = 1e-9
"""Depths are decimal: 0.28 of 25 stages are 7, and 7.000000000000001 in binary."""


class MissingOutputError(Exception):
    """A network has no such signal; who asks turns it into an error of its own, with a way out.

    Attributes:
        kind: What it lacks.
        reason: Completes "it gives none: ", one line.
    """

    def __init__(self, kind: OutputKind, reason: str) -> None:
        super().__init__(f"it gives no {kind}: {reason}")
        self.kind: OutputKind = kind
        self.reason = reason


def network_outputs(network: nn.Module, inputs: Tensor, request: OutputRequest) -> ModelOutputs:
    """Return a classifier's logits and what else is request, of one forward pass, with gradients.

    The embedding is what the classifier is given (timm's `pre_logits`), dropout included, so that classifier and
    embedding give these very logits. Networks with several classifiers, or whose classifier pools by itself, are asked
    for it in a second pass of their head, whose dropout is another draw.

    Depth 1 is the map that the classifier pools: of networks with tokens, the last tokens of the image without those
    of the class; where even those are gone (class attention), the map after the last stage. Depth d of S stages below
    that is the map after stage ceil(d S), as `forward_intermediates` counts them; in many networks the stem is the
    first. It is taken without the network's last norm.

    Args:
        network: A timm classifier.
        inputs: float [B, channels, H, W].
        request: Which signals.

    Raises:
        MissingOutputError: The network does not speak timm's interface, or has no such map.
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
    """Return what `forward_head` takes, and the feature maps [B, C, H, W] at `depths`, of one pass.

    A network made of others can have a method of this name, which then answers.

    Args:
        network: A timm classifier.
        inputs: float [B, channels, H, W].
        depths: See `network_signals`.

    Raises:
        MissingOutputError: See there.
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
    # Where timm does not describe the stages, all are taken and counted.
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
    """Return the shapes of a network's signals for one image; training mode, statistics and chance stay as they are.

    Args:
        network: A timm classifier, on any device, "meta" included.
        inputs: float [B, channels, H, W] on its device.
        request: Which signals.

    Raises:
        MissingOutputError: The network has no such signals, or asking for them fails.
    """
    with eval_without_side_effects(network, inputs.device):
        return _shapes(_tried_outputs(network, inputs, request), len(inputs))


def check_outputs(network: nn.Module, inputs: Tensor, request: OutputRequest) -> OutputShapes:
    """Return `signal_shapes` after checking that the signals lead to the logits of the network's own forward pass.

    On the meta device, where there are no numbers, the logits' shape is compared.

    Raises:
        MissingOutputError: They do not, the network has no such signals, or asking for them fails.
    """
    with eval_without_side_effects(network, inputs.device):
        expected: Tensor = network(inputs)
        outputs = _tried_outputs(network, inputs, request)
    if not logits_agree(outputs.logits, expected):
        kind: OutputKind = "feature map" if request.depths else "embedding"
        raise MissingOutputError(kind, f"the logits that follow from its {kind} are not those of its forward pass")
    return _shapes(outputs, len(inputs))


def _pooled_map_alone(network: nn.Module, inputs: Tensor, depths: Sequence[float]) -> tuple[Tensor, tuple[Tensor, ...]]:
    if min(depths) < 1:
        raise MissingOutputError("feature map", f"it has no forward_intermediates for depth {min(depths):g}")
    features = _method(network, "forward_features", "feature map")(inputs)
    feature_map = _as_map(network, features)
    if feature_map is None:
        raise MissingOutputError("feature map", "it has no forward_intermediates, and forward_features ends in no map")
    return features, (feature_map,) * len(depths)


def _stage(depth: float, stages: int) -> int:
    return max(1, math.ceil(depth * stages - _ROUNDING)) - 1


def _pooled_map(network: nn.Module, features: Any, last: Tensor) -> Tensor:
    """Return the map that the classifier pools, [B, C, H, W], or where it pools none, the last stage's."""
    feature_map = _as_map(network, features)
    if feature_map is not None:
        return feature_map
    height, width = last.shape[2:]
    if isinstance(features, Tensor) and features.ndim == 3 and features.shape[1] >= height * width:
        # Tokens of the class and registers come first.
        tokens = features[:, features.shape[1] - height * width :]
        return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
    return last


def _as_map(network: nn.Module, features: Any) -> Tensor | None:
    if not isinstance(features, Tensor) or features.ndim != 4:
        return None
    return features.permute(0, 3, 1, 2) if getattr(network, "output_fmt", "NCHW") == "NHWC" else features


def _logits_and_embedding(network: nn.Module, head: Any, features: Any) -> tuple[Tensor, Tensor]:
    given: list[Tensor] = []
    classifier = getattr(network, "get_classifier", lambda: None)()
    if not isinstance(classifier, nn.Module):
        return head(features), head(features, pre_logits=True)
    # One pass: asked for pre_logits again, heads would draw dropout anew and update their norms twice.
    handle = classifier.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    try:
        logits: Tensor = head(features)
    finally:
        handle.remove()
    if len(given) == 1 and given[0].shape[2:].numel() == 1:
        return logits, given[0].flatten(1)
    return logits, head(features, pre_logits=True)


def _method(network: nn.Module, name: str, kind: OutputKind) -> Any:
    found = getattr(network, name, None)
    if not callable(found):
        raise MissingOutputError(kind, "it has no forward_features and forward_head")
    return found


def _tried_outputs(network: nn.Module, inputs: Tensor, request: OutputRequest) -> ModelOutputs:
    try:
        return network_outputs(network, inputs, request)
    except MissingOutputError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        kind: OutputKind = "feature map" if request.depths else "embedding"
        raise MissingOutputError(kind, f"asking for its {kind} fails ({first_line(error)})") from error


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
    """Return whether two ways to the logits [B, num_classes] agree but for rounding; on the meta device, in shape."""
    if found.shape != expected.shape:
        return False
    if expected.is_meta:
        return True
    difference = (found.float() - expected.float()).abs().max().item()
    return difference <= _TOLERANCE * expected.abs().max().item() + _NOISE


@contextmanager
def eval_without_side_effects(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Put the network into eval mode for a while, without autograd, and unreleased chance as it is."""
    training = [module for module in network.modules() if module.training]
    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda), torch.no_grad():
            network.eval()
            yield
    finally:
        for module in training:
            module.training = True

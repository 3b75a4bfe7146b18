"""Split a classifier into body and head, each without the weights of the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator

from torch import Tensor, nn

from nas_distill.models.features import eval_without_side_effects, features_and_maps


def copy_body(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy of a network without the modules that only `forward_head` uses.

    Args:
        network: timm classifier.
        inputs: Network inputs, float [B, channels, H, W], on its device. One forward pass shows which modules are used.

    Raises:
        MissingOutputError: The network does not implement timm's interface, or has no feature map.
    """
    body, head = _halves(network, inputs)
    dropped = _outermost(network, lambda child: child in head and body.isdisjoint(child.modules()))
    return _copy_without(network, dropped)


def copy_head(network: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a copy of a network with only the modules that `forward_head` uses. Only `forward_head` works on it.

    Tensors that belong to the network itself and not to one of these modules (class tokens, positions) are removed.

    Args:
        network: timm classifier.
        inputs: Network inputs, float [B, channels, H, W], on its device. One forward pass shows which modules are used.

    Raises:
        MissingOutputError: The network does not implement timm's interface, or has no feature map.
    """
    _, head = _halves(network, inputs)
    kept = {module for called in head for module in called.modules()}
    found = _copy_without(network, _outermost(network, lambda child: kept.isdisjoint(child.modules())))
    for name, module in network.named_modules():
        if module not in kept and (module is network or not kept.isdisjoint(module.modules())):
            _drop_own_tensors(found.get_submodule(name))
    return found


def _halves(network: nn.Module, inputs: Tensor) -> tuple[set[nn.Module], set[nn.Module]]:
    """Return the modules that compute the features, and those that `forward_head` calls."""
    features: list[Tensor] = []
    with eval_without_side_effects(network, inputs.device):
        body = _called(network, lambda: features.append(features_and_maps(network, inputs, (1.0,))[0]))
        head = _called(network, lambda: network.forward_head(features[0]))  # type: ignore[operator]
    return body, head


def _called(network: nn.Module, run: Callable[[], object]) -> set[nn.Module]:
    called: set[nn.Module] = set()
    handles = [module.register_forward_pre_hook(lambda module, _: called.add(module)) for module in network.modules()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return called


def _outermost(module: nn.Module, matches: Callable[[nn.Module], bool]) -> Iterator[nn.Module]:
    for child in module.children():
        if matches(child):
            yield child
        else:
            yield from _outermost(child, matches)


def _copy_without(network: nn.Module, dropped: Iterable[nn.Module]) -> nn.Module:
    """Return a copy in which `nn.Identity` replaces the `dropped` modules, which are never copied."""
    return copy.deepcopy(network, {id(module): nn.Identity() for module in dropped})


def _drop_own_tensors(module: nn.Module) -> None:
    for name, _ in list(module.named_parameters(recurse=False)):
        module.register_parameter(name, None)
    for name, _ in list(module.named_buffers(recurse=False)):
        module.register_buffer(name, None)

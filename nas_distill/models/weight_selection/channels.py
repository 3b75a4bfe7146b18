"""Choose channels by what they contribute, alike in all tensors that hold the same channels.

Which axes of which tensors hold the same channels is found by torch-pruning's dependency graph (Fang et al. 2023,
DepGraph, arXiv 2301.12900). Its pruning itself changes a network in place, and cannot fill another one.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from nas_distill.models.weight_selection.images import CutImages
from nas_distill.models.weight_selection.options import Channels
from nas_distill.models.weight_selection.plan import TensorCut

Axis = tuple[str, int]
"""Name of a tensor of the teacher, and number of the axis."""


def choose_channels(
    cuts: Iterable[TensorCut], teacher: nn.Module, images: CutImages, how: Channels
) -> dict[Axis, Tensor]:
    """Return the channels to keep along axes of the teacher's tensors; other axes keep evenly spread ones.

    Attention heads and the channels of grouped convolutions stay evenly spread.

    Args:
        cuts: Tensors to cut.
        teacher: Network of the teacher, in eval mode.
        images: Images.
        how: "norm" for the largest L2 norm of all weights that write or read the channel; "spanning" for the channels
            from which the others can be reconstructed best: pivoted Cholesky factorisation of the second moments.
    """
    by_axis = {(cut.partner, axis): chosen for cut in cuts for axis, chosen in cut.axes.items()}
    whole = {(cut.partner, axis) for cut in cuts for axis in range(len(cut.student.shape))}
    found: dict[Axis, Tensor] = {}
    groups = [group & whole for group in coupled_axes(teacher, images.teacher[:1])]
    moments = images.moments(teacher) if how == "spanning" else {}
    state = teacher.state_dict()
    for group in groups:
        sizes = {(by_axis[axis].student, by_axis[axis].teacher) if axis in by_axis else None for axis in group}
        size = sizes.pop() if len(sizes) == 1 else None
        if size is None or len(size[0]) > 1:
            continue
        kept = _norms(state, group).topk(size[0][0]).indices
        inner = [moments[name.removesuffix(".weight")] for name, axis in sorted(group)
                 if axis == 1 and name.removesuffix(".weight") in moments]  # fmt: skip
        if inner:
            kept = spanning_channels(sum((m / m.trace() for m in inner), torch.zeros_like(inner[0])), size[0][0])
        found |= dict.fromkeys(group, kept.sort().values.cpu())
    return found


def _norms(state: Mapping[str, Tensor], group: Iterable[Axis]) -> Tensor:
    squares = [
        state[name].float().square().transpose(0, axis).flatten(1).sum(1)
        for name, axis in sorted(group)
        if name.endswith(".weight") and state[name].ndim > 1
    ]
    return sum((square / square.mean() for square in squares), torch.zeros_like(squares[0]))


def spanning_channels(moment: Tensor, count: int) -> Tensor:
    """Return the channels that span the others best, chosen one by one for the largest remaining moment.

    Args:
        moment: Second moments, float [T, T].
        count: Number of channels, at most T.
    """
    rest = moment.double().clone()
    chosen: list[int] = []
    for _ in range(count):
        diagonal = rest.diagonal().clone()
        diagonal[chosen] = -1.0
        pivot = int(diagonal.argmax())
        chosen.append(pivot)
        if rest[pivot, pivot] > 1e-12:
            rest -= torch.outer(rest[:, pivot], rest[pivot]) / rest[pivot, pivot]
    return torch.tensor(chosen, device=moment.device)


def coupled_axes(network: nn.Module, example: Tensor) -> list[set[Axis]]:
    """Return sets of axes that hold the same channels in the same order."""
    import torch_pruning

    names = {id(module): name for name, module in network.named_modules()}
    tensors = set(network.state_dict())
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        flags = {parameter: parameter.requires_grad for parameter in network.parameters()}
        network.requires_grad_(True)
        graph = torch_pruning.DependencyGraph().build_dependency(network, example)
        groups = list(graph.get_all_groups())
        for parameter, flag in flags.items():
            parameter.requires_grad_(flag)
    own = {id(parameter): name for name, parameter in network.named_parameters()}
    found = []
    for group in groups:
        if len({len(indices) for _, indices in group}) > 1:
            continue
        axes: set[Axis] = set()
        for dependency, _ in group:
            module = dependency.target.module
            if isinstance(module, nn.Parameter):
                axes.add((own[id(module)], module.ndim - 1))
                continue
            name = names.get(id(module))
            if name is None:
                continue
            inwards = "in_channels" in dependency.handler.__name__ and isinstance(module, nn.Conv2d | nn.Linear)
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            if inwards and not depthwise:
                axes.add((f"{name}.weight", 1))
            else:
                every = ("weight", "bias", "running_mean", "running_var", "gamma")
                axes |= {(f"{name}.{key}", 0) for key in every if f"{name}.{key}" in tensors}
        found.append(axes)
    return found

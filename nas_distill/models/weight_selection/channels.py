"""Choose the most important channels, with the same choice in all tensors that share them.

torch-pruning's dependency graph finds the axes that share channels (Fang et al. 2023, DepGraph, arXiv 2301.12900). Its
pruning is not used: it changes a network in place and cannot initialise another network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from nas_distill.models.weight_selection.plan import TensorCut

Axis = tuple[str, int]
"""Name of a tensor of the teacher, and number of the axis."""


def choose_channels(cuts: Iterable[TensorCut], teacher: nn.Module, example: Tensor) -> dict[Axis, Tensor]:
    """Return the channels with the largest L2 norm of all weights that write or read them, for axes of the teacher.

    Attention heads and the channels of grouped convolutions stay evenly spread; their axes are not among them.

    Args:
        cuts: Tensors to cut.
        teacher: Network of the teacher, in eval mode.
        example: Inputs of the teacher, float [N, C, H, W].
    """
    cuts = tuple(cuts)
    by_axis = {(cut.partner, axis): sizes for cut in cuts for axis, sizes in cut.axes.items()}
    whole = {(cut.partner, axis) for cut in cuts for axis in range(len(cut.student.shape))}
    found: dict[Axis, Tensor] = {}
    state = teacher.state_dict()
    for group in (axes & whole for axes in coupled_axes(teacher, example)):
        sizes = {(by_axis[axis].student, by_axis[axis].teacher) if axis in by_axis else None for axis in group}
        size = sizes.pop() if len(sizes) == 1 else None
        if size is not None and len(size[0]) == 1:
            kept = _norms(state, group).topk(size[0][0]).indices
            found |= dict.fromkeys(group, kept.sort().values.cpu())
    return found


def _norms(state: Mapping[str, Tensor], group: Iterable[Axis]) -> Tensor:
    squares = [
        state[name].float().square().transpose(0, axis).flatten(1).sum(1)
        for name, axis in sorted(group)
        if name.endswith(".weight") and state[name].ndim > 1
    ]
    return sum((square / square.mean() for square in squares), torch.zeros_like(squares[0]))


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

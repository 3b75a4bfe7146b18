"""Read `reference.json`: values of the original authors' code, and its inputs.

Inputs and weights are formulas of indices, so that the file holds no tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

TABLE: dict[str, Any] = json.loads(Path(__file__).with_name("reference.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Record:
    """One value of one original implementation. Texts such as 'nan' stand for what it returned."""

    variant: str
    input: str
    hyper: dict[str, Any]
    value: float | str
    grad_l2: float | str | None = None
    grad_dot: float | str | None = None
    tau: float | None = None
    grad_theta: float | None = None

    @property
    def family(self) -> str:
        return self.variant.partition(".")[0]

    @property
    def is_edge(self) -> bool:
        return self.input.startswith("EDGE")

    def __str__(self) -> str:
        hyper = ",".join(f"{name}={value}" for name, value in self.hyper.items())
        return f"{self.variant}-{self.input}-{hyper}"


RECORDS = tuple(Record(**record) for record in TABLE["records"])


def tensor(expression: str, shape: list[int], axes: str) -> Tensor:
    """Return a float64 tensor; `axes` names its indices, such as "ij"."""
    names: dict[str, Any] = {"sin": torch.sin, "cos": torch.cos}
    grids = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in shape), indexing="ij")
    names.update(zip(axes, grids, strict=True))
    return torch.as_tensor(eval(expression, names), dtype=torch.float64).expand(shape).clone()


def pair(name: str) -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's tensor of an input, float64."""
    described = TABLE["inputs"][name]
    axes = {"logits": "ij", "embed": "id", "feature": "bchw"}[described["kind"]]
    student, teacher = (
        tensor(described[whose], described.get(f"{whose}_shape", described.get("shape")), axes)
        for whose in ("student", "teacher")
    )
    return student, teacher


def labels(name: str) -> Tensor:
    """Return the labels of an input of logits, int64 [B]."""
    images, classes = TABLE["inputs"][name]["shape"]
    names = {"i": torch.arange(images), "C": classes}
    target: Tensor = eval(TABLE["inputs"][name]["target"], names)
    return target


def stages(name: str) -> list[str]:
    """Return the names of the inputs that an input of several stages consists of, or the name itself."""
    described = TABLE["inputs"][name]
    return described["of"] if described["kind"] == "stages" else [name]


def fill(module: nn.Module, *, skip: tuple[str, ...] = ()) -> None:
    """Set the weights of a module to those of the original, in float64, except those in `skip`."""
    module.double()
    for position, (name, parameter) in enumerate(module.named_parameters()):
        if name in skip:
            continue
        index = torch.arange(parameter.numel(), dtype=torch.float64)
        if parameter.dim() > 1:
            values = 0.3 * torch.sin(0.7 * index + 1.3 * position + 0.4)
        elif name.endswith("bias"):
            values = 0.1 * torch.cos(0.9 * index + position)
        else:
            values = 1 + 0.2 * torch.sin(0.5 * index + position)
        with torch.no_grad():
            parameter.copy_(values.reshape(parameter.shape))


def close(ours: float, theirs: float, relative: float = 1e-9) -> bool:
    return abs(ours - theirs) <= 1e-13 + relative * abs(theirs)


def projections(gradient: Tensor) -> tuple[float, float]:
    """Return the two numbers that records hold of a gradient: its norm, and its product with cos(n / 2)."""
    flat = gradient.flatten()
    dot = (flat * torch.cos(0.5 * torch.arange(flat.numel(), dtype=torch.float64))).sum().item()
    return flat.norm().item(), dot


def logits(name: str) -> tuple[Tensor, Tensor]:
    """Return the student's and the teacher's logits of an input, float64 [B, C]."""
    return pair(name)


def _fidelity() -> list[dict[str, Any]]:
    divergences = {r.input: r.value for r in RECORDS if r.variant == "kd.gnosis_kl" and r.hyper == {"T": 1}}
    return [
        {"input": r.input, "agreement": r.value, "divergence_nats": divergences[r.input]}
        for r in RECORDS
        if r.variant == "fidelity.agreement"
    ]


REFERENCE = {"fidelity": _fidelity()}
"""Values for the tests of metrics: agreement, and the mean KL at temperature 1."""

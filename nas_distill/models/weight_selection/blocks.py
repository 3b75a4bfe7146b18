"""Find stages and blocks in the names of a network's tensors, and the teacher's block for each student block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas_distill.models.weight_selection.options import Layers

_NUMBERED = re.compile(r"(b?)(\d+)")
"""A name of a stage or block in timm's networks: "3", or "b3" in RegNet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Place of a tensor in a network.

    Attributes:
        stage: Prefix of the names of all blocks of the stage, such as "stages.1.blocks.".
        number: Number of the block in these names.
        rest: Name of the tensor within the block.
    """

    stage: str
    number: int
    rest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Blocks of a network.

    Attributes:
        places: Places of those tensors that are in a block, by name.
        numbers: Numbers of the blocks of each stage, ascending.
        tail: Names of the tensors after the last block: final norm and classifier.
    """

    places: Mapping[str, Block]
    numbers: Mapping[str, tuple[int, ...]]
    tail: frozenset[str]


def find_blocks(names: Iterable[str]) -> Blocks:
    """Return the blocks of a network.

    A block is a numbered module with modules in it. In a network whose numbered modules are nested, the outer ones are
    stages; further levels below them are parts of a block.

    Args:
        names: Names of all tensors, in the order of `state_dict`.
    """
    ordered = tuple(names)
    candidates = {name: _numbered(name) for name in ordered}
    inner = {places[1].stage for places in candidates.values() if len(places) == 2}
    places: dict[str, Block] = {}
    for name, found in candidates.items():
        last = found[-1] if found else None
        # "stages." is not a stage if "stages.1.blocks." is one.
        if last is not None and not any(other != last.stage and other.startswith(last.stage) for other in inner):
            places[name] = last
    numbers: dict[str, set[int]] = {}
    for place in places.values():
        numbers.setdefault(place.stage, set()).add(place.number)
    last_in_block = max((index for index, name in enumerate(ordered) if name in places), default=len(ordered))
    return Blocks(
        places=places,
        numbers={stage: tuple(sorted(found)) for stage, found in numbers.items()},
        tail=frozenset(ordered[last_in_block + 1 :]),
    )


def _numbered(name: str) -> list[Block]:
    """Return the at most two outermost numbered modules of a tensor's name that have modules in them."""
    parts = name.split(".")
    found = []
    for index, part in enumerate(parts[:-2]):
        match = _NUMBERED.fullmatch(part)
        if match is not None:
            stage = "".join(f"{parent}." for parent in parts[:index]) + match[1]
            found.append(Block(stage=stage, number=int(match[2]), rest=".".join(parts[index + 1 :])))
    return found[:2]


def partner_names(student: Blocks, teacher: Blocks, names: Iterable[str], layers: Layers) -> dict[str, str]:
    """Return the name of the teacher's tensor for each tensor of the student, whether the teacher has it or not.

    Args:
        student: Blocks of the student; no stage has more blocks than the teacher's.
        teacher: Blocks of the teacher.
        names: Names of all tensors of the student.
        layers: Which blocks of a longer stage are taken.
    """
    numbers = {
        stage: dict(zip(own, _taken(own, teacher.numbers[stage], layers), strict=True))
        for stage, own in student.numbers.items()
    }
    partners = {}
    for name in names:
        place = student.places.get(name)
        partners[name] = name if place is None else f"{place.stage}{numbers[place.stage][place.number]}.{place.rest}"
    return partners


def _taken(own: tuple[int, ...], theirs: tuple[int, ...], layers: Layers) -> tuple[int, ...]:
    if layers == "first" or len(own) == 1:
        return theirs[: len(own)]
    step = (len(theirs) - 1) / (len(own) - 1)
    return tuple(theirs[round(index * step)] for index in range(len(own)))

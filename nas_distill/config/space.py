"""The search space and the bounds on its candidates."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveFloat, field_validator

from nas_distill.errors import nearest_names
from nas_distill.records.base import Record
from nas_distill.records.student import FROM_TEACHER, PRETRAINED, RANDOM

FIXED_RECIPE = "fixed"
"""`space.recipe`: every candidate is distilled with the `recipe` section."""

SEARCHED_RECIPE = "search"
"""`space.recipe`: recipes are searched, in the shipped recipe space."""

DIGITS_SPACE, PHOTO_SPACE = "tiny", "auto"
"""Default search spaces: for the digits that ship with scikit-learn, and for all other images."""

_STUDENT_OF_RUN = re.compile(r"run:.+/\d+")
PERMISSIVE = ("apache-2.0", "mit", "bsd-3-clause")
"""Licences of weights that are accepted by default."""

_SHARE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")


def parse_share(text: str) -> float | None:
    """Return the share, above 0 and at most 1, in a text such as "10%"; None if the text is not a percentage.

    Raises:
        ValueError: The percentage is out of range.
    """
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        return None
    share = float(match[1]) / 100.0
    if not 0.0 < share <= 1.0:
        raise ValueError("must be a share above 0 % and at most 100 % of the teacher's, such as 10%")
    return share


def _check_bound(value: Any) -> Any:
    if isinstance(value, str):
        if parse_share(value) is not None:
            return value.strip()
        if not value.strip().isdecimal():
            raise ValueError("must be a whole number, or a share of the teacher's such as 10%")
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and value > 0:
        return value
    raise ValueError("must be a whole number above 0, or a share of the teacher's such as 10%")


CostBound = Annotated[int | str, BeforeValidator(_check_bound)]
"""An upper bound on a cost: a number, or a share of the teacher's as text, such as "10%"."""


class SpaceConfig(Record):
    """The search space and its constraints. Candidates that break a constraint are rejected before training.

    Attributes:
        name: A shipped search space (`nas_distill spaces list`), or your own as `FILE.py[:function]`. Default: `tiny`
            for `digits`, `auto` for all other data.
        recipe: "fixed" distils every candidate with the `recipe` section; "search" searches losses, their parameters
            and regularisation together with the architecture; `FILE.py[:function]` is your own recipe space.
        initial_points: Candidates to try first: a YAML or JSON file with a list of parameter mappings, or the directory
            of another run, whose Pareto front is taken.
        max_params: Largest number of parameters: a number, or a share of the teacher's, such as "10%".
        max_macs: Largest number of multiply-accumulates per image: a number, or a share of the teacher's at the size of
            the images.
        max_size_bytes: Largest size of parameters and buffers: bytes, or a share of the teacher's.
        max_peak_memory_bytes: Largest memory of a forward pass of one image (`Cost.peak_memory_bytes`): bytes, or a
            share of the teacher's.
        max_latency_ms: Longest latency of one image on the target (section `target`), milliseconds.
        min_throughput_per_s: Lowest throughput on the target in batches of `target.batch_size`, images per second.
        allow_larger_than_teacher: Accept candidates with as many parameters as the teacher, or with more
            multiply-accumulates than it.
        initial_weights: Weights that students may start from. The sampler chooses among those that fit the candidate,
            unless the space fixes them: "random"; "teacher", cut from the teacher; "pretrained", timm's weights of an
            unmodified architecture; `run:RUN/TRIAL`, the weights of a student of another run.
        pretrained_root: Folder with timm's weight files, for machines without internet access. Default: the local cache
            and the Hugging Face hub.
        licences: Accepted licences of the pretrained weights in the space `pretrained`, as timm names them.
    """

    name: Annotated[str, Field(min_length=1)] | None = None
    recipe: Annotated[str, Field(min_length=1)] = FIXED_RECIPE
    initial_points: str | None = None
    max_params: CostBound | None = None
    max_macs: CostBound | None = None
    max_size_bytes: CostBound | None = None
    max_peak_memory_bytes: CostBound | None = None
    max_latency_ms: PositiveFloat | None = None
    min_throughput_per_s: PositiveFloat | None = None
    allow_larger_than_teacher: bool = False
    initial_weights: Annotated[tuple[str, ...], Field(min_length=1, examples=[(RANDOM, FROM_TEACHER)])] = (
        RANDOM,
        FROM_TEACHER,
    )
    pretrained_root: str | None = None
    licences: Annotated[tuple[str, ...], Field(min_length=1, examples=[PERMISSIVE])] = PERMISSIVE

    @field_validator("initial_weights")
    @classmethod
    def _known_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = (RANDOM, FROM_TEACHER, PRETRAINED)
        for one in value:
            if one not in named and not _STUDENT_OF_RUN.fullmatch(one):
                raise ValueError(
                    f"'{one}' is not a kind of initial weights; {nearest_names(one, named)}; name a student of another "
                    "run as run:RUN/TRIAL"
                )
            if value.count(one) > 1:
                raise ValueError(f"'{one}' is listed twice; list each once")
        return value

    @property
    def resolved_name(self) -> str:
        """Name of the space in a search, whose configuration went through `SearchConfig.with_space_name`."""
        assert self.name is not None
        return self.name

"""Initial weights of students as texts."""

from __future__ import annotations

from nas_distill.config import RUN, split_run
from nas_distill.records import FROM_TEACHER, PRETRAINED, RANDOM

_IN_WORDS = {
    RANDOM: "random weights",
    FROM_TEACHER: "the teacher's weights",
    PRETRAINED: "timm's pretrained weights",
}


def describe_initial_weights(value: str) -> str:
    """Return initial weights in words: "the teacher's weights", "the weights of trial 3 of first".

    Args:
        value: A value of `StudentSpec.initial_weights`.
    """
    if value.startswith(RUN):
        folder, number = split_run(value)
        return f"the weights of trial {number} of {folder.name}"
    return _IN_WORDS[value]


def label_initial_weights(value: str) -> str:
    """Return initial weights for a cell of a table: "teacher", "first/3" for a student of another run.

    Args:
        value: A value of `StudentSpec.initial_weights`.
    """
    if value.startswith(RUN):
        folder, number = split_run(value)
        return f"{folder.name}/{number}"
    return value

from __future__ import annotations

import pytest
import torch

from benchmarks.distillation.calibration_tables import (
    DEFAULT,
    Labels,
    Training,
    few_table,
    loss_table,
    maximum_likelihood,
    verdicts,
    way_table,
)
from benchmarks.distillation.logit_trainings import LogitResult, Rows

IMAGES = 200
LABELS = torch.arange(IMAGES) % 5


def make_logits(sharpness: float, seed: int) -> Rows:
    """Return logits of a student that is right on most images; divided by `sharpness`, they would be calibrated."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(IMAGES, 5, generator=generator)
    drawn = torch.multinomial((2 * logits).softmax(dim=1), 1, generator=generator).flatten()
    # Renamed so that the drawn class becomes the label.
    order = (torch.arange(5) + (drawn - LABELS)[:, None]) % 5
    return tuple(tuple(row) for row in (2 * sharpness * logits.gather(1, order)).tolist())


def train(contender: str, student: int, sharpness: float, held_out: float = 0.0) -> Training:
    rows = [make_logits(sharpness, 10 * student + part) for part in range(4)]
    result = LogitResult(
        validation=rows[0], test=rows[1], held_out=rows[2] if held_out else (), train=rows[3], seconds=1.0
    )
    return Training(contender=contender, student=student, held_out=held_out, result=result)


TRAININGS = [
    *(train("none", student, 1.0) for student in range(3)),
    *(train(DEFAULT, student, 0.1) for student in range(3)),
    train(DEFAULT, 0, 0.1, held_out=0.1),
]
SCORED = Labels(validation=LABELS, test=LABELS, held_out=LABELS, train=LABELS, teacher_top1=1.0)


def test_calibration_removes_a_difference_of_scale_between_losses() -> None:
    table = loss_table("losses", TRAININGS, SCORED)
    none, default = table.rows
    assert (none["name"], default["name"], default["students"]) == ("none", DEFAULT, 3)
    assert default["nll_before"] > none["nll_before"] + 0.1
    assert default["nll"] == pytest.approx(none["nll"], abs=0.02)
    assert none["difference_points"] == 0.0
    assert default["temperature"] == pytest.approx(0.1, rel=0.3)
    first, *others = verdicts(table)
    assert first.met is True
    assert [one.met for one in others] == [None]


def test_ways_to_calibrate_compare_the_same_students() -> None:
    rows = way_table(TRAININGS, SCORED).rows
    assert len(rows) == 8
    assert {row["worse"].split()[-1] for row in rows} == {"1"}
    assert rows[-1]["nll"] < rows[0]["nll"]


def test_few_images_are_safer_with_our_fit() -> None:
    rows = few_table(TRAININGS[:2], SCORED).rows
    assert rows[0]["images"] == 10
    assert rows[0]["ours_worst"] <= rows[0]["likelihood_worst"]
    assert rows[-1]["ours"] == pytest.approx(rows[-1]["before"], abs=0.05)


def test_the_maximum_likelihood_of_perfect_predictions_has_no_bound() -> None:
    logits = torch.nn.functional.one_hot(LABELS, 5).double()
    assert maximum_likelihood(logits, LABELS) < 0.01

"""Per-class release: the held-out images, the alignments, and the released classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_1samp
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from nas_distill.losses.functional import dist, dkd, kd
from nas_distill.losses.sample_weighting import (
    label_weights,
    released_weights,
    weight_gradients,
    weighted_cross_entropy,
)
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.release import LEAST_IMAGES, ReleaseWatch, alignments, holdout

LABELS = torch.tensor([3, 0, 2, 2, 1, 4])


def drawn(*shape: int, seed: int) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class TestHoldout:
    @given(
        st.lists(st.integers(0, 6), min_size=1, max_size=200),
        st.floats(0.01, 0.5),
        st.integers(0, 2**31),
        st.booleans(),
    )
    def test_it_splits_each_class(self, labels: list[int], share: float, seed: int, part: bool) -> None:
        every = torch.tensor(labels)
        among = torch.arange(0, len(labels), 2) if part else None
        kept, held = holdout(every, share, seed, among)
        positions = torch.arange(len(labels)) if among is None else among
        assert sorted(kept.tolist() + held.tolist()) == positions.tolist()
        assert kept.tolist() == sorted(kept.tolist())
        assert held.tolist() == sorted(held.tolist())
        for label in range(7):
            count, taken = ((every[rows] == label).sum().item() for rows in (positions, held))
            assert abs(taken - share * count) <= 0.5 + 1e-9 or taken == count // 2
            assert taken <= count / 2

    def test_it_is_a_function_of_its_arguments(self) -> None:
        labels = torch.arange(300) % 10
        first, again, other = (holdout(labels, 0.2, seed)[1] for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        shuffled = torch.arange(300).flip(0)
        assert torch.equal(holdout(labels, 0.2, 1, shuffled)[1], first), "the order of the positions does not matter"

    def test_all_images_of_a_class_are_equally_likely(self) -> None:
        times = torch.zeros(20)
        for seed in range(400):
            times[holdout(torch.zeros(20, dtype=torch.int64), 0.25, seed)[1]] += 1
        assert times.min() > 65
        assert times.max() < 135

    def test_a_thousand_unequal_classes_each_hold_out_their_share(self) -> None:
        labels = torch.arange(1000).repeat_interleave(torch.arange(1000) % 50)
        kept, held = holdout(labels, 0.1, 0)
        assert len(kept) + len(held) == len(labels)
        expected = [
            min(int(0.1 * count + 0.5), count // 2) for count in torch.bincount(labels, minlength=1000).tolist()
        ]
        assert torch.bincount(labels[held], minlength=1000).tolist() == expected


class TestAlignments:
    def test_it_is_the_first_order_decrease_of_the_cross_entropy(self) -> None:
        student, teacher = drawn(6, 5, seed=1), drawn(6, 5, seed=2)

        def loss(logits: Tensor) -> Tensor:
            return (
                0.7 * kd(logits, teacher, temperature=2.0) + 0.2 * dkd(logits, teacher, LABELS) + dist(logits, teacher)
            )

        found = alignments(student, loss, LABELS)
        stepped = student.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(stepped), stepped)
        step = 1e-5
        before, after = (
            cross_entropy(logits, LABELS, reduction="none") for logits in (student, student - step * 6 * gradient)
        )
        torch.testing.assert_close(found, (before - after) / step, rtol=1e-3, atol=1e-5)

    def test_it_does_not_depend_on_the_batch_size(self) -> None:
        student, teacher = drawn(6, 5, seed=1), drawn(6, 5, seed=2)
        whole = alignments(student, lambda logits: kd(logits, teacher), LABELS)
        parts = [
            alignments(student[rows], lambda logits, rows=rows: kd(logits, teacher[rows]), LABELS[rows])  # type: ignore[misc]
            for rows in (slice(0, 4), slice(4, 6))
        ]
        torch.testing.assert_close(torch.cat(parts), whole)

    def test_a_correct_but_less_confident_teacher_does_no_harm(self) -> None:
        student = 8.0 * one_hot(LABELS, 5).double()
        right, wrong = 0.25 * student, student.roll(1, dims=1)
        for teacher, harms in ((right, False), (wrong, True)):
            found = alignments(student, lambda logits, teacher=teacher: kd(logits, teacher), LABELS, teacher)  # type: ignore[misc]
            assert bool((found < 0).all()) == harms
            assert bool((found == 0).all()) != harms
        plain = alignments(student, lambda logits: kd(logits, right), LABELS)
        assert bool((plain < 0).all()), "without the teacher's logits nothing is clamped"

    def test_a_helpful_teacher_has_positive_alignments(self) -> None:
        student, teacher = torch.zeros(6, 5, dtype=torch.float64), 4.0 * one_hot(LABELS, 5).double()
        found = alignments(student, lambda logits: kd(logits, teacher), LABELS, teacher)
        assert bool((found > 0).all())

    def test_class_shares_are_accepted_as_targets(self) -> None:
        student, teacher = drawn(6, 5, seed=1), drawn(6, 5, seed=2)
        labels = one_hot(LABELS, 5).float()
        hard, soft = (alignments(student, lambda s: kd(s, teacher), targets, teacher) for targets in (LABELS, labels))
        torch.testing.assert_close(hard, soft)

    def test_half_precision_and_inference_mode(self) -> None:
        with torch.inference_mode():
            student = drawn(6, 5, seed=1).half()
        teacher = drawn(6, 5, seed=2).float()
        with torch.no_grad():
            found = alignments(student, lambda logits: kd(logits, teacher), LABELS, teacher)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        assert bool(found.isfinite().all())


def check(values: dict[int, list[float]], watch: ReleaseWatch) -> list[int]:
    labels = torch.tensor([label for label, row in values.items() for _ in row])
    return watch.update(torch.tensor([value for row in values.values() for value in row]), labels)


class TestWatch:
    def test_a_class_is_released_at_the_second_check_in_a_row(self) -> None:
        watch = ReleaseWatch(3, 0.05)
        good, bad = [0.9, 1.0, 1.1, 1.0, 0.8], [-0.9, -1.0, -1.1, -1.0, -0.8]
        assert check({0: good, 1: bad, 2: good}, watch) == []
        assert check({0: good, 1: good, 2: bad}, watch) == []
        assert check({0: good, 1: bad, 2: bad}, watch) == [2]
        assert check({0: good, 1: bad, 2: good}, watch) == [1]
        assert check({0: good, 1: bad, 2: bad}, watch) == [], "they are already released"
        assert watch.released.tolist() == [False, True, True]

    @pytest.mark.parametrize(
        ("row", "suspected"),
        [
            ([-1.0] * LEAST_IMAGES, True),
            ([-0.1] * 7, True),
            ([-1.0] * (LEAST_IMAGES - 1), False),
            ([-1.0], False),
            ([0.0] * 9, False),
            ([1.0] * 9, False),
            ([-1.0] * 8 + [float("nan")], False),
            ([-1.0] * 8 + [float("-inf")], False),
            ([-1.0] * 8 + [float("inf")], False),
            ([-5.0, 5.0] * 5 + [-1.0], False),
        ],
    )
    def test_which_alignments_make_a_class_suspected(self, row: list[float], suspected: bool) -> None:
        watch = ReleaseWatch(4, 0.05)
        for _ in range(2):
            check({0: [1.0] * 6, 2: row}, watch)  # no image of class 1 and 3
        assert watch.released.tolist() == [False, False, suspected, False]

    def test_the_test_is_scipys_with_bonferronis_level(self) -> None:
        generator = np.random.default_rng(0)
        classes, level = 40, 0.2
        rows = {c: (generator.normal(-0.5, 1.0, generator.integers(2, 30))).tolist() for c in range(classes)}
        watch = ReleaseWatch(classes, level)
        for _ in range(2):
            check(rows, watch)
        # float32, as the watch was given
        p = [ttest_1samp(np.float32(row).astype(float), 0.0, alternative="less").pvalue for row in rows.values()]
        expected = [p[c] <= level / classes and len(rows[c]) >= LEAST_IMAGES for c in range(classes)]
        assert watch.released.tolist() == expected
        assert 3 < sum(expected) < classes - 3

    def test_the_level_holds_for_all_classes_together(self) -> None:
        generator = torch.Generator().manual_seed(0)
        labels, runs = torch.arange(10).repeat_interleave(12), 600
        alarms = 0
        for _ in range(runs):
            watch = ReleaseWatch(10, 0.2)
            values = torch.randn(120, generator=generator)
            watch.update(values, labels)
            alarms += bool(watch.update(values, labels))
        assert 0.14 < alarms / runs < 0.23, "1 - (1 - 0.02)^10 = 0.18"

    def test_it_can_be_restored_from_its_state(self, tmp_path: Path) -> None:
        first, bad = ReleaseWatch(3, 0.05), [-0.9, -1.0, -1.1, -1.0, -0.8]
        check({0: bad, 1: bad}, first)
        check({0: bad, 2: bad}, first)
        save_state(tmp_path / "state", first.state())
        second = ReleaseWatch(3, 0.05)
        second.load(load_state(tmp_path / "state"))
        assert second.released.tolist() == [True, False, False]
        assert check({2: bad}, second) == check({2: bad}, first) == [2]
        with pytest.raises(ValueError, match=r"3 classes.* 4"):
            ReleaseWatch(4, 0.05).load(first.state())


HARMED, PREDICTED = 3, 8


def distilled(seed: int, *, corrupt: bool) -> tuple[ReleaseWatch, dict[int, int]]:
    """Distil a small network from a teacher trained on the same digits, with per-class release.

    A corrupt teacher predicts another class for every image of one class.
    """
    images, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    images = images.float() / 16
    trained, held = holdout(labels, 0.2, seed)
    torch.manual_seed(seed)
    swapped = list(range(10))
    swapped[HARMED], swapped[PREDICTED] = PREDICTED, HARMED
    teacher, student = (
        torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))
        for width in (64, 24)
    )

    def teacher_logits_of(rows: Tensor) -> Tensor:
        with torch.no_grad():
            logits = teacher(images[rows])
        is_harmed = (labels[rows] == HARMED) & corrupt
        return torch.where(is_harmed[:, None], logits[:, swapped], logits)

    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(teacher(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    watch = ReleaseWatch(10, 0.05)
    found: dict[int, int] = {}
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    for epoch in range(1, 13):
        for rows in trained[torch.randperm(len(trained))].split(64):  # type: ignore[no-untyped-call]
            logits, teacher_logits = student(images[rows]), teacher_logits_of(rows)
            kept = released_weights(labels[rows], watch.released)
            label = weighted_cross_entropy(logits, labels[rows], label_weights(0.1, 1.0, kept))
            optimizer.zero_grad()
            (label + 0.9 * kd(weight_gradients(logits, kept), teacher_logits, temperature=4.0)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if epoch < 2:
            continue
        teacher_logits = teacher_logits_of(held)
        with torch.no_grad():
            logits = student(images[held])
        aligned = alignments(
            logits,
            lambda s, t=teacher_logits: 0.9 * kd(s, t, temperature=4.0),  # type: ignore[misc]
            labels[held],
            teacher_logits,
        )
        found |= dict.fromkeys(watch.update(aligned, labels[held]), epoch)
    return watch, found


def test_a_good_teacher_keeps_all_classes() -> None:
    assert [distilled(seed, corrupt=False)[1] for seed in range(5)] == [{}] * 5


def test_only_the_class_that_a_teacher_gets_wrong_is_released() -> None:
    found = [distilled(seed, corrupt=True)[1] for seed in range(4)]
    assert [set(classes) for classes in found] == [{HARMED}] * 4

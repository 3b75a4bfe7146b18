"""Tables of `benchmarks.distillation.calibration`: losses before and after calibration, and ways to calibrate."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.common.program import Column, Table, Verdict, mean_interval
from benchmarks.distillation.logit_trainings import LogitResult, Rows
from nas_distill.analysis.stats import largest_calibrated_ece
from nas_distill.train.calibration.temperature import Temperatures, fit_temperatures
from nas_distill.train.metrics import SplitMetrics, metric_sums

DEFAULT = "dist"
FEW = (10, 30, 60, 144, 288)
_DRAWS = 10
_STEPS = 120

LOSS_COLUMNS = (
    Column("name", "loss"),
    Column("gap_points", "gap, points", "{:.2f}", "gap_points_interval"),
    Column("difference_points", "top-1 minus dist's, points", "{:+.2f}", "difference_points_interval"),
    Column("nll_before", "NLL before", "{:.3f}"),
    Column("ece_before", "ECE before", "{:.3f}"),
    Column("nll", "NLL", "{:.3f}"),
    Column("ece", "ECE", "{:.3f}"),
    Column("nll_difference", "NLL minus dist's", "{:+.3f}", "nll_difference_interval"),
    Column("test_nll", "test NLL", "{:.3f}"),
    Column("test_ece", "test ECE", "{:.3f}"),
    Column("temperature", "median T", "{:.2f}"),
    Column("calibrated", "within 0.05 + noise"),
    Column("students", "students", "{:d}"),
)
WAY_COLUMNS = (
    Column("name", "temperature fitted on"),
    Column("top1_percent", "test top-1, %", "{:.2f}"),
    Column("nll", "test NLL", "{:.3f}"),
    Column("ece", "test ECE", "{:.3f}"),
    Column("worst_ece", "largest test ECE", "{:.3f}"),
    Column("worse", "students with a larger NLL than before"),
    Column("worst", "largest increase of NLL", "{:+.3f}"),
    Column("lowest", "smallest T", "{:.4f}"),
)
FEW_COLUMNS = (
    Column("images", "images", "{:d}"),
    Column("before", "test NLL before", "{:.3f}"),
    Column("likelihood", "maximum likelihood", "{:.3f}"),
    Column("ours", "ours", "{:.3f}"),
    Column("likelihood_worst", "largest increase, maximum likelihood", "{:+.3f}"),
    Column("ours_worst", "largest increase, ours", "{:+.3f}"),
    Column("ours_changed", "calibrated, %", "{:.0f}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One finished training.

    Attributes:
        contender: Name of the loss with its settings.
        student: Number of the student.
        held_out: Share of the training images that were held out.
        result: Logits of the student.
    """

    contender: str
    student: int
    held_out: float
    result: LogitResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels of the images, int64, and the teacher's accuracy on validation, 0 to 1."""

    validation: Tensor
    test: Tensor
    held_out: Tensor
    train: Tensor
    teacher_top1: float


def tensor(rows: Rows) -> Tensor:
    """Return logits, float64 [N, C]."""
    return torch.tensor(rows, dtype=torch.float64)


def score(logits: Tensor, labels: Tensor, temperature: Tensor | float = 1.0) -> SplitMetrics:
    """Return the metrics at one temperature, or at one for each image [N]."""
    divisor = temperature[:, None] if isinstance(temperature, Tensor) else temperature
    return metric_sums(logits / divisor, labels).metrics()


def maximum_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature of the largest likelihood between 0.0001 and 10,000."""
    grid = torch.logspace(-4, 4, _STEPS, dtype=torch.float64).tolist()
    return min(grid, key=lambda temperature: float(cross_entropy(logits / temperature, labels)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Metrics of one student: on validation before and after cross-fitting, and on test after the fit on validation."""

    before: SplitMetrics
    after: SplitMetrics
    test: SplitMetrics
    temperatures: Temperatures


def scores_of(result: LogitResult, labels: Labels) -> Scores:
    """Calibrate a student as a search and `confirm` do, and return its metrics."""
    validation = tensor(result.validation)
    found = fit_temperatures(validation, labels.validation)
    own = found.cross_fitted(torch.arange(len(validation)))
    return Scores(
        before=score(validation, labels.validation),
        after=score(validation, labels.validation, own),
        test=score(tensor(result.test), labels.test, found.final),
        temperatures=found,
    )


def loss_table(title: str, trainings: Sequence[Training], labels: Labels) -> Table:
    """Return one row per loss, over the students that all losses have."""
    found: dict[str, dict[int, Scores]] = {}
    for training in trainings:
        if not training.held_out:
            found.setdefault(training.contender, {})[training.student] = scores_of(training.result, labels)
    shared = sorted(set.intersection(*(set(own) for own in found.values())))
    rows = [_loss_row(name, own, found[DEFAULT], shared, labels) for name, own in found.items()]
    return Table(title=f"{title}, {len(shared)} students", columns=LOSS_COLUMNS, rows=tuple(rows))


def _loss_row(
    name: str, own: Mapping[int, Scores], default: Mapping[int, Scores], shared: Sequence[int], labels: Labels
) -> dict[str, Any]:
    mine, others = [own[number] for number in shared], [default[number] for number in shared]

    def mean(measure: Callable[[Scores], float]) -> float:
        return statistics.fmean(map(measure, mine))

    calibrated = sum(one.after.ece <= largest_calibrated_ece(one.after.ece_noise) for one in mine)
    row: dict[str, Any] = {
        "name": name,
        "nll_before": mean(lambda one: one.before.nll_nats),
        "ece_before": mean(lambda one: one.before.ece),
        "nll": mean(lambda one: one.after.nll_nats),
        "ece": mean(lambda one: one.after.ece),
        "test_nll": mean(lambda one: one.test.nll_nats),
        "test_ece": mean(lambda one: one.test.ece),
        "temperature": statistics.median(one.temperatures.final for one in mine),
        "calibrated": f"{calibrated} of {len(mine)}",
        "students": len(mine),
        "top1_by_student": [(one.before.top1, one.test.top1) for one in mine],
    }
    row |= _estimate("gap_points", [100 * (labels.teacher_top1 - one.before.top1) for one in mine])
    if name != DEFAULT:
        pairs = list(zip(mine, others, strict=True))
        row |= _estimate("difference_points", [100 * (_top1(a, labels) - _top1(b, labels)) for a, b in pairs])
        row |= _estimate("nll_difference", [a.after.nll_nats - b.after.nll_nats for a, b in pairs])
    return row


def _top1(found: Scores, labels: Labels) -> float:
    """Return the accuracy on validation and test images together."""
    validation, test = len(labels.validation), len(labels.test)
    return (found.before.top1 * validation + found.test.top1 * test) / (validation + test)


def _estimate(key: str, values: Sequence[float]) -> dict[str, float | None]:
    mean, half = mean_interval(values)
    return {key: mean, f"{key}_interval": half if len(values) > 1 else None}


def way_table(trainings: Sequence[Training], labels: Labels) -> Table:
    """Return the ways to calibrate the students of the default loss, compared on test images."""
    own = sorted((one for one in trainings if one.contender == DEFAULT), key=lambda one: one.student)
    part = [one.result for one in own if one.held_out]
    both = {one.student for one in own if one.held_out}
    whole = [one.result for one in own if not one.held_out and one.student in both]
    rows = [
        _way("nothing", [(one, 1.0) for one in whole], labels),
        _way("nothing, trained without a tenth of the images", [(one, 1.0) for one in part], labels),
    ]
    for name, results, images in (
        ("training images", whole, "train"),
        ("that tenth of the training images", part, "held_out"),
        ("validation images", whole, "validation"),
    ):
        truth = getattr(labels, images)
        found = [(one, tensor(getattr(one, images))) for one in results]
        likeliest = [(one, maximum_likelihood(logits, truth)) for one, logits in found]
        robust = [(one, fit_temperatures(logits, truth).final) for one, logits in found]
        rows += [_way(f"{name}, maximum likelihood", likeliest, labels), _way(f"{name}, ours", robust, labels)]
    return Table(
        title=f"Images to fit a temperature on, loss dist: {len(whole)} students on {len(labels.test)} test images",
        columns=WAY_COLUMNS,
        rows=tuple(rows),
    )


def _way(name: str, fitted: Sequence[tuple[LogitResult, float]], labels: Labels) -> dict[str, Any]:
    found = [score(tensor(result.test), labels.test, temperature) for result, temperature in fitted]
    before = [score(tensor(result.test), labels.test) for result, _ in fitted]
    increases = [after.nll_nats - plain.nll_nats for after, plain in zip(found, before, strict=True)]
    return {
        "name": name,
        "top1_percent": 100 * statistics.fmean(one.top1 for one in found),
        "nll": statistics.fmean(one.nll_nats for one in found),
        "ece": statistics.fmean(one.ece for one in found),
        "worst_ece": max(one.ece for one in found),
        "worse": f"{sum(increase > 0 for increase in increases)} of {len(found)}",
        "worst": max(increases),
        "lowest": min(temperature for _, temperature in fitted),
    }


def few_table(trainings: Sequence[Training], labels: Labels) -> Table:
    """Return what temperatures of few validation images do on test images, over all losses and random draws."""
    results = [one.result for one in trainings if not one.held_out]
    rows = [_few_row(min(images, len(labels.validation)), results, labels) for images in FEW]
    return Table(
        title=f"Temperatures of few validation images, {len(results)} students of all losses, {_DRAWS} draws each",
        columns=FEW_COLUMNS,
        rows=tuple(rows),
    )


def _few_row(images: int, results: Sequence[LogitResult], labels: Labels) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(images)
    before, likelihood, ours, changed = [], [], [], 0
    for result in results:
        validation, test = tensor(result.validation), tensor(result.test)
        plain = score(test, labels.test).nll_nats
        for _ in range(_DRAWS):
            chosen = torch.randperm(len(validation), generator=generator)[:images]
            temperature = fit_temperatures(validation[chosen], labels.validation[chosen]).final
            changed += temperature != 1.0
            before.append(plain)
            ours.append(float(cross_entropy(test / temperature, labels.test)))
            other = maximum_likelihood(validation[chosen], labels.validation[chosen])
            likelihood.append(float(cross_entropy(test / other, labels.test)))
    return {
        "images": images,
        "before": statistics.fmean(before),
        "likelihood": statistics.fmean(likelihood),
        "ours": statistics.fmean(ours),
        "likelihood_worst": max(a - b for a, b in zip(likelihood, before, strict=True)),
        "ours_worst": max(a - b for a, b in zip(ours, before, strict=True)),
        "ours_changed": 100 * changed / len(before),
    }


def verdicts(losses: Table) -> tuple[Verdict, ...]:
    """Return whether every student of the default loss is calibrated, and which losses are as accurate as it."""
    default = next(row for row in losses.rows if row["name"] == DEFAULT)
    count = default["students"]
    found = [
        Verdict(
            text=f"dist: {default['calibrated']} students have a cross-fitted ECE within 0.05 + noise (target: all)",
            met=default["calibrated"] == f"{count} of {count}",
        )
    ]
    for row in losses.rows:
        if row["name"] != DEFAULT:
            mean, half = row["difference_points"], row["difference_points_interval"] or 0.0
            nll, nll_half = row["nll_difference"], row["nll_difference_interval"] or 0.0
            accuracy = _compared(mean, half, "less accurate", "more accurate", "not distinguishable in accuracy")
            likelihood = _compared(nll, nll_half, "better in NLL", "worse in NLL", "not distinguishable in NLL")
            found.append(Verdict(text=f"{row['name']}, compared with dist: {accuracy}, {likelihood} after calibration"))
    return tuple(found)


def _compared(mean: float, half: float, below: str, above: str, neither: str) -> str:
    """Return which side of 0 the interval of a paired difference lies on."""
    return below if mean + half < 0 else above if mean - half > 0 else neither

"""Measure how often the test of `confirm` calls a class undistillable by mistake, and how often it finds a hurt class.

Many students with one hidden layer learn digits in parallel, with and without a teacher of the same kind. A
confirmation has the data that `nas_distill confirm` has of one student: a split, its teacher, and R seeds with and
without the teacher, scored on images that no training saw. The teacher is clean, or wrong about a share of the images
of one class (another class, or equal logits).

A call is false if the other seeds of the same split show no harm (mean difference control - distilled at most 0). Under
the exact null, both arms have the same recipe and different seeds, so every call is false. A clean teacher can really
harm a class, because smoothing all outputs costs some classes accuracy.

The last table needs no training: correct predictions are drawn at random, with images of different difficulty, seeds
that shift a whole class, and classes of 80 to 99 % accuracy.

    python -m benchmarks.statistics.undistillable [--splits 20] [--seeds 40]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, conditions, publish
from benchmarks.statistics.digits import CLASSES, HURT, Digits, Networks, spoiled, teacher_loss
from nas_distill.analysis.confirm.undistillable import LEVEL, class_effects
from nas_distill.analysis.permutation_test import step_down_p_values

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
REPETITIONS = (5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Recipe of the arm "distilled"; the defaults are those of a recipe.

    Attributes:
        name: Name in the table.
        loss: Name of the teacher's loss; None trains on labels only.
        label: Weight of the labels.
        teacher: Weight of the teacher's loss.
        temperature: Temperature of the teacher's loss.
        hurt: Share of the images of the class for which the teacher is wrong, 0 to 1.
        blank: Whether wrong outputs are equal logits instead of another class.
        against_itself: Whether the arm "control" has the same recipe and other seeds (the exact null).
    """

    name: str
    loss: str | None = "kd"
    label: float = 0.1
    teacher: float = 0.9
    temperature: float = 4.0
    hurt: float = 0.0
    blank: bool = False
    against_itself: bool = False


EVEN: dict[str, Any] = {"label": 1.0, "teacher": 1.0}
CONTROL = Setting(name="labels only", loss=None, label=1.0, teacher=0.0, against_itself=True)
NULL = (CONTROL, Setting(name="kd", against_itself=True))
CLEAN = (
    Setting(name="kd"),
    Setting(name="kd, weights 1 and 1", **EVEN),
    Setting(name="dkd", loss="dkd", **EVEN),
    Setting(name="nkd", loss="nkd", temperature=1.0, **EVEN),
)
WRONG = (
    Setting(name="all wrong", hurt=1.0),
    Setting(name="half wrong", hurt=0.5),
    Setting(name="half wrong, weights 1 and 1", hurt=0.5, **EVEN),
    Setting(name="a fifth wrong", hurt=0.2),
    Setting(name="all blank", hurt=1.0, blank=True),
)
COLUMNS = (
    Column("setting", "setting"),
    Column("repetitions", "seeds per arm"),
    Column("confirmations", "confirmations"),
    Column("effect", "control - distilled, class {hurt}, points", "{:+.1f}"),
    Column("found", "class {hurt} found, %", "{:.0f}"),
    Column("found_by_t", "found by t and Holm, %", "{:.0f}"),
    Column("false", "with a false call, %", "{:.1f}"),
    Column("false_by_t", "with a false call by t and Holm, %", "{:.1f}"),
    Column("called", "with any call of another class, %", "{:.1f}"),
    Column("worst", "most hurt other class, points", "{:+.1f}"),
    Column("gain", "gain in top-1, points", "{:+.1f}"),
)
SIMULATED = (
    Column("classes", "classes"),
    Column("images", "images per class"),
    Column("repetitions", "seeds per arm"),
    Column("flips", "with a false call, %", "{:.1f}"),
    Column("t", "with a false call by t and Holm, %", "{:.1f}"),
    Column("floored", "the same, spread at least McNemar's, %", "{:.1f}"),
)


class Trainings:
    """All splits, each with its teacher and S students per arm, trained in parallel."""

    def __init__(self, splits: int, seeds: int, epochs: int) -> None:
        self.splits, self.seeds, self.epochs = splits, seeds, epochs
        self.known: dict[tuple[Setting, int], Counts] = {}
        self.data = Digits(splits, 0.1)
        self.seen = torch.cat((self.data.train, self.data.held), dim=1)
        self.teachers = Networks(splits, 128, 1)
        for _, rows in self.data.steps(self.seen, epochs, self.teachers):
            logits = self.teachers(self.data.view(rows)).flatten(0, 1)
            (splits * cross_entropy(logits, self.data.labels[rows].flatten())).backward()
        shifts = [(down, right) for down in range(3) for right in range(3)]
        padded = pad(self.data.images, (1, 1, 1, 1))
        self.shifted = torch.stack([padded[:, down : down + 8, right : right + 8] for down, right in shifts]).flatten(2)
        with torch.no_grad():
            seen = self.shifted.flatten(0, 1).expand(splits, -1, -1)
            self.teacher_logits = self.teachers(seen).view(splits, len(shifts), -1, CLASSES)
        targets = self.data.labels[self.data.validation]
        self.counts: Counts = np.stack([np.bincount(own, minlength=CLASSES) for own in targets.numpy()])

    def hits(self, setting: Setting, seed: int) -> Counts:
        """Return the correct predictions of trained students on unseen images, counts [splits, seeds, classes].

        Args:
            setting: Recipe of the students.
            seed: Seed of initial weights and image order; arms with the same seed share both.
        """
        key = (replace(setting, name="", against_itself=False), seed)
        if key not in self.known:
            self.known[key] = self._hits(setting, seed)
        return self.known[key]

    def _hits(self, setting: Setting, seed: int) -> Counts:
        many, labels_of = self.splits * self.seeds, self.data.labels
        students = Networks(many, 32, seed)
        self.data.generator.manual_seed(seed)
        for _, rows in self.data.steps(self.seen.repeat_interleave(self.seeds, dim=0), self.epochs, students):
            # Each student has its own shifts: the effect of shared shifts would not average out over the seeds.
            shift = torch.randint(0, len(self.shifted), (many, 1), generator=self.data.generator)
            images, labels = self.shifted[shift, rows], labels_of[rows]
            logits = students(images).flatten(0, 1)
            loss = setting.label * cross_entropy(logits, labels.flatten())
            if setting.loss is not None:
                outputs = self.outputs(setting, rows, shift).flatten(0, 1)
                loss = loss + setting.teacher * teacher_loss(
                    setting.loss, setting.temperature, outputs, labels.flatten()
                )(logits)
            (many * loss).backward()
        held = self.data.validation.repeat_interleave(self.seeds, dim=0)
        with torch.no_grad():
            right = students(self.data.images[held].flatten(2)).argmax(dim=2) == labels_of[held]
        per_class = torch.zeros(many, CLASSES).scatter_add_(1, labels_of[held], right.float())
        found: Counts = per_class.long().numpy().reshape(self.splits, self.seeds, CLASSES)
        return found

    def outputs(self, setting: Setting, rows: Tensor, shift: Tensor) -> Tensor:
        """Return the logits of each student's teacher, [splits x seeds, B, 10], including the wrong ones."""
        logits = self.teacher_logits[torch.arange(self.splits).repeat_interleave(self.seeds)[:, None], shift, rows]
        is_hurt = (self.data.labels[rows] == HURT) & (self.data.difficulty[rows] < setting.hurt)
        return spoiled(logits, is_hurt, blank=setting.blank)


def by_t(differences: Floats, least: Floats | float = 0.0) -> NDArray[np.bool_]:
    """Call classes by one-sided paired t tests with Holm's correction (Holm 1979) and return a mask [C].

    Args:
        differences: Differences control - distilled [R, C].
        least: Lower bound of the variance of a difference.
    """
    repetitions, classes = differences.shape
    errors = np.sqrt(np.maximum(differences.var(axis=0, ddof=1), least) / repetitions)
    means = differences.mean(axis=0)
    statistics = np.divide(means, errors, out=np.where(means > 0, np.inf, 0.0), where=errors > 0)
    p_values = stats.t.sf(statistics, repetitions - 1)
    order = np.argsort(p_values)
    kept = np.maximum.accumulate(p_values[order] * (classes - np.arange(classes))) <= LEVEL
    called = np.zeros(classes, dtype=np.bool_)
    called[order] = kept
    return called


def confirmations(differences: Floats, repetitions: int) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield split, differences [R, C], and mean differences of the split's other seeds [C]."""
    splits, seeds, _ = differences.shape
    for split in range(splits):
        for first in range(0, seeds - repetitions + 1, repetitions):
            own = np.zeros(seeds, dtype=np.bool_)
            own[first : first + repetitions] = True
            yield split, differences[split, own], differences[split, ~own].mean(axis=0)


def row(setting: Setting, differences: Floats, counts: Counts, repetitions: int) -> Mapping[str, Any]:
    others = np.arange(CLASSES) != HURT if setting.hurt else np.ones(CLASSES, dtype=np.bool_)
    calls: dict[str, list[bool]] = {key: [] for key in ("found", "found_by_t", "false", "false_by_t", "called")}
    for split, own, elsewhere in confirmations(differences, repetitions):
        effects = class_effects(own, np.tile(counts[split], (repetitions, 1)))
        called = np.array([effect.outcome == "undistillable" for effect in effects])
        called_by_t = by_t(own)
        harmless = others & ((elsewhere <= 0.0) | setting.against_itself)
        calls["found"].append(bool(called[HURT]))
        calls["found_by_t"].append(bool(called_by_t[HURT]))
        calls["false"].append(bool((called & harmless).any()))
        calls["false_by_t"].append(bool((called_by_t & harmless).any()))
        calls["called"].append(bool((called & others).any()))
    means = differences.mean(axis=(0, 1))
    shares = {key: 100.0 * float(np.mean(values)) for key, values in calls.items()}
    if not setting.hurt:
        del shares["found"], shares["found_by_t"]
    return {
        "setting": setting.name,
        "repetitions": repetitions,
        "confirmations": len(calls["called"]),
        "effect": float(means[HURT]),
        "worst": float(means[others].max()),
        "gain": -float(np.average(means, weights=counts.sum(axis=0))),
        **shares,
    }


def drawn(generator: np.random.Generator, classes: int, images: int, repetitions: int) -> Floats:
    """Return random differences between two arms with the same recipe, counts of images [R, C]."""
    accuracy = np.linspace(0.8, 0.99, classes)[:, None]
    right = generator.beta(0.7 * accuracy, 0.7 * (1.0 - accuracy), size=(classes, images)).clip(1e-9, 1.0 - 1e-9)
    logits = np.log(right / (1.0 - right))
    shifts = 0.3 * generator.standard_normal((2, repetitions, classes, 1))
    draws = generator.random((2, repetitions, classes, images), dtype=np.float32)
    hits = (draws < 1.0 / (1.0 + np.exp(-logits - shifts))).sum(axis=-1)
    return (hits[0] - hits[1]).astype(np.float64)


def simulated(classes: int, images: int, repetitions: int, rounds: int) -> Mapping[str, Any]:
    generator = np.random.default_rng((classes, images, repetitions))
    false_calls = np.zeros(3)
    for _ in range(rounds):
        differences = drawn(generator, classes, images, repetitions)
        false_calls[0] += (step_down_p_values(differences, np.ones(classes)) <= LEVEL).any()
        false_calls[1] += by_t(differences).any()
        # m discordant images give McNemar's difference a variance of m, and m is at least |difference|.
        false_calls[2] += by_t(differences, np.maximum(np.abs(differences).mean(axis=0), 1e-9)).any()
    rates = 100.0 * false_calls / rounds
    shares = dict(zip(("flips", "t", "floored"), rates.tolist(), strict=True))
    return {"classes": classes, "images": images, "repetitions": repetitions, **shares}


def trained_tables(splits: int, seeds: int, epochs: int) -> Iterator[Table]:
    trainings = Trainings(splits, seeds, epochs)
    title = f"{splits} splits, {seeds} seeds per arm and split, {epochs} epochs"
    for name, settings in (
        ("Exact null", NULL), ("Clean teacher", CLEAN), (f"Teacher wrong about class {HURT}", WRONG),
    ):  # fmt: skip
        rows = []
        for setting in settings:
            control = trainings.hits(setting, 3) if setting.against_itself else trainings.hits(CONTROL, 2)
            differences = 100.0 * (control - trainings.hits(setting, 2)) / trainings.counts[:, None, :]
            rows += [row(setting, differences, trainings.counts, count) for count in REPETITIONS if count < seeds]
        columns = [
            Column(column.key, column.title.format(hurt=HURT), column.spec)
            for column in COLUMNS
            if rows and column.key in rows[0]
        ]
        yield Table(title=f"{name}: {title}", columns=tuple(columns), rows=tuple(rows))


def verdict(table: Table, rounds: int) -> Verdict:
    """Test whether any row has more false calls than the level allows (exact binomial test, Bonferroni)."""
    tests = []
    for row in table.rows:
        tried = row.get("confirmations", rounds)
        false = round(tried * row.get("false", row.get("flips", 0.0)) / 100)
        tests.append((float(stats.binom.sf(false - 1, tried, LEVEL)), false, tried))
    p_value, false, tried = min(tests)
    text = (
        f"{table.title}: at worst {false} of {tried} confirmations have a false call (p = {p_value:.2f} at the level)"
    )
    return Verdict(text=text, met=p_value * len(tests) > 0.05)


def main() -> None:
    parser = benchmark_parser("statistics.undistillable", __doc__)
    parser.add_argument("--splits", type=int, default=20, help="number of splits  [default: 20]")
    parser.add_argument("--seeds", type=int, default=40, help="seeds per arm and split  [default: 40]")
    parser.add_argument("--epochs", type=int, default=15, help="epochs per training  [default: 15]")
    parser.add_argument("--rounds", type=int, default=2000, help="simulated confirmations per row  [default: 2000]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads  [default: 1]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.splits, arguments.seeds, arguments.epochs, arguments.rounds = 2, 6, 2, 20
    torch.set_num_threads(arguments.threads)
    tables = tuple(trained_tables(arguments.splits, arguments.seeds, arguments.epochs))
    sizes = [(10, 10), (10, 36), (10, 100), (10, 1000), (100, 36)]
    rows = tuple(simulated(*size, count, arguments.rounds) for size in sizes for count in (3, *REPETITIONS))
    title = f"Exact null, simulated: {arguments.rounds} confirmations per row"
    tables = (*tables, Table(title=title, columns=SIMULATED, rows=rows))
    verdicts = [verdict(table, arguments.rounds) for table in tables]
    facts = conditions(seed=[2, 3], threads=arguments.threads, level=LEVEL)
    publish(
        Report(name="statistics/undistillable", tables=tables, verdicts=tuple(verdicts), conditions=facts), arguments
    )


if __name__ == "__main__":
    main()

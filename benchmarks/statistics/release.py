"""Measure how often per-class release finds a class that the teacher hurts, and how often it releases another class.

Students with one hidden layer learn digits from a teacher of the same kind, many seeds in parallel. Each seed has its
own split, teacher, held-out images and student. The teacher is either clean (any release is a false alarm), or, in
training and on held-out images, it predicts another class ("wrong") or equal logits ("blank") for a share of the images
of one class. The rule is that of `nas_distill.train.release`; the training loop is a plain one.

    python -m benchmarks.statistics.release [--seeds 100]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.common.program import Column, Report, Table, benchmark_parser, conditions, median, publish
from benchmarks.statistics.digits import CLASSES, HURT, Digits, Networks, spoiled, teacher_loss
from nas_distill.losses.sample_weighting import (
    label_weights,
    released_weights,
    weight_gradients,
    weighted_cross_entropy,
)
from nas_distill.train.release import ReleaseWatch, alignments

LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One experiment.

    Attributes:
        name: Name in the table.
        loss: Name of the teacher's loss.
        label: Weight of the labels.
        teacher: Weight of the teacher's loss.
        temperature: Temperature of the teacher's loss.
        smoothing: Label smoothing in the training of the teacher.
        width: Width of the teacher's hidden layer.
        unseen: Whether the teacher is not trained on the held-out images.
        share: Share of images held out, 0 to 1.
        hurt: Share of the images of the class for which the teacher is wrong, 0 to 1.
        blank: Whether wrong outputs are equal logits instead of another class.
        any_pull: Whether a teacher that is right but less confident counts as harm too.
        releases: Whether classes are released.
    """

    name: str
    loss: str = "kd"
    label: float = 0.1
    teacher: float = 0.9
    temperature: float = 4.0
    smoothing: float = 0.0
    width: int = 128
    unseen: bool = False
    share: float = 0.1
    hurt: float = 0.0
    blank: bool = False
    any_pull: bool = False
    releases: bool = True


EVEN: dict[str, Any] = {"label": 1.0, "teacher": 1.0}
CLEAN = (
    Setting(name="kd"),
    Setting(name="kd, 30 % held out", share=0.3),
    Setting(name="kd, unseen by the teacher", share=0.3, unseen=True),
    Setting(name="kd, weights 1 and 1", **EVEN),
    Setting(name="kd, weights 1 and 1, T = 1", temperature=1.0, **EVEN),
    Setting(name="kd, teacher with label smoothing 0.1", smoothing=0.1),
    Setting(name="kd, teacher of 4 hidden units", width=4),
    Setting(name="dkd", loss="dkd", **EVEN),
    Setting(name="nkd", loss="nkd", temperature=1.0, **EVEN),
)
WRONG = (
    Setting(name="all wrong", hurt=1.0),
    Setting(name="all wrong, weights 1 and 1", hurt=1.0, **EVEN),
    Setting(name="all blank", hurt=1.0, blank=True),
    Setting(name="half wrong", hurt=0.5),
    Setting(name="half wrong, 30 % held out", hurt=0.5, share=0.3),
    Setting(name="half wrong, 30 % held out, weights 1 and 1", hurt=0.5, share=0.3, **EVEN),
    Setting(name="a fifth wrong, 30 % held out", hurt=0.2, share=0.3),
)
TITLES = {
    "setting": ("setting", "{}"),
    "false": ("runs with a false release, %", "{:.1f}"),
    "any_pull": ("if less confidence counts as harm, %", "{:.1f}"),
    "found": ("found, %", "{:.0f}"),
    "epoch": ("median epoch", "{:.0f}"),
    "latest": ("90 % by epoch", "{:.0f}"),
    "with": ("class, with release, %", "{:.1f}"),
    "without": ("class, without release, %", "{:.1f}"),
    "control": ("class, labels only, %", "{:.1f}"),
    "top1": ("top-1 of students, %", "{:.1f}"),
    "teacher": ("top-1 of teachers, %", "{:.1f}"),
}


class Run:
    """All seeds of one experiment."""

    def __init__(self, setting: Setting, seeds: int, epochs: int) -> None:
        self.setting, self.seeds, self.epochs = setting, seeds, epochs
        self.data = Digits(seeds, setting.share)
        self.teachers = Networks(seeds, setting.width, 1)
        seen = self.data.train if setting.unseen else torch.cat((self.data.train, self.data.held), dim=1)
        for _, rows in self.data.steps(seen, epochs, self.teachers):
            logits = self.teachers(self.data.view(rows)).flatten(0, 1)
            targets = self.data.labels[rows].flatten()
            (seeds * cross_entropy(logits, targets, label_smoothing=setting.smoothing)).backward()
        self.watches = [ReleaseWatch(CLASSES, LEVEL) for _ in range(seeds)]
        self.found: list[dict[int, int]] = [{} for _ in range(seeds)]

    def teacher_logits(self, rows: Tensor, images: Tensor) -> Tensor:
        """Return the logits of the teachers, [S, B, 10], including the wrong ones."""
        with torch.no_grad():
            logits = self.teachers(images)
        is_hurt = (self.data.labels[rows] == HURT) & (self.data.difficulty[rows] < self.setting.hurt)
        return spoiled(logits, is_hurt, blank=self.setting.blank)

    def teacher_loss(self, teacher: Tensor, labels: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the weighted loss as a function of the student's logits."""
        loss = teacher_loss(self.setting.loss, self.setting.temperature, teacher, labels)
        return lambda student: self.setting.teacher * loss(student)

    def students(self) -> Networks:
        """Train the students and return them; classes are checked after every epoch from the second on."""
        students, labels_of = Networks(self.seeds, 32, 2), self.data.labels
        offsets, checked = CLASSES * torch.arange(self.seeds)[:, None], 0
        for epoch, rows in self.data.steps(self.data.train, self.epochs, students):
            if epoch > max(checked, 1):
                self.check(students, epoch)
            checked = epoch
            images, labels = self.data.view(rows), labels_of[rows].flatten()
            logits = students(images).flatten(0, 1)
            released = torch.cat([watch.released for watch in self.watches])
            if not self.setting.releases:
                released = torch.zeros_like(released)
            kept = released_weights((labels_of[rows] + offsets).flatten(), released)
            loss = self.teacher_loss(self.teacher_logits(rows, images).flatten(0, 1), labels)
            label = weighted_cross_entropy(logits, labels, label_weights(self.setting.label, 1.0, kept))
            (self.seeds * (label + loss(weight_gradients(logits, kept)))).backward()
        return students

    def check(self, students: Networks, epoch: int) -> None:
        """Check the held-out images of every seed after `epoch` epochs."""
        rows = self.data.held
        images = self.data.view(rows)
        with torch.no_grad():
            logits = students(images)
        for seed, (student, teacher) in enumerate(zip(logits, self.teacher_logits(rows, images), strict=True)):
            labels = self.data.labels[rows[seed]]
            loss = self.teacher_loss(teacher, labels)
            aligned = alignments(student, loss, labels, None if self.setting.any_pull else teacher)
            for label in self.watches[seed].update(aligned, labels):
                self.found[seed][label] = epoch

    def accuracy(self, networks: Networks, only: int | None = None) -> float:
        """Return the mean accuracy on validation in percent, of all images or those of one class."""
        labels = self.data.labels[self.data.validation]
        with torch.no_grad():
            hits = networks(self.data.images[self.data.validation].flatten(2)).argmax(dim=2) == labels
        return 100 * (hits if only is None else hits[labels == only]).float().mean().item()


def row(setting: Setting, seeds: int, epochs: int) -> Mapping[str, Any]:
    run = Run(setting, seeds, epochs)
    students = run.students()
    wanted = {HURT} if setting.hurt else set()
    values: dict[str, Any] = {
        "setting": setting.name,
        "false": 100 * sum(bool(found.keys() - wanted) for found in run.found) / seeds,
        "top1": run.accuracy(students),
        "teacher": run.accuracy(run.teachers),
    }
    if not wanted:
        bare = Run(replace(setting, any_pull=True), seeds, epochs)
        bare.students()
        return values | {"any_pull": 100 * sum(bool(found) for found in bare.found) / seeds}
    first = sorted(found[HURT] for found in run.found if HURT in found)
    without = Run(replace(setting, releases=False), seeds, epochs)
    control = Run(replace(setting, label=1.0, teacher=0.0), seeds, epochs)
    return values | {
        "found": 100 * len(first) / seeds,
        "epoch": median(first) if first else None,
        "latest": first[int(0.9 * seeds)] if len(first) > int(0.9 * seeds) else None,
        "with": run.accuracy(students, HURT),
        "without": without.accuracy(without.students(), HURT),
        "control": control.accuracy(control.students(), HURT),
    }


def main() -> None:
    parser = benchmark_parser("statistics.release", __doc__)
    parser.add_argument("--seeds", type=int, default=100, help="number of seeds  [default: 100]")
    parser.add_argument("--epochs", type=int, default=30, help="epochs per training  [default: 30]")
    parser.add_argument("--threads", type=int, default=1, help="torch threads  [default: 1]")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.epochs = 2, 3
    torch.set_num_threads(arguments.threads)
    seeds, epochs = arguments.seeds, arguments.epochs
    tables = []
    for title, settings in (("Clean teacher", CLEAN), (f"Teacher wrong about class {HURT}", WRONG)):
        rows = tuple(row(setting, seeds, epochs) for setting in settings)
        columns = tuple(Column(key, *TITLES[key]) for key in TITLES if key in rows[0])
        tables.append(Table(title=f"{title}: {seeds} seeds, {epochs} epochs", columns=columns, rows=rows))
    facts = conditions(seed=list(range(seeds)), threads=arguments.threads, level=LEVEL)
    publish(Report(name="statistics/release", tables=tuple(tables), conditions=facts), arguments)


if __name__ == "__main__":
    main()

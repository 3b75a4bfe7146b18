"""Measure whether the verdicts on short trainings name what really lowers the gap.

Each student is trained for 3, 5, 10 and 30 epochs, about three times as long, and about twice as wide for as many
epochs. A change helps if it removes at least a third of the gap, and more than the images can leave to chance.

The truth is `longer` if more epochs help, `wider` if only more width does, and `neither` otherwise. The verdicts
`undertrained` and `under_capacity` claim one of the two. All students of a number of epochs form one run.

    python -m benchmarks.statistics.short_trainings [--data folder:PATH] [--teacher FOLDER] [--work FOLDER]
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.common.program import Column, Report, Table, Verdict, benchmark_parser, conditions, publish
from benchmarks.statistics.cases import Site, Student, as_study, resnet
from nas_distill.analysis.decision.decide import teacher_epochs
from nas_distill.analysis.diagnosis.table import diagnose
from nas_distill.analysis.diagnosis.verdicts import VERDICTS, Diagnosis
from nas_distill.analysis.stats import difference_half_width, gap_half_width_points
from nas_distill.config import DataConfig, ViewsConfig
from nas_distill.config.data import DIGITS
from nas_distill.records import Recipe, StudentSpec, TrialRecord
from nas_distill.run_directory.layout import RunDirectory

LONGER: Mapping[int, int] = {3: 10, 5: 15, 10: 30, 30: 90}
"""Epochs of a short training, and of the training about three times as long that it is compared with."""

HELPS = 1.0 / 3.0
"""Share of the gap that a change must remove to count as a help."""

Truth = Literal["longer", "wider", "neither"]
TRUTHS: tuple[Truth, ...] = ("longer", "wider", "neither")
WRONG: dict[str, str] = {"longer": "under_capacity", "wider": "undertrained"}
"""The verdict that sends a user the wrong way, by truth."""

IMAGES = 600
IMAGE_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Students of one architecture, each about twice as wide as the one before.

    Attributes:
        name: Name in the tables.
        specs: The students.
    """

    name: str
    specs: tuple[StudentSpec, ...]


def resnet10(*channels: int) -> StudentSpec:
    """Return timm's ResNet-10-T with other channels."""
    arguments = {"channels": channels, "stem_width": channels[0] // 2}
    return StudentSpec(architecture="resnet10t", arguments=arguments, family="resnet10t")


DIGITS_LADDERS = (Ladder(name="small_resnet", specs=(resnet(2, 3), resnet(4, 6), resnet(8, 12), resnet(16, 24))),)
PHOTO_LADDERS = (
    Ladder(name="small_resnet", specs=(resnet(3, 6, 12), resnet(6, 12, 24), resnet(12, 24, 48))),
    Ladder(name="resnet10t", specs=(resnet10(8, 16, 24, 48), resnet10(16, 32, 48, 96))),
)


class Bench:
    """Trainings on one data set; each is stored, so that an interrupted measurement continues.

    Args:
        folder: Folder of data, teacher and trainings.
        source: Source of the images, as `DataConfig.source`.
        seed: Seed of splits, teacher and students.
        teacher: Folder of a trained teacher. Default: one is trained.
    """

    def __init__(self, folder: Path, source: str, seed: int, *, teacher: Path | None = None) -> None:
        photos = source != DIGITS
        self.folder, self.seed = folder, seed
        self.ladders = PHOTO_LADDERS if photos else DIGITS_LADDERS
        data = DataConfig(source=source, split_seed=seed)
        if photos:
            limits = {"image_size": IMAGE_SIZE, "max_train_images": IMAGES, "max_validation_images": IMAGES}
            data = data.model_copy(update=limits)
        self._site = Site(
            folder / "site", data, ViewsConfig(count=8), seed, teacher=teacher, teacher_epochs=30 if photos else 15
        )
        self.teacher = self._site.run.read_teacher()

    def train(self, spec: StudentSpec, epochs: int, number: int) -> TrialRecord:
        """Return the record of a training; all trainings of a student start from the same seed."""
        path = self.folder / "records" / f"{spec.spec_id}-{epochs}.json"
        if path.exists():
            return TrialRecord.model_validate_json(path.read_text())
        student = Student(spec=spec, recipe=Recipe(epochs=epochs))
        record = self._site.train_one(student, 1000 * epochs + number, seed=1000 * self.seed + number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json())
        return record

    def run_of(self, epochs: int) -> Sequence[TrialRecord]:
        """Return the records of all students of one number of epochs."""
        specs = [spec for ladder in self.ladders for spec in ladder.specs]
        return [self.train(spec, epochs, number) for number, spec in enumerate(specs)]

    def judge(self, epochs: int) -> dict[str, Diagnosis]:
        """Return the diagnosis of each student of one number of epochs, by spec."""
        records = list(self.run_of(epochs))
        run = RunDirectory(self.folder / "runs" / str(epochs))
        shutil.rmtree(run.path, ignore_errors=True)
        run.path.mkdir(parents=True)
        run.teacher.symlink_to(self._site.run.teacher.resolve())
        study = as_study(run, records)
        found = diagnose(
            study.trials,
            study.curves,
            images=sum(self.teacher.class_counts),
            teacher_epochs=teacher_epochs(self.teacher),
        )
        return {records[one.number].spec.spec_id: one for one in found}

    def truth(self, ladder: Ladder, step: int, epochs: int) -> tuple[Truth, TrialRecord, TrialRecord, TrialRecord]:
        """Return what lowers the gap of a student, and the records of it, of the longer and of the wider training."""
        specs = [spec for one in self.ladders for spec in one.specs]
        number = specs.index(ladder.specs[step])
        own = self.train(specs[number], epochs, number)
        longer, wider = (
            self.train(specs[number], LONGER[epochs], number),
            self.train(specs[number + 1], epochs, number + 1),
        )
        truth: Truth = "longer" if self._helps(own, longer) else "wider" if self._helps(own, wider) else "neither"
        return truth, own, longer, wider

    def _helps(self, own: TrialRecord, changed: TrialRecord) -> bool:
        (gap, half), (other, other_half) = self._gap(own), self._gap(changed)
        return gap - other > max(HELPS * gap, difference_half_width(half, other_half))

    def _gap(self, record: TrialRecord) -> tuple[float, float]:
        assert record.metrics is not None
        gap, agreement = np.asarray(record.metrics.gap_points), np.asarray(record.metrics.agreement)
        return float(gap), float(gap_half_width_points(gap, agreement, sum(self.teacher.class_counts)))


def measure(bench: Bench, epochs: Sequence[int], source: str) -> Report:
    """Return the confusion table by epochs, and one row per student."""
    rows: list[dict[str, object]] = []
    confusion, wrong = Counter[tuple[int, Truth, str]](), 0
    for count in epochs:
        verdicts = bench.judge(count)
        for ladder in bench.ladders:
            for step in range(len(ladder.specs) - 1):
                truth, own, longer, wider = bench.truth(ladder, step, count)
                verdict = verdicts[own.spec.spec_id]
                confusion[count, truth, verdict.verdict] += 1
                wrong += WRONG.get(truth) == verdict.verdict
                rows.append(
                    {
                        "epochs": count, "student": ladder.name, "params": own.cost.num_params, "gap": _gap(own),
                        "longer": _gap(longer), "wider": _gap(wider), "truth": truth, "verdict": verdict.verdict,
                    }
                )  # fmt: skip
                print(
                    f"{count} epochs, {own.cost.num_params} parameters: {verdict.verdict}: {verdict.evidence[0]}",
                    flush=True,
                )
    return Report(
        name=f"statistics/short_trainings_{Path(source.removeprefix('folder:')).name}_{bench.seed}",
        tables=(_confusion(confusion, epochs), _students(rows)),
        verdicts=(Verdict(text=f"{wrong} of {len(rows)} name the wrong cause (target: none)", met=wrong == 0),),
        conditions=conditions(
            seed=bench.seed, threads=1, data=Path(source.removeprefix("folder:")).name,
            teacher_top1=round(bench.teacher.top1, 4), images=sum(bench.teacher.class_counts),
        ),
    )  # fmt: skip


def _gap(record: TrialRecord) -> float:
    assert record.metrics is not None
    return record.metrics.gap_points


def _confusion(confusion: Counter[tuple[int, Truth, str]], epochs: Sequence[int]) -> Table:
    cells = [(count, truth) for count in epochs for truth in TRUTHS]
    rows = [
        {"epochs": count, "truth": truth} | {name: confusion[count, truth, name] or None for name in VERDICTS}
        for count, truth in cells
        if any(confusion[count, truth, name] for name in VERDICTS)
    ]
    columns = (Column("epochs", "epochs"), Column("truth", "what helps"), *(Column(name, name) for name in VERDICTS))
    return Table(title="Verdicts by number of epochs and by the change that helped", columns=columns, rows=tuple(rows))


def _students(rows: Sequence[Mapping[str, object]]) -> Table:
    columns = (
        Column("epochs", "epochs"), Column("student", "student"), Column("params", "parameters", "{:,}"),
        Column("gap", "gap", "{:.1f}"), Column("longer", "3 x the epochs", "{:.1f}"),
        Column("wider", "twice the width", "{:.1f}"), Column("truth", "what helps"), Column("verdict", "verdict"),
    )  # fmt: skip
    return Table(title="Gaps in points", columns=columns, rows=tuple(rows))


def main() -> None:
    parser = benchmark_parser("statistics.short_trainings", __doc__)
    parser.add_argument("--data", default=DIGITS, help="digits or folder:PATH  [default: digits]")
    parser.add_argument("--teacher", type=Path, help="folder of a trained teacher  [default: one is trained]")
    parser.add_argument("--epochs", type=int, nargs="+", choices=LONGER, default=list(LONGER), help="short trainings")
    parser.add_argument("--work", type=Path, help="folder that keeps trainings  [default: a temporary one]")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits, teacher and students")
    arguments = parser.parse_args()
    epochs = [3] if arguments.quick else arguments.epochs
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.work or Path(folder), arguments.data, arguments.seed, teacher=arguments.teacher)
        publish(measure(bench, epochs, arguments.data), arguments)


if __name__ == "__main__":
    main()

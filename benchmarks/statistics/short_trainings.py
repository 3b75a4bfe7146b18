"""Train students for a few epochs, three times as long, and wider: what either really changes about the gap.

A step of the ladder is a student and the next wider one. All students of a number of epochs form one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.statistics.cases import Site, Student, resnet
from nas_distill.config import DataConfig, ViewsConfig
from nas_distill.config.data import DIGITS
from nas_distill.records import Recipe, StudentSpec, TrialRecord

LONGER: Mapping[int, int] = {3: 10, 5: 15, 10: 30, 30: 90}
"""Epochs of a short training, and of the training about three times as long that it is compared with."""

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

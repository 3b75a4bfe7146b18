"""`DataManifest`: what the images of a run are; `data.json` of a run directory."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nas_distill.config import DataConfig
from nas_distill.records.base import Record, Share

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


class SplitSettings(Record):
    """What decided the splits; the fields are those of `DataConfig`.

    Attributes:
        validation_fraction: Share of the training images held out when the source has no validation split.
        test_fraction: Share of the images set aside when the source has no test split.
        split_seed: Seed of the splits.
        max_train_images: Stratified cap on the training split.
        max_validation_images: Stratified cap on the validation split.
    """

    validation_fraction: float
    test_fraction: float
    split_seed: NonNegativeInt
    max_train_images: PositiveInt | None
    max_validation_images: PositiveInt | None

    @classmethod
    def from_config(cls, config: DataConfig) -> Self:
        """Returns the settings in `config`."""
        return cls(
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            split_seed=config.split_seed,
            max_train_images=config.max_train_images,
            max_validation_images=config.max_validation_images,
        )


class DataManifest(Record):
    """What the images of a run are.

    Attributes:
        schema_version: Of this record on disk.
        source: As the user named it.
        class_names: In the order of the labels, 0 to K-1.
        image_size: Height and width, pixels.
        channels: 1 (grey) or 3 (RGB).
        resize: Whether images of other sizes are brought to `image_size`.
        num_train: Images in the training split.
        num_validation: Images in the validation split.
        num_test: Images in the test split.
        mean: Per channel, over the training split, 0 to 1. Over the memory budget, over a fixed sample of it.
        std: Likewise; at least 1/255, so that a constant channel can be divided by it.
        images_cached: Whether the decoded training and validation images are kept in `images/`.
        splits: What decided the splits.
        content_id: Digest of the source's images and labels, whatever the splits: for folders of the files'
            names, sizes and labels, for `digits` of the pixels, for others of name, labels and counts.
        data_id: Digest of content, classes, splits, image size and channels: equal exactly when two runs see
            the same images in the same roles.
    """

    schema_version: Literal[1] = 1
    source: str
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_size: PositiveInt
    channels: Literal[1, 3]
    resize: bool
    num_train: PositiveInt
    num_validation: PositiveInt
    num_test: PositiveInt
    mean: tuple[Share, ...]
    std: tuple[PositiveFloat, ...]
    images_cached: bool
    splits: SplitSettings
    content_id: str
    data_id: str

    @model_validator(mode="after")
    def _statistics_per_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std must have one value for each of the {self.channels} channels")
        return self

    @property
    def num_classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)

    @property
    def images_per_class(self) -> float:
        """Training images of a class, on average."""
        return self.num_train / len(self.class_names)

    def num_images(self, name: SplitName) -> int:
        """Returns the number of images in the split `name`."""
        return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}[name]

"""`DataManifest`: description of a run's images, stored as `data.json` in the run directory."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from nas_distill.config import DataConfig
from nas_distill.records.base import Record, Share
from nas_distill.records.network_shape import NetworkShape
from nas_distill.records.resizing import Resizing

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")


class SplitSettings(Record):
    """Settings that determine the splits; a subset of the fields of `DataConfig`.

    Attributes:
        validation_fraction: Fraction of the training images used for validation if the source has no validation split.
        test_fraction: Fraction of the training images used for testing if the source has no test split.
        split_seed: Seed of the splits.
        max_train_images: Maximum size of the training split (stratified subsample); None for no limit.
        max_validation_images: Maximum size of the validation split (stratified subsample); None for no limit.
    """

    validation_fraction: float
    test_fraction: float
    split_seed: NonNegativeInt
    max_train_images: PositiveInt | None
    max_validation_images: PositiveInt | None

    @classmethod
    def from_config(cls, config: DataConfig) -> Self:
        """Return the split settings of `config`."""
        return cls(
            validation_fraction=config.validation_fraction,
            test_fraction=config.test_fraction,
            split_seed=config.split_seed,
            max_train_images=config.max_train_images,
            max_validation_images=config.max_validation_images,
        )


_WORDING = {
    "rotated": "rotated by EXIF",
    "palette": "with a palette",
    "alpha": "with transparency (dropped)",
    "cmyk": "in CMYK",
    "sixteen_bit": "with 16 bits (high byte used)",
    "several_frames": "with several frames (first used)",
    "not_square": "not square (cropped)",
    "enlarged": "enlarged",
}


class ImageConversions(Record):
    """Number of training and validation images that decoding changes; an image can count several times.

    Attributes:
        rotated: Images that are rotated or flipped as their EXIF data say.
        palette: Images whose palette is replaced by its colours.
        alpha: Images whose transparency is dropped.
        cmyk: CMYK images that are converted to RGB.
        sixteen_bit: Grey images with 16 bits, of which the high byte is used.
        several_frames: Animations and other files with several images, of which the first is used.
        not_square: Images that are cropped because they are not square.
        enlarged: Images with a side that is shorter than the common size.
    """

    rotated: NonNegativeInt = 0
    palette: NonNegativeInt = 0
    alpha: NonNegativeInt = 0
    cmyk: NonNegativeInt = 0
    sixteen_bit: NonNegativeInt = 0
    several_frames: NonNegativeInt = 0
    not_square: NonNegativeInt = 0
    enlarged: NonNegativeInt = 0

    def sentence(self) -> str:
        """Return the counts above 0 in words, such as "12 rotated by EXIF, 3 in CMYK"; empty if there are none."""
        return ", ".join(f"{getattr(self, name):,} {text}" for name, text in _WORDING.items() if getattr(self, name))


class DataManifest(Record):
    """Description of a run's images.

    Attributes:
        schema_version: Version of the file format.
        source: Image source, as given in `data.source`.
        class_names: Names of the K classes, in the order of the labels.
        image_size: Height and width of the decoded images, pixels.
        channels: 1 (grey) or 3 (RGB).
        resizing: How images of other sizes are resized to `image_size`; None if all images have this size.
        conversions: Number of training and validation images that decoding changes.
        num_train: Number of training images.
        num_validation: Number of validation images.
        num_test: Number of test images.
        skipped: Positions in the source of images that cannot be used and that were skipped (`data.bad_images`).
        mean: Mean per channel over the training images, 0 to 1; over a fixed sample of them if `images_cached` is off.
        std: Standard deviation per channel over the same images, at least 1/255 so that it can be divided by.
        images_cached: Whether the decoded training and validation images are cached in `images/`.
        splits: Settings that determine the splits.
        content_id: Digest of the source's images and labels, independent of the splits. Computed from file names, file
            sizes and labels for `folder:`, from pixels and labels for `digits`, and from the name, the labels and the
            split sizes for timm data sets.
        data_id: Digest of content, classes, splits, image size, channels and resizing. Two runs have the same `data_id`
            exactly if they use the same images in the same splits.
    """

    schema_version: Literal[1] = 1
    source: str
    class_names: Annotated[tuple[str, ...], Field(min_length=2)]
    image_size: PositiveInt
    channels: Literal[1, 3]
    resizing: Resizing | None = None
    conversions: ImageConversions = Field(default_factory=ImageConversions)
    skipped: tuple[NonNegativeInt, ...] = ()
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
        """Number of classes K."""
        return len(self.class_names)

    @property
    def network_shape(self) -> NetworkShape:
        """Input and output shape of networks for these images."""
        return NetworkShape(num_classes=self.num_classes, channels=self.channels, image_size=self.image_size)

    @property
    def images_per_class(self) -> float:
        """Average number of training images per class."""
        return self.num_train / len(self.class_names)

    def num_images(self, name: SplitName) -> int:
        """Return the number of images in split `name`."""
        return {"train": self.num_train, "validation": self.num_validation, "test": self.num_test}[name]


def summarise(manifest: DataManifest) -> str:
    """Return a sentence about the images."""
    size = manifest.image_size
    colour = "grey" if manifest.channels == 1 else "RGB"
    storage = "cached decoded" if manifest.images_cached else "over the memory budget, decoded during training"
    converted = manifest.conversions.sentence()
    return (
        f"{manifest.source}: {manifest.num_train} training, {manifest.num_validation} validation and "
        f"{manifest.num_test} test images in {manifest.num_classes} classes, {size}x{size} pixels, {colour}, {storage}"
        f"{f'; of these images {converted}' if converted else ''}"
        f"{f'; {len(manifest.skipped):,} images that cannot be used are skipped' if manifest.skipped else ''}"
    )

"""The images and their augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from nas_distill.records.base import Record, Share
from nas_distill.records.recipe import Mix
from nas_distill.records.resizing import CropRatio, Interpolation

DIGITS = "digits"
"""The data source that is built in."""

FOLDER = "folder:"
"""Prefix of a data source that is a folder of images."""

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


CropArea = Annotated[float, Field(ge=0.05, le=1.0)]
"""Share of an image; below 1/20, a view of a small image would consist of a few pixels."""


class DataConfig(Record):
    """The images and their splits.

    Attributes:
        source: `digits` (built in), `folder:PATH` (one subfolder per class, or `train/`, `val/` and `test/` with one
            subfolder per class each), or a data set of timm's `create_dataset`, such as `torch/cifar10` or `hfds/...`.
        root: Folder of timm's data sets.
        image_size: Height and width of the images after resizing, pixels, 4 to 1024. Default: the images' own size, if
            it is uniform.
        crop_ratio: Share of the shorter side that is kept, in the centre, when images are resized to `image_size`:
            above 0, at most 1; timm's `crop_pct`. Default: the teacher's.
        interpolation: Filter with which images are resized to `image_size`. Default: the teacher's.
        channels: 1 (grey) or 3 (RGB). Default: the images' own channels.
        bad_images: What to do with images that cannot be read, have 32-bit pixels, or have more than 89 million pixels:
            "fail" lists all of them, "skip" leaves them out and reports their number.
        validation_fraction: Share of the training images held out for validation if there is no validation split.
        test_fraction: Share of all images held out for testing if there is no test split.
        split_seed: Random seed of the splits. It is separate from `seed`, so that searches share their splits.
        max_train_images: Largest size of the training split; larger splits are subsampled by class. Default: no limit.
        max_validation_images: Largest size of the validation split; larger splits are subsampled by class. Default: no
            limit.
        memory_budget_mib: Largest size of the decoded training and validation images, MiB, up to which they are decoded
            once and memory-mapped by all trials of a machine. Larger data are decoded again in every epoch. An image
            takes channels x height x width bytes: 50,000 images of 3 x 224 x 224 are 7,200 MiB. Default: half of the
            memory, or a quarter of the free disk space if that is less.
        workers: Loader processes per trial, for data above the memory budget.
        download: Let timm download the data set.
    """

    source: Annotated[str, Field(min_length=1)] = DIGITS
    root: str | None = None
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    crop_ratio: CropRatio | None = None
    interpolation: Interpolation | None = None
    channels: Annotated[int, Field(ge=1, le=3)] | None = None
    bad_images: Literal["fail", "skip"] = "fail"
    validation_fraction: Fraction = 0.2
    test_fraction: Fraction = 0.2
    split_seed: NonNegativeInt = 0
    max_train_images: PositiveInt | None = None
    max_validation_images: PositiveInt | None = None
    memory_budget_mib: PositiveInt | None = None
    workers: NonNegativeInt = 2
    download: bool = False

    @field_validator("channels")
    @classmethod
    def _grey_or_rgb(cls, value: int | None) -> int | None:
        if value == 2:
            raise ValueError("must be 1 (grey) or 3 (RGB)")
        return value


class Augmentation(Record):
    """Strength of the augmentations besides shifts and flips; all are off by default.

    Each strength is drawn uniformly from its range, per image and view.

    Attributes:
        rotate_degrees: Largest rotation in either direction, degrees, 0 to 180.
        scale: Largest change of scale, a share from 0 to 0.9; 0.2 draws factors from 0.8 to 1.2.
        shear_degrees: Largest horizontal shear in either direction, degrees, 0 to 60.
        brightness: Largest change of brightness, 0 to 1; 0.4 draws factors from 0.6 to 1.4, as in torchvision's
            ColorJitter.
        contrast: Largest change of contrast, 0 to 1, around the image's mean grey value.
        saturation: Largest change of saturation, 0 to 1, around each pixel's grey value; no effect on grey images.
        hue: Largest rotation of colours about the grey axis in either direction, a share from 0 to 0.5 of a full turn;
            no effect on grey images.
        crop_aspect: Largest aspect ratio of the random resized crop, width to height or height to width, 1 to 4.
        strength: Strength of random operations like those of RandAugment (Cubuk et al. 2020, arXiv 1909.13719), 0 to 1:
            at 1, rotation by 30 degrees, shear by 0.3, shifts by 0.45 of the side, changes of brightness, contrast and
            saturation by 0.9, posterising to 4 bits, solarising and stretched contrast. 0 turns them off; 0.3 is mild.
        operations: Number of times that each view draws one of these operations, 1 to 5.
        mix_alpha: Parameter of the distribution Beta(mix_alpha, mix_alpha) from which an image's share of its mixture
            is drawn, in recipes that mix images (`recipe.mix`).
        mix_share: Share of the images that are mixed, above 0, at most 1.
    """

    rotate_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    scale: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    shear_degrees: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    crop_aspect: Annotated[float, Field(ge=1.0, le=4.0)] = 1.33
    strength: Share = 0.0
    operations: Annotated[int, Field(ge=1, le=5)] = 2
    mix_alpha: PositiveFloat = 1.0
    mix_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class ViewsConfig(Augmentation):
    """Deterministic augmentation, shared by teacher and students: each image has a fixed set of views.

    Attributes:
        count: Views per image. Default: a third of the epochs, rounded up to a multiple of 8, and at most the epochs.
        min_crop_area: Smallest area of the random resized crop, a share of the image from 0.05 to 1; 1 turns it off.
            Default: 0.5 for images of 64 pixels or more, unless `crop_padding` is given; otherwise 1.
        crop_padding: Largest shift of the random crop, pixels. Default: 0 with a random resized crop, otherwise an
            eighth of the image size.
        flip: Flip half of the views horizontally. Default: RGB images only, because flipped letters and digits are
            wrong.
        seed: Random seed of the views. It is separate from `seed`, so that searches share the teacher's stored outputs.
        mixes: Additional ways of mixing images that searched recipes may choose besides `recipe.mix`. The teacher's
            outputs are stored for each.
    """

    count: PositiveInt | None = None
    min_crop_area: CropArea | None = None
    crop_padding: NonNegativeInt | None = None
    flip: bool | None = None
    seed: NonNegativeInt = 0
    mixes: tuple[Mix, ...] = Field(default=(), examples=[("none", "mixup")])

"""The images, and what is done to them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from nas_distill.records.base import Record, Share
from nas_distill.records.recipe import Mix

FOLDER = "folder:"
"""Begins a data source that is a folder of images."""

Fraction = Annotated[float, Field(gt=0.0, lt=1.0)]


class DataConfig(Record):
    """The images.

    Attributes:
        source: `digits` (embedded), `folder:PATH` (one folder per class, or train/, val/ and test/ of them), or a
            name of timm's `create_dataset` (`torch/cifar10`, `hfds/...`).
        root: Folder in which timm's data sets are looked for.
        image_size: Height and width in pixels to which images are brought; by default their own, if all agree.
        channels: 1 (grey) or 3 (RGB); by default as the images are.
        validation_fraction: Share of the training images held out when there is no validation split.
        test_fraction: Share of all images set aside when there is no test split.
        split_seed: Seed of the splits; apart from the search's, so that all searches see the same splits.
        max_train_images: Stratified cap on the training split; none by default.
        max_validation_images: Stratified cap on the validation split; none by default.
        memory_budget_mib: Training and validation images that take up to this decoded are decoded once, kept in the
            run directory as uint8 and memory-mapped, so that all trials of a machine share them through its page
            cache; larger data are decoded by loader workers at every epoch. By default half of the memory, or a
            quarter of the free disk if that is less. An image takes channels x height x width bytes: 50,000 of
            3x224x224 are 7,200 MiB.
        workers: Loader processes per trial, for data over the memory budget.
        download: Let timm's data set fetch its files.
    """

    source: Annotated[str, Field(min_length=1)] = "digits"
    root: str | None = None
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    channels: Annotated[int, Field(ge=1, le=3)] | None = None
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
    """What views may do besides shifting and mirroring; by default nothing.

    Every strength is drawn evenly from its range, per image and view.

    Attributes:
        rotate_degrees: Largest rotation either way.
        scale: Largest share by which an image is enlarged or shrunk; 0.2 draws from 0.8 to 1.2.
        shear_degrees: Largest shear along the rows, either way.
        brightness: Largest change of the brightness factor: 0.4 draws from 0.6 to 1.4, as torchvision's ColorJitter.
        contrast: Likewise, about the image's mean grey.
        saturation: Likewise, about each pixel's grey; without effect on grey images.
        mix_alpha: Where a recipe mixes images (`recipe.mix`): the image's own share is drawn from
            Beta(mix_alpha, mix_alpha).
        mix_share: Share of the images that are mixed there.
    """

    rotate_degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    scale: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    shear_degrees: Annotated[float, Field(ge=0.0, le=60.0)] = 0.0
    brightness: Share = 0.0
    contrast: Share = 0.0
    saturation: Share = 0.0
    mix_alpha: PositiveFloat = 1.0
    mix_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0


class ViewsConfig(Augmentation):
    """Deterministic augmentation, shared by teacher and students.

    Attributes:
        count: Views per image; by default min(epochs, epochs/3 rounded up to a multiple of 8).
        crop_padding: Largest shift of the random crop, pixels; by default an eighth of the image size.
        flip: Mirror half of the views; by default for RGB images only (letters and digits do not mirror).
        seed: Seed of the views; apart from the search's, so that all searches share the teacher's answers.
        mixes: Ways of mixing images that recipes of a searched space may choose besides `recipe.mix`. The teacher is
            asked about each, and its answers stored.
    """

    count: PositiveInt | None = None
    crop_padding: NonNegativeInt | None = None
    flip: bool | None = None
    seed: NonNegativeInt = 0
    mixes: tuple[Mix, ...] = Field(default=(), examples=[("none", "mixup")])

"""`ViewPlan`: the augmentation settings of a search, resolved once for the data at hand."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeInt, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from nas_distill.config import Augmentation, CropArea, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import ConfigError
from nas_distill.records.recipe import Mix

_MIXING_FIELDS = ("mix_alpha", "mix_share")
_COLOUR_FIELDS = ("saturation", "hue")
_PHOTO_SIZE = 64
"""Smallest image size, pixels, that gets a random resized crop by default."""
_PHOTO_CROP_AREA = 0.5


class ViewPlan(Augmentation):
    """How views are rendered; equal plans render equal pixels.

    Augmentations that are off are left out of the JSON and thus of the digest, so adding a new kind of augmentation
    does not change the digests of existing plans.

    Attributes:
        count: Number of views per image; views are numbered from 0.
        crop_padding: Largest shift in each direction, pixels; uncovered pixels are black.
        flip: Whether half of the views are flipped horizontally.
        seed: Seed of all random decisions.
        min_crop_area: Smallest area of the random resized crop, share of the image; 1 for none.
        mix: How images are mixed with partner images.
    """

    count: PositiveInt
    crop_padding: NonNegativeInt
    flip: bool
    seed: NonNegativeInt
    min_crop_area: CropArea = 1.0
    mix: Mix = "none"

    @model_serializer(mode="wrap")
    def _omit_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: field.default for name, field in Augmentation.model_fields.items()}
        defaults |= {"mix": "none", "min_crop_area": 1.0}
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    @property
    def is_resized_crop(self) -> bool:
        """Whether parts of images are cropped and enlarged."""
        return self.min_crop_area < 1

    @property
    def is_warped(self) -> bool:
        """Whether images are interpolated: rotated, zoomed, sheared, or cropped and enlarged."""
        strengths = (self.rotate_degrees, self.scale, self.shear_degrees, self.strength)
        return self.is_resized_crop or any(strength > 0 for strength in strengths)

    @property
    def is_axis_aligned(self) -> bool:
        """Whether rows stay rows and columns stay columns: no rotation and no shear."""
        return self.rotate_degrees == self.shear_degrees == self.strength == 0

    @property
    def is_recoloured(self) -> bool:
        """Whether colours change."""
        strengths = (self.brightness, self.contrast, self.saturation, self.hue, self.strength)
        return any(strength > 0 for strength in strengths)

    @property
    def is_mixed(self) -> bool:
        """Whether images are mixed with partners; targets are then class shares instead of labels."""
        return self.mix != "none"

    @property
    def is_identity(self) -> bool:
        """Whether a view is the unchanged image, apart from mixing."""
        return self.crop_padding == 0 and not (self.flip or self.is_warped or self.is_recoloured)


def plan_views(
    config: ViewsConfig, manifest: DataManifest, *, epochs: int, online: bool, mix: Mix = "none"
) -> ViewPlan:
    """Return the plan for `config`, with defaults that suit the data and the length of the training.

    Args:
        config: Augmentation settings of the user.
        manifest: Description of the images.
        epochs: Number of epochs of a full training. Epoch e uses view e modulo the number of views.
        online: Whether the teacher runs at every step. Views then take no storage, so each epoch has its own view by
            default.
        mix: How the recipe mixes images.

    Raises:
        ConfigError: The crop padding is not below the image size.
    """
    crop_area = config.min_crop_area
    if crop_area is None:
        is_photo = manifest.image_size >= _PHOTO_SIZE and config.crop_padding is None
        crop_area = _PHOTO_CROP_AREA if is_photo else 1.0
    default_padding = manifest.image_size // 8 if crop_area == 1 else 0
    padding = default_padding if config.crop_padding is None else config.crop_padding
    if padding >= manifest.image_size:
        raise ConfigError(
            f"{padding} can shift images of {manifest.image_size} pixels out of sight; use at most "
            f"{manifest.image_size - 1}",
            code="data.views_padding_too_large",
            field="views.crop_padding",
        )
    stored_count = min(epochs, 8 * -(-epochs // 24))
    # Settings without effect keep their defaults, so that plans that render equal pixels are equal.
    unused = {
        *(() if manifest.channels == 3 else _COLOUR_FIELDS),
        *(_MIXING_FIELDS if mix == "none" else ()),
        *(("crop_aspect",) if crop_area == 1 else ()),
        *(("operations",) if config.strength == 0 else ()),
    }
    augmentation = {name: getattr(config, name) for name in Augmentation.model_fields if name not in unused}
    return ViewPlan(
        count=config.count or (epochs if online else stored_count),
        crop_padding=padding,
        flip=manifest.channels == 3 if config.flip is None else config.flip,
        seed=config.seed,
        min_crop_area=crop_area,
        mix=mix,
        **augmentation,
    )

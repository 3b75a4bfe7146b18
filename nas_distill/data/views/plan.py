"""`ViewPlan`: the augmentation settings of a search, resolved once for the data at hand."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeInt, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from nas_distill.config import Augmentation, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import ConfigError
from nas_distill.records.recipe import Mix

_MIXING_FIELDS = ("mix_alpha", "mix_share")


class ViewPlan(Augmentation):
    """How views are rendered; equal plans render equal pixels.

    Augmentations that are off are left out of the JSON and thus of the digest, so adding a new kind of augmentation
    does not change the digests of existing plans.

    Attributes:
        count: Number of views per image; views are numbered from 0.
        crop_padding: Largest shift in each direction, pixels; uncovered pixels are black.
        flip: Whether half of the views are flipped horizontally.
        seed: Seed of all random decisions.
        mix: How images are mixed with partner images.
    """

    count: PositiveInt
    crop_padding: NonNegativeInt
    flip: bool
    seed: NonNegativeInt
    mix: Mix = "none"

    @model_serializer(mode="wrap")
    def _omit_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: field.default for name, field in Augmentation.model_fields.items()} | {"mix": "none"}
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    @property
    def is_warped(self) -> bool:
        """Whether images are rotated, zoomed or sheared."""
        return self.rotate_degrees > 0 or self.scale > 0 or self.shear_degrees > 0

    @property
    def is_recoloured(self) -> bool:
        """Whether brightness, contrast or saturation change."""
        return self.brightness > 0 or self.contrast > 0 or self.saturation > 0

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
    padding = manifest.image_size // 8 if config.crop_padding is None else config.crop_padding
    if padding >= manifest.image_size:
        raise ConfigError(
            f"{padding} can shift images of {manifest.image_size} pixels out of sight; use at most "
            f"{manifest.image_size - 1}",
            code="data.views_padding_too_large",
            field="views.crop_padding",
        )
    stored_count = min(epochs, 8 * -(-epochs // 24))
    # Settings without effect keep their defaults, so that plans that render equal pixels are equal.
    unused = {*(() if manifest.channels == 3 else ("saturation",)), *(_MIXING_FIELDS if mix == "none" else ())}
    augmentation = {name: getattr(config, name) for name in Augmentation.model_fields if name not in unused}
    return ViewPlan(
        count=config.count or (epochs if online else stored_count),
        crop_padding=padding,
        flip=manifest.channels == 3 if config.flip is None else config.flip,
        seed=config.seed,
        mix=mix,
        **augmentation,
    )

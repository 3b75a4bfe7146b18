"""`ViewPlan`: how views are made, decided once per search."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeInt, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from nas_distill.config import Augmentation, ViewsConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.errors import ConfigError
from nas_distill.records.recipe import Mix

_MIXING = ("mix_alpha", "mix_share")


class ViewPlan(Augmentation):
    """How views are made; equal plans make equal pixels.

    An augmentation that is off is left out of the JSON, and so of the digest: plans keep theirs when a new kind of
    augmentation comes into being.

    Attributes:
        count: Views per image, numbered from 0.
        crop_padding: Largest shift in each direction, pixels; what is shifted in is black.
        flip: Mirror half of the views, left to right.
        seed: Of everything that is drawn.
        mix: How images are mixed with partners.
    """

    count: PositiveInt
    crop_padding: NonNegativeInt
    flip: bool
    seed: NonNegativeInt
    mix: Mix = "none"

    @model_serializer(mode="wrap")
    def _without_what_is_off(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        defaults = {name: field.default for name, field in Augmentation.model_fields.items()} | {"mix": "none"}
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    @property
    def warps(self) -> bool:
        """Whether images are rotated, zoomed or sheared."""
        return self.rotate_degrees > 0 or self.scale > 0 or self.shear_degrees > 0

    @property
    def recolours(self) -> bool:
        """Whether brightness, contrast or saturation change."""
        return self.brightness > 0 or self.contrast > 0 or self.saturation > 0

    @property
    def mixes(self) -> bool:
        """Whether images are mixed with partners; targets are then class shares, not labels."""
        return self.mix != "none"

    @property
    def is_identity(self) -> bool:
        """Whether a view is the image itself, but for mixing."""
        return self.crop_padding == 0 and not (self.flip or self.warps or self.recolours)


def plan_views(
    config: ViewsConfig, manifest: DataManifest, *, epochs: int, online: bool, mix: Mix = "none"
) -> ViewPlan:
    """Returns the plan of `config`, with the defaults that suit the data and the length of the training.

    Args:
        config: What the user asked for.
        manifest: The images.
        epochs: Full fidelity; training uses one view per epoch, round robin.
        online: Whether the teacher is asked at every step; views then cost nothing to keep, so that each
            epoch gets its own by default.
        mix: The recipe's way of mixing images.

    Raises:
        ConfigError: The padding is not below the image size.
    """
    padding = manifest.image_size // 8 if config.crop_padding is None else config.crop_padding
    if padding >= manifest.image_size:
        raise ConfigError(
            f"views.crop_padding: {padding} can shift images of {manifest.image_size} pixels out of sight; "
            f"give at most {manifest.image_size - 1}"
        )
    shared = min(epochs, 8 * -(-epochs // 24))
    # What has no effect is left at its default, so that plans that make equal pixels are equal.
    idle = {*(() if manifest.channels == 3 else ("saturation",)), *(_MIXING if mix == "none" else ())}
    asked = {name: getattr(config, name) for name in Augmentation.model_fields if name not in idle}
    return ViewPlan(
        count=config.count or (epochs if online else shared),
        crop_padding=padding,
        flip=manifest.channels == 3 if config.flip is None else config.flip,
        seed=config.seed,
        mix=mix,
        **asked,
    )

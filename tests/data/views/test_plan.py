"""Defaults, JSON and digests of view plans."""

from __future__ import annotations

import json

import pytest

from nas_distill.config import Augmentation, ViewsConfig
from nas_distill.data.views.plan import ViewPlan, plan_views
from nas_distill.errors import ConfigError
from tests.data.factory import EVERYTHING, make_manifest, make_plan


@pytest.mark.parametrize(
    ("epochs", "online", "count"),
    [(1, False, 1), (12, False, 8), (24, False, 8), (25, False, 16), (99, False, 40), (9, True, 9)],
)  # fmt: skip
def test_the_default_number_of_views(epochs: int, online: bool, count: int) -> None:
    assert plan_views(ViewsConfig(), make_manifest(), epochs=epochs, online=online).count == count


def test_an_explicit_number_of_views_applies_online_too() -> None:
    assert plan_views(ViewsConfig(count=5), make_manifest(), epochs=100, online=True).count == 5


def test_defaults_follow_the_images() -> None:
    colour = plan_views(ViewsConfig(), make_manifest(image_size=32), epochs=1, online=False)
    grey = plan_views(ViewsConfig(), make_manifest(image_size=8, channels=1), epochs=1, online=False)
    assert (colour.crop_padding, colour.flip) == (4, True)
    assert (grey.crop_padding, grey.flip) == (1, False)
    requested = plan_views(ViewsConfig(crop_padding=0, flip=True), make_manifest(channels=1), epochs=1, online=False)
    assert (requested.crop_padding, requested.flip) == (0, True)
    assert not any((colour.is_warped, colour.is_recoloured, colour.is_mixed, colour.is_identity))
    assert plan_views(ViewsConfig(crop_padding=0, flip=False), make_manifest(), epochs=1, online=False).is_identity


def test_photos_get_a_resized_crop_by_default() -> None:
    def shape(config: ViewsConfig, size: int) -> tuple[float, int]:
        plan = plan_views(config, make_manifest(image_size=size), epochs=1, online=False)
        assert plan.is_warped == (plan.min_crop_area < 1)
        return plan.min_crop_area, plan.crop_padding

    assert [shape(ViewsConfig(), size) for size in (63, 64, 224)] == [(1.0, 7), (0.5, 0), (0.5, 0)]
    assert shape(ViewsConfig(crop_padding=3), 224) == (1.0, 3)
    assert shape(ViewsConfig(min_crop_area=1.0), 224) == (1.0, 28)
    assert shape(ViewsConfig(min_crop_area=0.2), 32) == (0.2, 0)
    assert shape(ViewsConfig(min_crop_area=0.2, crop_padding=2), 32) == (0.2, 2)


def test_padding_as_large_as_the_image_is_rejected() -> None:
    assert plan_views(ViewsConfig(crop_padding=31), make_manifest(), epochs=1, online=False).crop_padding == 31
    with pytest.raises(ConfigError) as caught:
        plan_views(ViewsConfig(crop_padding=32), make_manifest(), epochs=1, online=False)
    assert (caught.value.code, caught.value.field) == ("data.views_padding_too_large", "views.crop_padding")


def test_a_plan_takes_over_the_augmentation_settings() -> None:
    requested = {name: getattr(EVERYTHING, name) for name in Augmentation.model_fields}
    requested |= {"mix_alpha": 0.4, "strength": 0.3, "operations": 3, "crop_aspect": 2.0, "hue": 0.1}
    config = ViewsConfig(**requested, min_crop_area=0.3)
    plan = plan_views(config, make_manifest(), epochs=1, online=False, mix="mixup")
    assert plan.min_crop_area == 0.3
    assert {name: getattr(plan, name) for name in Augmentation.model_fields} == requested
    assert plan.is_warped
    assert plan.is_recoloured
    assert plan.is_mixed


def test_settings_without_effect_do_not_change_the_plan() -> None:
    config = ViewsConfig(saturation=0.5, hue=0.1, mix_alpha=0.3, mix_share=0.5, crop_aspect=2.0, operations=4)
    grey = make_manifest(channels=1)
    plain = plan_views(ViewsConfig(), grey, epochs=1, online=False)
    assert plan_views(config, grey, epochs=1, online=False) == plain
    assert plan_views(config, make_manifest(), epochs=1, online=False) != plain


def test_new_kinds_of_augmentation_do_not_change_existing_digests() -> None:
    text = '{"count":8,"crop_padding":4,"flip":true,"seed":0}'
    plan = ViewPlan.model_validate_json(text)
    assert plan == make_plan(crop_padding=4, seed=0)
    assert plan.canonical_json() == text
    assert plan.digest() == "b2b7e3368845"


def test_the_json_of_a_plan_lists_only_what_is_on() -> None:
    assert ViewPlan.model_validate_json(EVERYTHING.model_dump_json()) == EVERYTHING
    assert set(json.loads(EVERYTHING.canonical_json())) == {
        "count", "crop_padding", "flip", "seed", "rotate_degrees", "scale", "shear_degrees", "brightness", "contrast",
        "saturation", "mix",
    }  # fmt: skip
    assert len({make_plan(**changes).digest() for changes in ({}, {"mix": "mixup"}, {"scale": 0.1})}) == 3

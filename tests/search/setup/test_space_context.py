"""What a search tells its space, and what it refuses before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch

from nas_distill.config import LOCAL_DIR, DataConfig, SpaceConfig, TeacherConfig
from nas_distill.errors import SpaceError, TeacherError
from nas_distill.models.costs.cost import measure_module_cost
from nas_distill.records import Recipe
from nas_distill.records.network_shape import NetworkShape
from nas_distill.search.samplers.space_sampling import sample_space
from nas_distill.search.setup.drop_rates import explain_ignored_rates
from nas_distill.search.setup.space_context import check_space, expect_space, plan_space, setup_space
from nas_distill.search.setup.teacher_shape import describe_teacher
from nas_distill.search.spaces.loading import load_space
from tests.data.files import write_class_folders
from tests.helpers import SmallRun, make_space_context

PHOTOS = NetworkShape(num_classes=10, channels=3, image_size=64)


def space_error(name: str, **changes: object) -> SpaceError:
    with pytest.raises(SpaceError) as caught:
        check_space(load_space(name), make_space_context(**changes))  # type: ignore[arg-type]
    assert caught.value.field == "space.name"
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_space_is_refused_for_images_outside_its_range(tmp_path: Path) -> None:
    for size in (7, 33):
        error = space_error("tiny", image_size=size)
        assert error.code == "space.image_size"
        assert "8 to 32" in str(error)
    assert "resnet" in str(space_error("tiny", image_size=33))
    for size in (8, 32):
        check_space(load_space("tiny"), make_space_context(image_size=size))
    own = tmp_path / "own.py"
    own.write_text(load_space("tiny").source_path.read_text().replace("INFO =", "_INFO ="))
    check_space(load_space(str(own)), make_space_context(image_size=96))


def test_a_teacher_of_unknown_arguments_is_refused_by_the_space_that_needs_them_only() -> None:
    context = plan_space(TeacherConfig(model="vgg11"), SpaceConfig(), PHOTOS).context
    assert context.teacher.arguments == {}
    with pytest.raises(SpaceError) as caught:
        check_space(load_space("teacher"), context)
    assert caught.value.code == "space.misfit"
    assert "vgg11" in str(caught.value)
    check_space(load_space("auto"), context)
    assert all(spec.family != "teacher" for spec in sample_space(load_space("auto"), 20, 0, context))


@pytest.mark.parametrize(
    ("model", "arguments", "known"),
    [
        ("resnet18", {}, {"layers": (2, 2, 2, 2), "channels": (64, 128, 256, 512)}),
        ("resnet18", {"channels": (8, 8, 16, 16)}, {"layers": (2, 2, 2, 2), "channels": (8, 8, 16, 16)}),
        ("regnety_002", {}, {"depth": 13, "w0": 24}),
        ("vit_tiny_patch16_224", {"img_size": 64}, {"embed_dim": 192, "depth": 12, "num_heads": 3, "img_size": 64}),
        ("small_resnet", {"widths": (8, 16), "depths": (1, 1)}, {"widths": (8, 16), "depths": (1, 1)}),
    ],
)
def test_widths_and_depths_of_a_teacher_are_found(
    model: str, arguments: dict[str, object], known: dict[str, object]
) -> None:
    found = describe_teacher(TeacherConfig(model=model, arguments=arguments), PHOTOS).shape
    assert known.items() <= found.arguments.items()
    with torch.device("meta"):
        network = timm.create_model(model, num_classes=10, **arguments)
    assert found.num_params == sum(one.numel() for one in network.parameters())


def test_the_teachers_cost_is_that_for_images_of_the_searchs_size() -> None:
    described = describe_teacher(TeacherConfig(model="resnet18"), PHOTOS)
    with torch.device("meta"):
        network = timm.create_model("resnet18", num_classes=10)
    assert described.shape.image_size == 224
    assert described.shape.macs == measure_module_cost(network, channels=3, image_size=64).macs
    setup = plan_space(TeacherConfig(model="resnet18"), SpaceConfig(max_macs="25%", max_size_bytes="1%"), PHOTOS)
    assert setup.context.max_macs == setup.limits.max_macs == described.shape.macs // 4
    assert setup.context.max_params == described.cost.size_bytes // 100 // 4


def test_the_headers_of_images_tell_the_same_as_the_prepared_search(small_run: SmallRun, tmp_path: Path) -> None:
    teacher = TeacherConfig(model=f"{LOCAL_DIR}{small_run.run.teacher}")
    shape = NetworkShape(num_classes=10, channels=1, image_size=8)
    expected = expect_space(small_run.data, teacher, SpaceConfig())
    assert expected == setup_space(small_run.run, SpaceConfig(), shape)
    assert expected.context.teacher.num_params == small_run.run.read_teacher().cost.num_params
    write_class_folders(tmp_path / "pictures", {"cat": 3, "dog": 3})
    found = expect_space(
        DataConfig(source=f"folder:{tmp_path / 'pictures'}", image_size=40),
        TeacherConfig(model="resnet18"),
        SpaceConfig(),
    )
    assert (found.context.image_size, found.context.num_classes) == (40, 2)


def test_a_damaged_configuration_of_a_teacher_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]", json.dumps({"model_args": {}})):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(TeacherError) as caught:
            describe_teacher(TeacherConfig(model=f"{LOCAL_DIR}{tmp_path}"), PHOTOS)
        assert (caught.value.code, caught.value.field) == ("models.teacher_not_loadable", "teacher.model")


def test_families_that_ignore_a_rate_of_the_recipe_are_named() -> None:
    context, recipe = make_space_context(channels=3, image_size=32), Recipe(dropout=0.1, drop_path=0.1)

    def lines(name: str, used: Recipe) -> list[str]:
        return list(explain_ignored_rates(load_space(name), context, used, seed=0))

    (line,) = lines("ghostnet", recipe)
    assert line.startswith("recipe.drop_path ")
    assert "ghostnet" in line
    assert lines("ghostnet", Recipe()) == []
    assert lines("convnext", recipe) == []

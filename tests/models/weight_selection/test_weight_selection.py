"""Students that are cut out of their teacher: what is copied, what fits, and what the options change."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from nas_distill.models.weight_selection import (
    CutImages,
    CutOptions,
    MisfitError,
    initialise_from_teacher,
    read_layout,
    selection_misfit,
    student_layout,
)
from nas_distill.models.weight_selection.batch_norm import recompute_batch_norm
from nas_distill.models.weight_selection.indices import uniform_indices
from nas_distill.records import StudentSpec

SIZE = 32
RESNET = {"channels": (16, 24, 32, 48), "layers": (1, 2, 2, 1), "stem_width": 16}
RESNEXT = {"channels": (16, 24, 32, 48), "layers": (1, 2, 1, 1), "cardinality": 4, "base_width": 32}
REGNET = {"w0": 24, "wa": 24, "wm": 2.5, "depth": 10, "group_size": 8}
CONVNEXT = {"depths": (1, 2, 2, 1), "dims": (16, 24, 32, 48), "patch_size": 4}
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 4}
SWIN = {
    "img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4),
}  # fmt: skip
BOTTLENECK = {"widths": (8, 16), "depths": (1, 3), "block": "bottleneck"}

Pair = tuple[str, dict[str, Any], dict[str, Any]]
PAIRS: dict[str, Pair] = {
    "small_resnet, narrower": ("small_resnet", BOTTLENECK, {"widths": (5, 16)}),
    "small_resnet, shallower": ("small_resnet", BOTTLENECK, {"depths": (1, 2)}),
    "resnet, narrower": ("resnet18", RESNET, {"channels": (8, 16, 24, 32), "stem_width": 8}),
    "resnet, shallower": ("resnet18", RESNET, {"layers": (1, 1, 1, 1)}),
    "resnext, fewer groups": ("resnext50_32x4d", RESNEXT, {"cardinality": 2}),
    "resnetv2, both": ("resnetv2_18", {"channels": (16, 24, 32, 48), "layers": (1, 2, 1, 1)},
                       {"channels": (8, 16, 24, 32), "layers": (1, 1, 1, 1)}),
    "regnet, narrower": ("regnety_002", REGNET, {"w0": 8, "wa": 8}),
    "efficientnet, narrower": ("test_efficientnet", {"channel_multiplier": 2.0}, {"channel_multiplier": 1.0}),
    "convnext, both, other patches": ("convnext_atto", CONVNEXT, {"depths": (1, 1, 2, 1), "dims": (8, 24, 24, 40),
                                                                "patch_size": 2}),
    "vit, both, other patches": ("vit_tiny_patch16_224", VIT, {"patch_size": 4, "embed_dim": 24, "depth": 2,
                                                             "num_heads": 2}),
    "vit, narrower heads": ("vit_tiny_patch16_224", VIT, {"embed_dim": 24}),
    "vit, more heads": ("vit_tiny_patch16_224", VIT, {"embed_dim": 40, "num_heads": 5}),
    "swin, both, other window": ("swin_tiny_patch4_window7_224", SWIN, {"window_size": 2, "embed_dim": 8,
                                                                       "depths": (1, 2), "num_heads": (1, 2)}),
}  # fmt: skip
OPTIONS = (
    CutOptions(layers="even", dropped_inputs="ignore", recompute_batch_norm=False),
    CutOptions(layers="first", dropped_inputs="rescale", recompute_batch_norm=True),
    CutOptions(layers="even", dropped_inputs="reconstruct", recompute_batch_norm=True),
    CutOptions(channels="norm", dropped_inputs="ignore", recompute_batch_norm=False),
)
PLAIN = CutOptions(layers="first", dropped_inputs="ignore", recompute_batch_norm=False)


def network(architecture: str, arguments: dict[str, Any], *, seed: int = 0, **more: Any) -> nn.Module:
    """Return a network in eval mode whose BatchNorm statistics come from images."""
    torch.manual_seed(seed)
    made: nn.Module = timm.create_model(architecture, **{"num_classes": 3, **arguments, **more})
    with torch.no_grad():
        made.train()(pictures(channels=int(more.get("in_chans", 3))))
    return made.eval()


def pictures(count: int = 8, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def cut(student: nn.Module, teacher: nn.Module, options: CutOptions = PLAIN) -> frozenset[str]:
    images = CutImages(student=pictures(), teacher=pictures()) if options.need_images else None
    return initialise_from_teacher(student, teacher, options=options, images=images)


def share(student: nn.Module, copied: frozenset[str]) -> float:
    sizes = {name: parameter.numel() for name, parameter in student.named_parameters()}
    return sum(size for name, size in sizes.items() if name in copied) / sum(sizes.values())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_smaller_student_takes_over_most_of_its_parameters_and_predicts(pair: Pair) -> None:
    architecture, arguments, changes = pair
    teacher = network(architecture, arguments)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    for options in OPTIONS:
        student = network(architecture, {**arguments, **changes}, seed=1)
        assert selection_misfit(read_layout(student), read_layout(teacher), options) is None
        copied = cut(student, teacher, options)
        assert copied <= student.state_dict().keys()
        assert 0.9 < share(student, copied) <= 1
        with torch.no_grad():
            assert torch.isfinite(student(pictures())).all()
        assert not student.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_a_larger_student_does_not_fit(pair: Pair) -> None:
    architecture, arguments, changes = pair
    student, teacher = network(architecture, arguments), network(architecture, {**arguments, **changes})
    misfit = selection_misfit(read_layout(student), read_layout(teacher))
    assert misfit is not None
    assert len(misfit.splitlines()) == 1
    with pytest.raises(MisfitError) as caught:
        cut(student, teacher)
    assert str(caught.value) == misfit


@pytest.mark.parametrize("architecture", sorted({pair[0] for pair in PAIRS.values()}))
def test_a_student_of_the_teachers_shape_has_the_teachers_exact_outputs(architecture: str) -> None:
    arguments = next(pair[1] for pair in PAIRS.values() if pair[0] == architecture)
    teacher = network(architecture, arguments)
    for options in (PLAIN, CutOptions(), CutOptions(layers="even", channels="norm")):
        student = network(architecture, arguments, seed=1)
        assert cut(student, teacher, options) == student.state_dict().keys()
        with torch.no_grad():
            assert torch.equal(student(pictures()), teacher(pictures()))


def test_the_misfit_names_the_first_tensor_or_stage_and_both_sizes() -> None:
    teacher = read_layout(network("small_resnet", {"widths": (8, 16), "depths": (2, 2)}))

    def misfit(architecture: str = "small_resnet", **arguments: Any) -> str:
        with torch.device("meta"):
            found = selection_misfit(read_layout(timm.create_model(architecture, num_classes=3, **arguments)), teacher)
        assert found is not None
        return found

    assert misfit(widths=(8, 24), depths=(1, 1)) == (
        "stages.1.0.conv1.weight is 24x8x3x3 in the student and 16x8x3x3 in the teacher"
    )
    assert misfit(widths=(8, 16), depths=(2, 3)) == "the student has 3 blocks stages.1.*, the teacher 2"
    assert misfit(widths=(8, 8, 8), depths=(1, 1, 1)) == "the student has 1 blocks stages.2.*, the teacher 0"
    assert "stages.0.0.conv1.weight" in misfit(widths=(2, 4), depths=(1, 1), block="bottleneck")
    assert misfit("test_vit") == "the student is a VisionTransformer and the teacher a SmallResNet"


def test_legality_allocates_no_weights_and_is_cached() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (8, 16), "depths": (2, 2)})
    layouts = [student_layout(spec, num_classes=3, channels=1, image_size=16) for _ in range(2)]
    assert layouts[0] is layouts[1]
    teacher = network("small_resnet", {"widths": (8, 16), "depths": (2, 2)}, in_chans=1)
    assert selection_misfit(layouts[0], read_layout(teacher)) is None
    assert layouts[0] == read_layout(teacher)


def test_uniform_indices_are_even_and_treat_concatenated_parts_alike() -> None:
    assert uniform_indices((4,), (10,)).tolist() == [0, 2, 5, 7]
    assert uniform_indices((8,), (20,)).tolist() == [0, 2, 5, 7, 10, 12, 15, 17]
    assert uniform_indices((2, 2), (4, 3)).tolist() == [0, 1, 6, 7], "whole heads, and channels within each"
    assert uniform_indices((5,), (5,)).tolist() == list(range(5))


def test_whole_heads_are_taken_over_where_their_size_is_equal() -> None:
    teacher = network("vit_tiny_patch16_224", VIT)
    student = network("vit_tiny_patch16_224", {**VIT, "embed_dim": 24, "num_heads": 2}, seed=1)
    cut(student, teacher)
    given, own = teacher.state_dict(), student.state_dict()
    heads = given["blocks.0.attn.qkv.bias"].view(3, 4, 12)[:, [0, 2]]
    assert torch.equal(own["blocks.0.attn.qkv.bias"].view(3, 2, 12), heads)
    columns = given["blocks.0.attn.proj.weight"][::2].view(24, 4, 12)[:, [0, 2]]
    assert torch.equal(own["blocks.0.attn.proj.weight"].view(24, 2, 12), columns)


def test_whole_groups_keep_their_inputs_and_outputs_together() -> None:
    teacher = network("resnext50_32x4d", RESNEXT)
    student = network("resnext50_32x4d", {**RESNEXT, "cardinality": 2}, seed=1)
    cut(student, teacher)
    given, own = teacher.state_dict(), student.state_dict()
    width = own["layer1.0.conv2.weight"].shape[0] // 2
    kept = torch.cat([torch.arange(width), torch.arange(width) + 2 * width])
    for name, axis in (("conv1.weight", 0), ("conv2.weight", 0), ("bn2.weight", 0), ("conv3.weight", 1)):
        expected = given[f"layer1.0.{name}"].index_select(axis, kept)
        assert torch.equal(own[f"layer1.0.{name}"], expected), name


def test_evenly_spread_blocks_end_with_the_teachers_last() -> None:
    arguments = {"widths": (4,), "depths": (5,)}
    teacher = network("small_resnet", arguments)
    for layers, expected in (("first", (0, 1, 2)), ("even", (0, 2, 4))):
        student = network("small_resnet", {**arguments, "depths": (3,)}, seed=1)
        cut(student, teacher, PLAIN.model_copy(update={"layers": layers}))
        for own, other in enumerate(expected):
            assert torch.equal(
                student.state_dict()[f"stages.0.{own}.conv1.weight"],
                teacher.state_dict()[f"stages.0.{other}.conv1.weight"],
            )


def test_the_classifier_stays_random_after_fewer_stages_or_for_other_classes() -> None:
    arguments = {"widths": (4, 8, 8), "depths": (1, 1, 1)}
    teacher = network("small_resnet", arguments)
    for changes in ({"widths": (4, 8), "depths": (1, 1)}, {"num_classes": 5}):
        student = network("small_resnet", {**arguments, **changes}, seed=1)
        before = student.state_dict()["fc.weight"].clone()
        copied = cut(student, teacher)
        assert torch.equal(student.state_dict()["fc.weight"], before)
        assert student.state_dict().keys() - copied == {"fc.weight", "fc.bias"}


def test_a_shortcut_that_the_teacher_lacks_stays_random() -> None:
    teacher = network("resnet18", {**RESNET, "channels": (64, 24, 32, 48)})
    student = network("resnet18", {**RESNET, "channels": (8, 16, 24, 32)}, seed=1)
    before = student.state_dict()["layer1.0.downsample.0.weight"].clone()
    assert "layer1.0.downsample.0.weight" not in teacher.state_dict()
    cut(student, teacher)
    assert torch.equal(student.state_dict()["layer1.0.downsample.0.weight"], before)


def test_grey_images_get_the_sum_of_the_teachers_channels() -> None:
    arguments = {"widths": (4,), "depths": (1,)}
    teacher = network("small_resnet", arguments)
    student = network("small_resnet", arguments, seed=1, in_chans=1)
    cut(student, teacher)
    grey = pictures(channels=1)
    with torch.no_grad():
        torch.testing.assert_close(student(grey), teacher(grey.expand(-1, 3, -1, -1)))
    four = network("small_resnet", arguments, in_chans=4)
    assert selection_misfit(read_layout(teacher), read_layout(four)) is not None


def test_recomputed_statistics_are_those_of_the_images() -> None:
    teacher = network("small_resnet", {"widths": (8,), "depths": (1,)})
    student = network("small_resnet", {"widths": (4,), "depths": (1,)}, seed=1)
    student.train()
    cut(student, teacher, PLAIN.model_copy(update={"recompute_batch_norm": True}))
    assert student.training, "the mode is restored"
    with torch.no_grad():
        outputs = student.conv1(pictures())  # type: ignore[operator]
    norm = student.get_submodule("bn1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, outputs.mean(dim=(0, 2, 3)))
    assert norm.momentum == 0.1


def test_important_channels_are_chosen_alike_in_all_tensors_that_hold_them() -> None:
    """Two channels of the stream and two inner ones have weights ten times as large as all others."""
    arguments = {"widths": (8,), "depths": (2,)}
    teacher = network("small_resnet", arguments)
    large = {"stages.0.0.conv1.weight": (1, 6), "conv1.weight": (3, 5), "stages.0.1.conv2.weight": (3, 5)}
    for name, rows in large.items():
        teacher.state_dict()[name][list(rows)] *= 10
    student = network("small_resnet", {**arguments, "widths": (2,)}, seed=1)
    cut(student, teacher, PLAIN.model_copy(update={"channels": "norm"}))
    given, own = teacher.state_dict(), student.state_dict()
    assert torch.equal(own["stages.0.0.conv1.weight"], given["stages.0.0.conv1.weight"][[1, 6]][:, [3, 5]])
    assert torch.equal(own["stages.0.0.conv2.weight"], given["stages.0.0.conv2.weight"][[3, 5]][:, [1, 6]])
    assert torch.equal(own["fc.weight"], given["fc.weight"][:, [3, 5]])
    assert torch.equal(own["bn1.running_mean"], given["bn1.running_mean"][[3, 5]])


def test_reconstruction_is_exact_where_dropped_channels_repeat_kept_ones() -> None:
    """Every second channel of the teacher is a copy of the one before, which the student keeps."""
    arguments = {"widths": (8, 8), "depths": (1, 1)}
    teacher = network("small_resnet", arguments)
    for tensor in teacher.state_dict().values():
        for axis, length in enumerate(tensor.shape):
            if length == 8:
                even = tensor.index_select(axis, torch.arange(0, 8, 2))
                tensor.copy_(even.repeat_interleave(2, dim=axis))
    recompute_batch_norm(teacher, pictures())
    student = network("small_resnet", {"widths": (4, 4), "depths": (1, 1)}, seed=1)
    cut(student, teacher, PLAIN.model_copy(update={"dropped_inputs": "reconstruct"}))
    with torch.no_grad():
        expected, found = teacher(pictures()), student(pictures())
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)
    cut(student, teacher, PLAIN)
    with torch.no_grad():
        assert (student(pictures()) - expected).abs().max() > 4 * (found - expected).abs().max()


def test_a_classifier_without_a_counterpart_is_fitted_to_the_teachers_logits() -> None:
    arguments = {"widths": (8, 8), "depths": (1, 1)}
    teacher = network("small_resnet", arguments)
    student = network("small_resnet", {"widths": (8,), "depths": (1,)}, seed=1)
    images = CutImages(student=pictures(64), teacher=pictures(64))
    copied = initialise_from_teacher(student, teacher, options=CutOptions(), images=images)
    assert copied == student.state_dict().keys()
    with torch.no_grad():
        found, expected = student(images.student), teacher(images.teacher)
    error = (found - expected).square().mean() / (expected - expected.mean(0)).square().mean()
    assert error < 0.9

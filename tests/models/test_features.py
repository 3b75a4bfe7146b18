"""Embeddings and feature maps of real timm networks, and networks that lack them."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas_distill.model_outputs import OutputRequest
from nas_distill.models.features import MissingOutputError, check_outputs, network_outputs, output_shapes

SMALL = ("small_resnet", {"widths": (4, 6), "depths": (1, 1)})
SMALL_VIT = ("vit_tiny_patch16_224", {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 4, "num_heads": 2})
SMALL_SWIN = (
    "swin_tiny_patch4_window7_224",
    {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (1, 1), "num_heads": (1, 2)},
)
DISTILLED_VIT = ("deit_tiny_distilled_patch16_224", {"img_size": 32, "patch_size": 8, "depth": 2})
NORM_IN_HEAD: tuple[str, dict[str, Any]] = ("mobilenetv4_conv_small_035", {})

ONE_LINEAR_LAYER = [
    SMALL,
    ("test_resnet", {}),
    ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 12, 16, 24)}),
    ("mobilenetv3_small_050", {}),
    NORM_IN_HEAD,
    ("test_efficientnet", {}),
    SMALL_VIT,
    SMALL_SWIN,
    ("test_vit_relpos", {"img_size": 32}),
]
NETWORKS = [*ONE_LINEAR_LAYER, DISTILLED_VIT, ("dla46_c", {})]
EVERYTHING = OutputRequest(embedding=True, depths=(0.5, 1.0))

networks = pytest.mark.parametrize(("architecture", "arguments"), NETWORKS, ids=[name for name, _ in NETWORKS])


def make(architecture: str, arguments: dict[str, Any], **others: Any) -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(architecture, num_classes=5, **{**arguments, **others})
    return network


def images(count: int = 3, size: int = 32) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def call(network: nn.Module, name: str, *arguments: Any, **others: Any) -> Any:
    return getattr(network, name)(*arguments, **others)


@networks
def test_the_outputs_equal_the_outputs_of_timm(architecture: str, arguments: dict[str, Any]) -> None:
    network = make(architecture, arguments).eval()
    batch = images()
    logits, embedding, (half, whole) = network_outputs(network, batch, EVERYTHING)
    assert embedding is not None
    torch.testing.assert_close(logits, network(batch))
    features = call(network, "forward_features", batch)
    torch.testing.assert_close(embedding, call(network, "forward_head", features, pre_logits=True))
    assert (half.ndim, whole.ndim, len(half), len(whole)) == (4, 4, 3, 3)
    if features.ndim == 3:
        tokens = features[:, -whole.shape[2] * whole.shape[3] :]
        assert torch.equal(whole.flatten(2).transpose(1, 2), tokens)
    elif architecture == SMALL_SWIN[0]:
        assert torch.equal(whole.permute(0, 2, 3, 1), features)
    else:
        assert torch.equal(whole, features)
    stages = call(network, "forward_intermediates", batch, intermediates_only=True, output_fmt="NCHW")
    assert len(stages) == len(network.feature_info)  # type: ignore[arg-type]
    assert torch.equal(half, stages[-(-len(stages) // 2) - 1])


@pytest.mark.parametrize(("architecture", "arguments"), ONE_LINEAR_LAYER, ids=[name for name, _ in ONE_LINEAR_LAYER])
def test_the_classifier_maps_the_embedding_to_the_logits(architecture: str, arguments: dict[str, Any]) -> None:
    network = make(architecture, arguments, drop_rate=0.5).train()
    logits, embedding, _ = network_outputs(network, images(), EVERYTHING)
    assert embedding is not None
    assert torch.equal(call(network, "get_classifier")(embedding), logits)
    assert bool((embedding == 0).any())  # dropped out, as the classifier sees it


@networks
def test_outputs_in_training_mode_come_from_one_forward_pass(architecture: str, arguments: dict[str, Any]) -> None:
    network = make(architecture, arguments, drop_rate=0.5).train()
    batch = images()
    torch.manual_seed(1)
    expected = network(batch)
    counters = [module.num_batches_tracked for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(counter == 1 for counter in counters)
    torch.manual_seed(1)
    outputs = network_outputs(network, batch, EVERYTHING)
    torch.testing.assert_close(outputs.logits, expected)
    assert all(counter == 2 for counter in counters)


@networks
def test_gradients_flow_from_every_output(architecture: str, arguments: dict[str, Any]) -> None:
    network = make(architecture, arguments).train()
    weight = next(network.parameters())
    outputs = network_outputs(network, images(), EVERYTHING)
    for output in (outputs.logits, outputs.embedding, *outputs.maps):
        assert output is not None
        (gradient,) = torch.autograd.grad(output.square().sum(), weight, retain_graph=True, allow_unused=True)
        # Fresh classifiers may be 0; deit's token of the class is its first weight, and on no way to the map.
        assert output is outputs.logits or DISTILLED_VIT[0] == architecture or bool(gradient.abs().sum() > 0)


@networks
def test_shapes_on_the_meta_device_are_the_real_ones(architecture: str, arguments: dict[str, Any]) -> None:
    network = make(architecture, arguments)
    found = check_outputs(network, images(), EVERYTHING)
    assert output_shapes(network, images(), EVERYTHING) == found
    assert check_outputs(network.to("meta"), images().to("meta"), EVERYTHING) == found
    outputs = network_outputs(make(architecture, arguments), images(), EVERYTHING)
    assert outputs.embedding is not None
    assert found == ((outputs.embedding.shape[1],), tuple(tuple(output.shape[1:]) for output in outputs.maps))


def test_only_requested_outputs_are_returned() -> None:
    network = make(*SMALL).eval()
    logits, embedding, maps = network_outputs(network, images(), OutputRequest())
    assert torch.equal(logits, network(images()))
    assert (embedding, maps) == (None, ())
    assert network_outputs(network, images(), OutputRequest(embedding=True)).maps == ()
    assert network_outputs(network, images(), OutputRequest(depths=(1.0,))).embedding is None


@pytest.mark.parametrize("depths", [(1.0,), (0.5, 0.5), (1.0, 0.3), (0.7, 1.0, 0.7, 0.01)])
def test_maps_are_in_the_order_of_the_depths(depths: tuple[float, ...]) -> None:
    network = make("small_resnet", {"widths": (4, 5, 6, 7), "depths": (1, 1, 1, 1)}).eval()
    maps = network_outputs(network, images(), OutputRequest(depths=depths)).maps
    control = [network_outputs(network, images(), OutputRequest(depths=(depth,))).maps[0] for depth in depths]
    assert len(maps) == len(control)
    assert all(torch.equal(one, other) for one, other in zip(maps, control, strict=True))


@settings(deadline=None, max_examples=25)
@given(stages=st.integers(1, 7), depths=st.lists(st.floats(0.0, 1.0, exclude_min=True), min_size=2, max_size=5))
def test_deeper_maps_are_not_larger(stages: int, depths: list[float]) -> None:
    with torch.device("meta"):
        network = make("small_resnet", {"widths": tuple(range(2, 2 + stages)), "depths": (1,) * stages})
        batch = torch.zeros(1, 3, 128, 128)
    shapes = output_shapes(network, batch, OutputRequest(depths=tuple(sorted(depths)))).maps
    assert [height for _, height, _ in shapes] == sorted((height for _, height, _ in shapes), reverse=True)
    even = tuple((stage + 1) / stages for stage in range(stages))
    assert [channels for channels, _, _ in output_shapes(network, batch, OutputRequest(depths=even)).maps] == list(
        range(2, 2 + stages)
    )


def test_with_class_attention_depth_1_is_the_map_of_the_last_stage() -> None:
    with torch.device("meta"):
        network, batch = make("pit_ti_224", {}), torch.zeros(1, 3, 224, 224)
    assert output_shapes(network, batch, EVERYTHING) == ((256,), ((128, 14, 14), (256, 7, 7)))


@pytest.mark.parametrize("training", [True, False])
def test_shapes_do_not_change_the_network_or_the_random_state(training: bool) -> None:
    network = make(*SMALL, drop_rate=0.5).train(training)
    network.get_submodule("bn1").eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes, chance = [module.training for module in network.modules()], torch.get_rng_state()
    check_outputs(network, images(), EVERYTHING)
    output_shapes(network, images(), EVERYTHING)
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Plain(nn.Module):
    """A classifier that implements the chosen methods of timm's interface."""

    def __init__(self, *, methods: tuple[str, ...] = (), way: str = "") -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.fc = nn.Linear(4, 5)
        self._way = way
        for name in methods:
            setattr(self, name, getattr(self, f"_{name}"))

    def _forward_features(self, x: Tensor) -> Tensor:
        if self._way == "raises":
            raise RuntimeError("no features\ntoday")
        found: Tensor = self.convolution(x)
        return found.flatten(2).mean(2) if self._way == "pools early" else found

    def _forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits:
            return x if self._way == "gives a map" else x.mean((2, 3))
        logits: Tensor = self.fc(x if x.ndim == 2 else x.mean((2, 3)))
        return 2 * logits if self._way == "other logits" else logits

    def _forward_intermediates(self, x: Tensor, **_others: Any) -> tuple[Tensor, list[Tensor]]:
        found = self._forward_features(x)
        return found, [x, found] if self._way != "vectors" else [x.flatten(1), found.flatten(1)]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.convolution(x).mean((2, 3)))
        return logits


HALVES = ("forward_features", "forward_head")


@pytest.mark.parametrize(
    ("network", "outputs", "reason"),
    [
        (Plain(), OutputRequest(embedding=True), "it has no forward_features and forward_head"),
        (Plain(), OutputRequest(depths=(1.0,)), "it has no forward_features and forward_head"),
        (
            Plain(methods=HALVES),
            OutputRequest(depths=(1.0, 0.5)),
            "it has no forward_intermediates for depth 0.5",
        ),
        (
            Plain(methods=HALVES, way="pools early"),
            OutputRequest(depths=(1.0,)),
            "it has no forward_intermediates, and forward_features does not return a map",
        ),
        (
            Plain(methods=HALVES, way="raises"),
            OutputRequest(embedding=True),
            "computing its embedding fails (no features)",
        ),
        (
            Plain(methods=HALVES, way="gives a map"),
            OutputRequest(embedding=True),
            "its embedding has shape (3, 4, 16, 16), not one vector per image",
        ),
        (
            Plain(methods=HALVES, way="other logits"),
            OutputRequest(depths=(1.0,)),
            "the logits computed from its feature map differ from those of its forward pass",
        ),
        (
            Plain(methods=(*HALVES, "forward_intermediates"), way="vectors"),
            OutputRequest(depths=(0.5,)),
            "its feature map has shape (3, 3072), not one per image",
        ),
    ],
)
def test_a_missing_output_is_an_error_with_its_reason(network: nn.Module, outputs: OutputRequest, reason: str) -> None:
    with pytest.raises(MissingOutputError) as caught:
        check_outputs(network, images(), outputs)
    kind = "feature map" if outputs.depths else "embedding"
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


def test_without_forward_intermediates_the_pooled_map_is_available() -> None:
    network = Plain(methods=HALVES)
    assert check_outputs(network, images(), OutputRequest(embedding=True, depths=(1.0, 1.0))) == (
        (4,),
        ((4, 16, 16),) * 2,
    )


def test_stages_that_timm_does_not_describe_are_counted() -> None:
    network = Plain(methods=(*HALVES, "forward_intermediates"))
    assert check_outputs(network, images(), OutputRequest(depths=(0.5, 0.6))).maps == ((3, 32, 32), (4, 16, 16))


def test_an_out_of_memory_error_is_not_a_missing_output() -> None:
    class OutOfMemory(Plain):
        def _forward_features(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        check_outputs(OutOfMemory(methods=HALVES), images(), OutputRequest(embedding=True))

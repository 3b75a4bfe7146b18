"""Initial weights: copied, adapted as timm does, or rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from nas_distill.errors import TeacherError
from nas_distill.models.initial_weights import InitialWeights, copy_weights, load_initial_weights
from tests.models.networks import SMALL, make_folder, make_network


def find(model: str, **changes: Any) -> InitialWeights:
    return load_initial_weights(model, **{"arguments": {}, "num_classes": 3, "image_size": 32, **changes})


def rejection(model: str, **changes: Any) -> tuple[str, str | None]:
    """Return code and field of the error, whose message is one line."""
    with pytest.raises(TeacherError) as caught:
        find(model, **changes)
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.code, caught.value.field


def saved(folder: Path, network: nn.Module) -> str:
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), path)
    return str(path)


def fresh(architecture: str = "small_resnet", arguments: dict[str, Any] | None = None, **sizes: int) -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = timm.create_model(
        architecture, num_classes=sizes.get("classes", 3), in_chans=sizes.get("channels", 1),
        **(SMALL if arguments is None else arguments),
    )  # fmt: skip
    return network


def differing(one: nn.Module, other: nn.Module) -> set[str]:
    states = one.state_dict(), other.state_dict()
    assert states[0].keys() == states[1].keys()
    return {name for name in states[0] if not torch.equal(states[0][name], states[1][name])}


def test_a_name_alone_has_random_weights() -> None:
    start = find("small_resnet", arguments=SMALL)
    assert start == InitialWeights(architecture="small_resnet", arguments=SMALL)


def test_a_folder_provides_architecture_arguments_and_weights(tmp_path: Path) -> None:
    source = make_network()
    start = find(make_folder(tmp_path / "t", source))
    assert (start.architecture, start.folder) == ("small_resnet", tmp_path / "t")
    assert {name: tuple(start.arguments[name]) for name in SMALL} == SMALL
    network = fresh()
    assert differing(network, source)
    assert start.network is not None
    copy_weights(network, start.network)
    assert not differing(network, source)


@pytest.mark.parametrize(
    ("architecture", "arguments"), [("small_resnet", SMALL), ("test_vit", {"img_size": 32}), ("test_convnext", {})]
)
def test_with_other_classes_the_classifier_keeps_its_random_weights(
    tmp_path: Path, architecture: str, arguments: dict[str, Any]
) -> None:
    source = make_network(architecture, arguments, classes=5)
    start = find(architecture, arguments=arguments, checkpoint=saved(tmp_path, source))
    assert start.network is not None
    assert start.folder == tmp_path
    network, untouched = fresh(architecture, arguments), fresh(architecture, arguments)
    copy_weights(network, start.network)
    classifier = network.pretrained_cfg["classifier"]  # type: ignore[index]
    own, given = network.state_dict(), source.state_dict()
    assert torch.equal(own[f"{classifier}.weight"], untouched.state_dict()[f"{classifier}.weight"])
    others = [name for name in own if not name.startswith(f"{classifier}.")]
    assert others
    assert all(torch.equal(own[name], given[name]) for name in others)


def test_a_colour_stem_is_summed_over_channels_for_grey_images() -> None:
    source, network = make_network(channels=3), fresh()
    copy_weights(network, source)
    given, own = source.state_dict()["conv1.weight"], network.state_dict()["conv1.weight"]
    torch.testing.assert_close(own, given.sum(dim=1, keepdim=True))


def test_a_grey_stem_cannot_be_adapted_to_colour_images() -> None:
    with pytest.raises(TeacherError) as caught:
        copy_weights(fresh(channels=3), make_network())
    assert (caught.value.code, caught.value.field) == ("models.channels_mismatch", "teacher.checkpoint")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"widths": (4, 8), "depths": (1, 1)}, "is 6 in the weights and 8 in the network"),
        ({"widths": (8, 6), "depths": (1, 1)}, "bn1.bias is 4 in the weights and 8 in the network"),
        ({"widths": (4, 6), "depths": (1, 2)}, "is missing in the weights and 6 in the network"),
    ],
)
def test_weights_of_another_shape_are_an_error(arguments: dict[str, Any], expected: str) -> None:
    with pytest.raises(TeacherError) as caught:
        copy_weights(fresh(arguments=arguments), make_network())
    assert (caught.value.code, caught.value.field) == ("models.weights_mismatch", "teacher.checkpoint")
    assert expected in str(caught.value), "the error names the tensor and both shapes"
    assert len(str(caught.value).splitlines()) == 1


def test_pretrained_weights_are_resized_to_the_image_size_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache folder in the layout of the hub's library replaces the download."""
    source = make_network("test_vit", {}, channels=3, classes=1000)
    config = timm.get_pretrained_cfg("test_vit")
    assert config is not None
    hub, _, _ = str(config.hf_hub_id).partition("@")
    cache = tmp_path / "hub" / f"models--{hub.replace('/', '--')}"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    (cache / "snapshots" / ("0" * 40)).mkdir(parents=True)
    safetensors.torch.save_file(source.state_dict(), cache / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    start = find("test_vit", pretrained=True)
    assert start.network is not None
    network = fresh("test_vit", {"img_size": 32}, channels=3)
    copy_weights(network, start.network)
    own, given = network.state_dict(), source.state_dict()
    assert own["pos_embed"].shape != given["pos_embed"].shape
    assert torch.equal(own["blocks.0.attn.qkv.weight"], given["blocks.0.attn.qkv.weight"])


def test_an_architecture_without_pretrained_weights_is_an_error() -> None:
    found = rejection("small_resnet", arguments=SMALL, pretrained=True)
    assert found == ("models.pretrained_unavailable", "--pretrained")


@pytest.mark.parametrize(
    ("model", "changes", "code", "field"),
    [
        ("small_resnt", {}, "architecture_unknown", "teacher.model"),
        ("small_resnet", {"checkpoint": "missing.safetensors"}, "checkpoint_missing", "teacher.checkpoint"),
        (
            "small_resnet",
            {"checkpoint": "w.safetensors", "pretrained": True},
            "two_weight_sources",
            "--pretrained",
        ),
        ("local-dir:t", {"pretrained": True}, "two_weight_sources", "--pretrained"),
        ("local-dir:t", {"arguments": SMALL}, "two_weight_sources", "teacher.model"),
        ("local-dir:t", {"checkpoint": "w.safetensors"}, "two_weight_sources", "teacher.model"),
        ("local-dir:t", {}, "teacher_not_loadable", "teacher.model"),
    ],
)
def test_missing_or_contradictory_weights_are_an_error(
    model: str, changes: dict[str, Any], code: str, field: str
) -> None:
    assert rejection(model, **changes) == (f"models.{code}", field)


def test_a_pickle_is_opened_only_when_trusted(tmp_path: Path) -> None:
    source = make_network()
    path = tmp_path / "weights.pt"
    torch.save(source.state_dict(), path)
    found = rejection("small_resnet", arguments=SMALL, checkpoint=str(path))
    assert found == ("models.pickle_not_trusted", "teacher.checkpoint")
    start = find("small_resnet", arguments=SMALL, checkpoint=str(path), trust_pickle=True)
    assert start.network is not None
    assert not differing(start.network, source)

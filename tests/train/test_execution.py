"""The probe: what it measures, what it decides, what it leaves alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from nas_distill.config import ExecutionConfig
from nas_distill.models.student import build_student
from nas_distill.records import ExecutionSettings, StudentSpec
from nas_distill.train.execution import (
    ProbeResult,
    apply_execution,
    candidate_executions,
    choose_execution,
    fastest,
    probe,
)
from tests.helpers import TINY_SPEC

PLAIN = ExecutionSettings()
BFLOAT16 = ExecutionSettings(precision="bfloat16")
CHANNELS_LAST = ExecutionSettings(memory_format="channels_last")
PLAIN_ATTENTION = ExecutionSettings(attention="plain")
LAST_AND_PLAIN = ExecutionSettings(memory_format="channels_last", attention="plain")
SAFE_SPEC = StudentSpec(architecture="small_resnet", arguments={"widths": (16, 20), "depths": (1, 1)})
"""Its strided 1x1 convolution has as many channels as oneDNN's blocks hold."""
VIT = StudentSpec(
    architecture="vit_tiny_patch16_224",
    arguments={"img_size": 8, "patch_size": 2, "embed_dim": 24, "depth": 2, "num_heads": 3},
)


def probed(execution: ExecutionSettings, step_s: float, *, error: float = 0.0, cosine: float = 1.0) -> ProbeResult:
    return ProbeResult(execution=execution, step_s=step_s, logits_error=error, gradient_cosine=cosine)


def make_batch(channels: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, channels, 8, 8, generator=generator), torch.randint(10, (32,), generator=generator)


def make_network(spec: StudentSpec = SAFE_SPEC, *, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return build_student(spec, num_classes=10, channels=1, image_size=8, drop_rate=dropout).train()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [PLAIN, CHANNELS_LAST, BFLOAT16, ExecutionSettings(precision="bfloat16", memory_format="channels_last")]),
        ({"precision": "float32"}, [PLAIN, CHANNELS_LAST]),
        ({"precision": "bfloat16", "memory_format": "contiguous"}, [BFLOAT16]),
    ],
)
def test_the_configuration_limits_the_execution_candidates(
    config: dict[str, str], expected: list[ExecutionSettings]
) -> None:
    assert candidate_executions(ExecutionConfig.model_validate(config), make_network()) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, [PLAIN, PLAIN_ATTENTION, BFLOAT16, ExecutionSettings(precision="bfloat16", attention="plain")]),
        ({"precision": "float32", "memory_format": "channels_last"}, [CHANNELS_LAST, LAST_AND_PLAIN]),
        ({"attention": "plain", "precision": "float32"}, [PLAIN_ATTENTION]),
    ],
)
def test_a_transformer_has_attention_options_and_one_memory_format(
    config: dict[str, str], expected: list[ExecutionSettings]
) -> None:
    assert candidate_executions(ExecutionConfig.model_validate(config), make_network(VIT)) == expected


@pytest.mark.parametrize("memory_format", ["auto", "channels_last"])
def test_a_convolution_with_the_onednn_bug_stays_contiguous_on_cpus(memory_format: str) -> None:
    config = ExecutionConfig.model_validate({"memory_format": memory_format, "precision": "float32"})
    assert candidate_executions(config, make_network(TINY_SPEC)) == [PLAIN]
    assert candidate_executions(config, make_network(TINY_SPEC).to("meta")) != [PLAIN]
    assert CHANNELS_LAST in candidate_executions(config, make_network(SAFE_SPEC))


def fusing(network: nn.Module) -> list[bool]:
    return [bool(module.fused_attn) for module in network.modules() if hasattr(module, "fused_attn")]


def test_attention_is_switched_and_back() -> None:
    network = make_network(VIT)
    images, _ = make_batch()
    fused = network.eval()(images)
    assert fusing(apply_execution(network, PLAIN_ATTENTION)) == [False, False]
    torch.testing.assert_close(network(images), fused, rtol=1e-4, atol=1e-5)
    assert fusing(apply_execution(network, PLAIN)) == [True, True]


def test_the_fastest_option_is_chosen_if_it_is_clearly_faster() -> None:
    assert fastest([probed(PLAIN, 1.0), probed(CHANNELS_LAST, 0.7), probed(BFLOAT16, 0.5)]) == BFLOAT16


@pytest.mark.parametrize("step_s", [0.95, 1.0, 3.0])
def test_without_a_clear_gain_plain_float32_is_chosen(step_s: float) -> None:
    assert fastest([probed(PLAIN, 1.0), probed(BFLOAT16, step_s)]) == PLAIN


@pytest.mark.parametrize("wrong", [{"error": 0.06}, {"cosine": 0.8}, {"error": float("nan")}])
def test_an_option_with_wrong_results_is_never_chosen(wrong: dict[str, float]) -> None:
    found = [probed(PLAIN, 1.0), probed(BFLOAT16, 0.1, **wrong), probed(CHANNELS_LAST, 0.8)]
    assert fastest(found) == CHANNELS_LAST


@pytest.mark.parametrize("spec", [SAFE_SPEC, VIT], ids=["resnet", "vit"])
def test_every_option_computes_the_same_within_the_tolerances(spec: StudentSpec) -> None:
    images, labels = make_batch()
    network = make_network(spec, dropout=0.1)
    found = probe(network, images, labels, candidate_executions(ExecutionConfig(), network))
    assert len(found) == 4
    assert all(option.correct for option in found), found
    assert all(option.step_s > 0 for option in found)
    assert found[0].logits_error == 0.0
    assert found[2].logits_error > 1e-4  # bfloat16 has 8 bits: an error of 0 would mean that it was not tried


def test_the_probe_does_not_change_network_gradients_or_random_state() -> None:
    network = make_network(dropout=0.2)
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    choose_execution(network, make_batch, ExecutionConfig(), steps=100_000)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_short_trainings_and_fixed_options_are_not_probed() -> None:
    class Untouchable(nn.Module):
        def __deepcopy__(self, memo: object) -> nn.Module:
            raise AssertionError("the network was probed")

    assert choose_execution(Untouchable(), make_batch, ExecutionConfig(), steps=100) == PLAIN
    fixed = ExecutionConfig(precision="bfloat16", memory_format="channels_last")
    chosen = choose_execution(Untouchable(), make_batch, fixed, steps=10**6)
    assert (chosen.precision, chosen.memory_format) == ("bfloat16", "channels_last")


def test_a_network_that_cannot_run_is_reported_by_the_training() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("no such shape")

    assert choose_execution(Broken(), make_batch, ExecutionConfig(), steps=10**6) == PLAIN

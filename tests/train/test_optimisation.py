from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import pytest
import timm
import timm.optim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import nn

import nas_distill.models  # noqa: F401 - registers the entrypoints
from nas_distill.errors import ConfigError
from nas_distill.records.recipe import Recipe, Schedule
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.optimisation import (
    check_optimizer,
    make_average,
    make_optimizer,
    make_schedule,
    steps_per_epoch,
)


def network() -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model("small_resnet", widths=(4, 6), depths=(1, 1), in_chans=1)
    return model


def learning_rates(recipe: Recipe, steps: int) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), recipe)
    schedule = make_schedule(optimizer, recipe, steps=steps)
    found = []
    for step in range(steps + 1):
        schedule.step_update(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_biases_and_norms_have_no_weight_decay() -> None:
    model = network()
    optimizer = make_optimizer(model, Recipe(weight_decay=0.05))
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decay) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.05 if parameter.ndim > 1 else 0.0), name
    assert {group["lr"] for group in optimizer.param_groups} == {Recipe().learning_rate}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb", "lion", "adafactor"])
def test_optimisers_of_timm_take_a_step(name: str) -> None:
    model = network()
    before = [parameter.clone() for parameter in model.parameters()]
    optimizer = make_optimizer(model, Recipe(optimizer=name))
    model(torch.rand(4, 1, 8, 8)).square().mean().backward()
    optimizer.step()
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_an_unknown_optimiser_is_an_error_with_a_suggestion() -> None:
    for reject in (lambda: check_optimizer("adamv"), lambda: make_optimizer(network(), Recipe(optimizer="adamv"))):
        with pytest.raises(ConfigError) as caught:
            reject()
        assert (caught.value.code, caught.value.field) == ("train.optimizer_unknown", "recipe.optimizer")
        assert "'adam" in str(caught.value)
    check_optimizer("adamw")


def test_an_optimiser_of_second_derivatives_is_rejected() -> None:
    with pytest.raises(ConfigError) as caught:
        check_optimizer("adahessian")
    assert caught.value.code == "train.optimizer_needs_second_derivatives"
    assert caught.value.field == "recipe.optimizer"


def test_every_optimiser_of_timm_trains_and_resumes_or_is_rejected(tmp_path: Path) -> None:
    trained = []
    with torch.compiler.set_stance("force_eager"):  # kron compiles a kernel for each shape, for minutes
        for name in timm.optim.list_optimizers():
            model, learned = network(), [nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(2, 3))]
            recipe = Recipe(optimizer=name)
            try:
                optimizer = make_optimizer(model, recipe, learned=learned)
            except ConfigError:
                continue
            schedule = make_schedule(optimizer, recipe, steps=20)
            weights = [*model.parameters(), *learned]
            before = [weight.detach().clone() for weight in weights]
            for step in (2, 3):
                schedule.step_update(step)
                optimizer.zero_grad(set_to_none=True)
                loss = model(torch.rand(4, 1, 8, 8)).square().mean()
                (loss + sum((1.3 * weight - 0.7).square().mean() for weight in learned)).backward()
                optimizer.step()
                save_state(tmp_path / "state.safetensors", optimizer.state_dict())
                optimizer.load_state_dict(load_state(tmp_path / "state.safetensors"))
            for old, new in zip(before, weights, strict=True):
                assert torch.isfinite(new).all(), name
                assert not torch.equal(old, new), name
            trained.append(name)
    assert {"adamw", "sgd", "lamb", "muon", "kron"} <= set(trained)
    assert "adahessian" not in trained


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_optimiser_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        make_optimizer(network(), Recipe(optimizer="bnbadamw"))
    assert (caught.value.code, caught.value.field) == ("train.optimizer_unavailable", "recipe.optimizer")


@pytest.mark.parametrize(
    ("kind", "middle", "last", "end"),
    [
        ("cosine", 0.055 + 0.045 * math.cos(math.pi * 30 / 60), 0.01 + 0.045 * (1 + math.cos(math.pi * 59 / 60)), 0.01),
        ("linear", 0.01 + 0.09 / 2, 0.01 + 0.09 / 60, 0.01),
        ("step", 0.01, 0.001, 0.001),
        ("constant", 0.1, 0.1, 0.1),
    ],
)
def test_each_schedule_at_its_start_warmed_up_in_the_middle_and_at_its_end(
    kind: Schedule, middle: float, last: float, end: float
) -> None:
    recipe = Recipe(learning_rate=0.1, warmup_share=0.25, min_learning_rate_share=0.1, schedule=kind)
    learned = [nn.Parameter(torch.ones(3))]
    optimizer = make_optimizer(nn.Linear(2, 2), recipe, learned=learned)
    schedule = make_schedule(optimizer, recipe, steps=80)
    for step, expected in {0: 0.005, 10: 0.0525, 19: 0.09525, 20: 0.1, 50: middle, 79: last, 80: end}.items():
        schedule.step_update(step)
        assert len(optimizer.param_groups) == 3
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(expected, rel=1e-12), step


@given(steps=st.integers(1, 300), warmup_share=st.floats(0.0, 1.0))
@settings(deadline=None, max_examples=25)
def test_the_steps_of_the_step_schedule_are_thirds(steps: int, warmup_share: float) -> None:
    warmup = min(round(warmup_share * steps), steps - 1)
    recipe = Recipe(learning_rate=1.0, warmup_share=warmup_share, schedule="step")
    for step, found in enumerate(learning_rates(recipe, steps)[warmup:steps]):
        assert found == pytest.approx(10.0 ** -(3 * step // (steps - warmup))), step


@pytest.mark.parametrize("kind", get_args(Schedule))
@pytest.mark.parametrize("steps", [1, 2])
def test_a_schedule_of_very_few_steps_is_finite(kind: Schedule, steps: int) -> None:
    assert learning_rates(Recipe(learning_rate=0.1, schedule=kind), steps)[0] == pytest.approx(0.1)


def test_cosine_is_bit_identical_to_timm() -> None:
    recipe = Recipe()
    theirs = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=recipe.learning_rate)
    schedule = CosineLRScheduler(
        theirs, t_initial=90, lr_min=recipe.learning_rate * 0.01, warmup_t=10, warmup_prefix=True, t_in_epochs=False,
        warmup_lr_init=recipe.learning_rate / 10,
    )  # fmt: skip
    for step, found in enumerate(learning_rates(recipe, 100)):
        schedule.step_update(step)
        assert found == theirs.param_groups[0]["lr"], step


@settings(deadline=None)
@given(
    steps=st.integers(1, 300),
    warmup_share=st.floats(0.0, 1.0),
    end_share=st.floats(0.0, 1.0),
    peak=st.floats(1e-4, 1.0),
)
def test_the_schedule_is_warm_up_then_cosine(steps: int, warmup_share: float, end_share: float, peak: float) -> None:
    recipe = Recipe(learning_rate=peak, warmup_share=warmup_share, min_learning_rate_share=end_share)
    warmup = min(round(warmup_share * steps), steps - 1)
    end = end_share * peak
    for step, found in enumerate(learning_rates(recipe, steps)):
        if step < warmup:
            start = peak / warmup
            expected = start + (peak - start) * step / warmup
        else:
            expected = end + (peak - end) / 2 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-15), step


def test_the_schedule_reaches_its_peak_and_its_end() -> None:
    recipe = Recipe(learning_rate=0.1, warmup_share=0.25, min_learning_rate_share=0.01)
    rates = learning_rates(recipe, 40)
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == rates[10] == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.001)
    assert learning_rates(Recipe(learning_rate=0.1, warmup_share=0.0), 1)[0] == pytest.approx(0.1)


def test_the_schedule_is_a_function_of_the_step() -> None:
    recipe = Recipe(learning_rate=0.1)
    optimizer = make_optimizer(nn.Linear(2, 2), recipe)
    make_schedule(optimizer, recipe, steps=50).step_update(33)
    assert optimizer.param_groups[0]["lr"] == learning_rates(recipe, 50)[33]


def test_without_a_decay_there_is_no_average() -> None:
    assert make_average(network(), Recipe(ema_decay=0.0)) is None


def test_the_decay_of_the_average_warms_up() -> None:
    model = network()
    average = make_average(model, Recipe(ema_decay=0.9))
    assert average is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    average.update(model, 0)
    assert all(bool((parameter == 1).all()) for parameter in average.module.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2.0)
    decays = []
    for step in (2, 10, 10_000):
        before = next(average.module.parameters()).flatten()[0].item()
        average.update(model, step)
        after = next(average.module.parameters()).flatten()[0].item()
        decays.append((2.0 - after) / (2.0 - before))
    assert decays == sorted(decays)
    assert decays[0] < 0.9
    assert decays[-1] == pytest.approx(0.9, rel=1e-4)


def test_the_average_includes_batch_norm_statistics() -> None:
    model = network()
    average = make_average(model, Recipe(ema_decay=0.5))
    assert average is not None
    model.train()(torch.rand(8, 1, 8, 8))
    average.update(model, 0)
    for name, buffer in model.named_buffers():
        assert torch.allclose(average.module.get_buffer(name).double(), buffer.double()), name


@pytest.mark.parametrize(
    ("images", "batch", "steps"), [(64, 64, 1), (63, 64, 1), (1, 64, 1), (65, 64, 1), (128, 64, 2), (200, 64, 3)]
)
def test_steps_per_epoch(images: int, batch: int, steps: int) -> None:
    assert steps_per_epoch(images, batch) == steps


def test_the_average_equals_that_of_timm() -> None:
    torch.manual_seed(0)
    model = network().train()
    mine = make_average(model, Recipe(ema_decay=0.9))
    assert mine is not None
    theirs = ModelEmaV3(model, decay=0.9, use_warmup=True)
    optimizer = make_optimizer(model, Recipe(learning_rate=0.05))
    for step in range(12):
        model(torch.randn(8, 1, 8, 8)).square().mean().backward()
        optimizer.step()
        for average in (mine, theirs):
            average.update(model, step=step)
    expected = theirs.module.state_dict()
    for name, value in mine.module.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert any(not torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_tied_weights_are_averaged_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Linear(3, 3)
            self.other = nn.Linear(3, 3)
            self.other.weight = self.one.weight

    model = Tied()
    average = make_average(model, Recipe(ema_decay=0.5))
    assert average is not None
    average.update(model, step=0)
    with torch.no_grad():
        model.one.weight += 1.0
    before = average.module.one.weight.clone()
    decay = average.get_decay(100)
    average.update(model, step=100)
    torch.testing.assert_close(average.module.one.weight, before + (1 - decay))


def test_buffers_that_a_network_creates_in_its_first_pass_are_ignored() -> None:
    model = timm.create_model("convit_tiny", img_size=16, patch_size=8, embed_dim=4, in_chans=1, num_classes=3)
    average = make_average(model, Recipe(ema_decay=0.9))
    assert average is not None
    model(torch.zeros(2, 1, 16, 16))  # replaces a buffer that no state dictionary names
    average.update(model, step=0)
    average.update(model, step=1)
    assert torch.equal(average.module.head.weight, model.head.weight)

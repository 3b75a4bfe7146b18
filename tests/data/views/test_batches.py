"""`view_batches` yields the same pixels and targets from cached and decoded images, in any order and batch size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas_distill.callbacks import NullProgress
from nas_distill.config import DataConfig
from nas_distill.data.prepare import prepare_data
from nas_distill.data.splits import DecodedSplit, ImageSplit, MemorySplit, open_split
from nas_distill.data.views.batches import ViewBatch, view_batches
from nas_distill.data.views.plan import ViewPlan
from nas_distill.data.views.render import render_view
from nas_distill.errors import DataError
from tests.data.factory import COLOURS, CPU, EVERYTHING, MIXES, WARPS, make_plan, memory_split
from tests.data.files import write_class_folders
from tests.data.views import reference_views as reference

SIZE = 160
PLANS = {
    "crop": make_plan(),
    "plain": make_plan(crop_padding=0, flip=False),
    "mixup": make_plan(mix="mixup"),
    "some cutmix": make_plan(mix="cutmix", mix_share=0.5),
    "plain mixup": make_plan(crop_padding=0, flip=False, mix="mixup"),
    "collect": EVERYTHING,
}
over_plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def collect(
    split: ImageSplit, order: Tensor, batch_size: int, plan: ViewPlan, *, view: int = 1, device: torch.device = CPU
) -> ViewBatch:
    batches = list(view_batches(split, order, batch_size, view=view, plan=plan, device=device))
    assert [len(batch.targets) for batch in batches] == [len(part) for part in torch.split(order, batch_size)]
    return ViewBatch(*(torch.cat(parts) for parts in zip(*batches, strict=True)))


def check_equal(found: ViewBatch, expected: ViewBatch) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_class_folders(root, {"a": 20, "b": 20}, size=SIZE)
    return root


def open_train(folder: Path, run: Path, **changes: Any) -> ImageSplit:
    config = DataConfig(source=f"folder:{folder}", **changes)
    prepare_data(config, run, NullProgress())
    return open_split(config, run, "train")


@pytest.mark.parametrize("plan", [make_plan(), make_plan(scale=0.2), make_plan(crop_padding=0, flip=False)])
def test_without_mixing_views_are_rendered_and_targets_are_labels(plan: ViewPlan) -> None:
    split, order = memory_split(30), torch.tensor([3, 3, 29, 0, 7])
    found = collect(split, order, 2, plan)
    (batch,) = split.batches(order, 5, device=CPU)
    check_equal(found, ViewBatch(order, render_view(batch.images, order, 1, plan), batch.labels))


@settings(deadline=None, max_examples=40)
@given(
    changes=st.builds(lambda *parts: {key: value for part in parts for key, value in part.items()},
                      MIXES, st.one_of(st.just({}), WARPS, COLOURS)),
    channels=st.sampled_from([1, 3]),
    size=st.sampled_from([5, 8]),
    view=st.integers(0, 5),
)  # fmt: skip
def test_mixed_views_match_the_reference(changes: Mapping[str, Any], channels: int, size: int, view: int) -> None:
    plan, split, order = make_plan(**changes), memory_split(11, channels, size), torch.tensor([4, 10, 0, 4])
    found = collect(split, order, 3, plan, view=view)
    (stored,) = split.batches(torch.arange(11), 11, device=CPU)
    for row, index in enumerate(order.tolist()):
        image, partner, share = reference.mixed_view(stored.images.numpy(), index, view, plan)
        assert np.array_equal(found.images[row].numpy(), image)
        expected = np.zeros(5)
        expected[stored.labels[index]] += share
        expected[stored.labels[partner]] += 1 - share
        assert found.targets[row].numpy() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(plan=st.sampled_from(list(PLANS.values())), batch_size=st.integers(1, 40), seed=st.integers(0, 1000))
def test_views_do_not_depend_on_order_or_batch_size(plan: ViewPlan, batch_size: int, seed: int) -> None:
    split = memory_split(37, size=13)
    expected = collect(split, torch.arange(37), 37, plan)
    order = torch.randint(37, (50,), generator=torch.Generator().manual_seed(seed))
    check_equal(collect(split, order, batch_size, plan), ViewBatch(*(part[order] for part in expected)))


@over_plans
def test_long_orders_are_rendered_in_chunks(plan: ViewPlan) -> None:
    # A chunk holds 2^19 pixels: 3640 images of 12x12.
    split, order = memory_split(50, channels=1, size=12), torch.arange(9000) % 50
    found = collect(split, order, 64, plan)
    expected = collect(split, torch.arange(50), 50, plan)
    check_equal(found, ViewBatch(*(part[order] for part in expected)))


@over_plans
@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_decoded_images_give_the_same_views(
    folder: Path, tmp_path: Path, plan: ViewPlan, workers: int
) -> None:
    memory = open_train(folder, tmp_path / "memory")
    decoded = open_train(folder, tmp_path / "decoded", memory_budget_mib=1, workers=workers)
    assert isinstance(memory, MemorySplit)
    assert isinstance(decoded, DecodedSplit)
    order = torch.randperm(memory.num_images, generator=torch.Generator().manual_seed(0))
    for part in (order, order[:7], torch.tensor([3, 3, 0])):
        check_equal(collect(decoded, part, 4, plan), collect(memory, part, 4, plan))


def partners_of(split: ImageSplit, order: Tensor, plan: ViewPlan) -> list[int]:
    """Return the partner of each image in view 1, computed with the reference's hash."""
    hashes = reference.hashed(order.numpy(), 1, plan.seed).tolist()
    return [
        (reference.output(bits, 4) >> 1) % split.num_images
        if (reference.output(bits, 3) >> 12) % 2**24 < round(plan.mix_share * 2**24)
        else index
        for index, bits in zip(order.tolist(), hashes, strict=True)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_only_the_mixing_partners_of_the_batch_are_decoded(tmp_path: Path, workers: int) -> None:
    write_class_folders(tmp_path / "data", {"a": 20, "b": 20}, size=SIZE)
    plan = make_plan(mix="cutmix", mix_share=0.5)
    split = open_train(tmp_path / "data", tmp_path / "run", memory_budget_mib=1, workers=workers)
    order = torch.arange(4)
    partners = partners_of(split, order, plan)
    needed = {*order.tolist(), *partners}
    lost = next(partner for partner in partners if partner >= len(order))
    with np.load(tmp_path / "run" / "split.npz") as stored:
        positions = stored["train"].tolist()
    paths = sorted((tmp_path / "data").rglob("*.png"))
    expected = collect(split, order, 2, plan)

    for index, position in enumerate(positions):
        if index not in needed:
            paths[position].write_bytes(b"damaged")
    check_equal(collect(split, order, 2, plan), expected)

    paths[positions[lost]].write_bytes(paths[positions[lost]].read_bytes()[:100])
    with pytest.raises(DataError) as caught:
        collect(split, order, 2, plan)
    assert (caught.value.code, caught.value.field) == ("data.unreadable_image", str(paths[positions[lost]]))


@over_plans
def test_an_empty_order_yields_no_batch(folder: Path, tmp_path: Path, plan: ViewPlan) -> None:
    nothing = torch.empty(0, dtype=torch.int64)
    for split in (memory_split(5), open_train(folder, tmp_path, memory_budget_mib=1, workers=0)):
        assert not list(view_batches(split, nothing, 4, view=0, plan=plan, device=CPU))


@over_plans
def test_writing_into_a_batch_does_not_change_later_batches(plan: ViewPlan) -> None:
    split, order = memory_split(9), torch.tensor([0, 1, 0, 1])
    expected = collect(split, order, 2, plan)
    batches = view_batches(split, order, 2, view=1, plan=plan, device=CPU)
    first = next(batches)
    first.images.zero_()
    first.targets.zero_()
    second = next(batches)
    check_equal(second, ViewBatch(*(part[2:] for part in expected)))
    check_equal(collect(split, order, 2, plan), expected)


@over_plans
def test_views_made_in_inference_mode_do_not_break_later_training(plan: ViewPlan) -> None:
    split, order = memory_split(9), torch.arange(9)
    with torch.inference_mode():
        inside = collect(split, order, 4, plan)
    outside = collect(split, order, 4, plan)
    check_equal(outside, ViewBatch(*(part.clone() for part in inside)))
    weight = torch.ones(1, requires_grad=True)
    (outside.images.float() * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None


def test_mixed_views_never_change() -> None:
    golden = {"mixup": "1dcd3895b82061d0", "cutmix": "b7d863e173ce4fc7"}
    found = {}
    for mix in golden:
        views = collect(memory_split(40, size=28), torch.arange(40), 16, EVERYTHING.model_copy(update={"mix": mix}))
        found[mix] = hashlib.sha256(views.images.numpy().tobytes() + views.targets.numpy().tobytes()).hexdigest()[:16]
    assert found == golden


def keep_on_host(split: ImageSplit, device: torch.device) -> ImageSplit:
    """Make the split behave as if the device had no room for the images."""
    assert isinstance(split, MemorySplit)
    split._resident[device] = None
    return split


@over_plans
def test_a_device_without_room_gets_the_same_views(plan: ViewPlan) -> None:
    order = torch.randint(23, (50,), generator=torch.Generator().manual_seed(0))
    expected = collect(memory_split(23), order, 6, plan)
    check_equal(collect(keep_on_host(memory_split(23), CPU), order, 6, plan), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@over_plans
@pytest.mark.parametrize("place", ["device", "host", "workers"])
def test_views_arrive_on_the_device(folder: Path, tmp_path: Path, plan: ViewPlan, place: str) -> None:
    device = torch.device("cuda", 0)
    memory = open_train(folder, tmp_path / "memory")
    changes = {"memory_budget_mib": 1} if place == "workers" else {}
    split = open_train(folder, tmp_path / "other", **changes)
    if place == "host":
        split = keep_on_host(split, device)
    order = torch.arange(memory.num_images).flip(0)
    found = collect(split, order, 4, plan, device=device)
    assert {part.device for part in found} == {device}
    check_equal(ViewBatch(*(part.cpu() for part in found)), collect(memory, order, 4, plan))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@over_plans
@pytest.mark.parametrize("resident", [True, False])
def test_the_host_does_not_wait_for_the_device(plan: ViewPlan, resident: bool) -> None:
    device, split = torch.device("cuda", 0), memory_split(64)
    if not resident:
        keep_on_host(split, device)
    # Three chunks of 2^17 images of 8x8.
    batches = view_batches(split, torch.arange(64).repeat(6000), 2**14, view=1, plan=plan, device=device)
    next(batches)  # images, labels and tables move to the device, once
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert len(list(batches)) == 23
    finally:
        torch.cuda.set_sync_debug_mode("default")

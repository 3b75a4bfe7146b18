from __future__ import annotations

import errno
import json
import os
import pickle
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import nas_distill.models  # noqa: F401 - registers the entrypoints
from nas_distill.errors import RunError
from nas_distill.records import Recipe
from nas_distill.train.checkpoint import load_state, save_state
from nas_distill.train.optimisation import make_average, make_optimizer

CPU = torch.device("cpu")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)


def tensors() -> st.SearchStrategy[Tensor]:
    shapes = st.lists(st.integers(0, 3), max_size=4)
    return st.builds(lambda shape, dtype: torch.arange(81)[: _size(shape)].reshape(shape).to(dtype), shapes,
                     st.sampled_from(DTYPES))  # fmt: skip


def _size(shape: list[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
STATES = st.dictionaries(
    st.text() | st.integers(),
    st.recursive(
        SCALARS | tensors(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping):
        return (
            isinstance(other, Mapping)
            and list(one) == list(other)
            and all(same(value, other[key]) for key, value in one.items())
        )
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@settings(max_examples=60, deadline=None)
@given(state=STATES)
def test_a_loaded_state_equals_the_saved_one(tmp_path_factory: pytest.TempPathFactory, state: dict[Any, Any]) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    save_state(path, state)
    assert same(state, load_state(path))


def test_keys_that_look_like_the_file_format_are_kept(tmp_path: Path) -> None:
    state = {"map": {"list": [1, {"\x00tensor": "0"}]}, "\x00tensor": torch.ones(1)}
    save_state(tmp_path / "s", state)
    assert same(state, load_state(tmp_path / "s"))


def test_strided_shared_empty_and_scalar_tensors(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "shared": [shared, shared],
        "view": shared[:, 1],
        "transposed": shared.T,
        "channels_last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.0),
        "empty": torch.empty(0, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "not a number": torch.tensor([float("nan")]),
    }
    save_state(tmp_path / "s", state)
    loaded = load_state(tmp_path / "s")
    assert bool(loaded.pop("not a number").isnan())
    del state["not a number"]
    assert same(state, loaded)
    assert not loaded["parameter"].requires_grad


def test_a_restored_training_is_bit_identical(tmp_path: Path) -> None:
    def fresh(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        network = timm.create_model("small_resnet", widths=(4, 6), depths=(1, 1), in_chans=1)
        recipe = Recipe(ema_decay=0.9)
        return {"network": network, "optimizer": make_optimizer(network, recipe), "ema": make_average(network, recipe)}

    def train(parts: dict[str, Any], steps: range) -> None:
        for step in steps:
            images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(step))
            parts["optimizer"].zero_grad()
            parts["network"](images).square().mean().backward()
            parts["optimizer"].step()
            parts["ema"].update(parts["network"], step)

    straight, resumed = fresh(0), fresh(1)
    train(straight, range(3))
    save_state(tmp_path / "s", {name: part.state_dict() for name, part in straight.items()})
    for name, state in load_state(tmp_path / "s").items():
        resumed[name].load_state_dict(state)
    for parts in (straight, resumed):
        train(parts, range(3, 6))
    for name in ("network", "ema"):
        one, other = straight[name].state_dict(), resumed[name].state_dict()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 40, -1])
def test_a_truncated_file_is_an_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "s"
    save_state(path, {"a": torch.ones(3), "b": [1, 2]})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RunError) as caught:
        load_state(path)
    assert (caught.value.code, caught.value.field) == ("train.checkpoint_damaged", str(path))


@pytest.mark.parametrize(
    "header",
    [
        None,
        {"other": "1"},
        {"state": "not json"},
        {"state": json.dumps({"map": [["a", {"\x00tensor": "missing"}]]})},
        {"state": json.dumps({"map": 3})},
        {"state": json.dumps({"map": [["a"]]})},
        {"state": json.dumps({"other": []})},
    ],
)
def test_another_safetensors_file_is_an_error(tmp_path: Path, header: dict[str, str] | None) -> None:
    safetensors.torch.save_file({"0": torch.ones(1)}, tmp_path / "s", metadata=header)
    with pytest.raises(RunError) as caught:
        load_state(tmp_path / "s")
    assert caught.value.code == "train.checkpoint_damaged"


def test_a_missing_file_and_a_pickle_are_errors(tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    for name in ("missing", "pickle"):
        with pytest.raises(RunError) as caught:
            load_state(tmp_path / name)
        assert caught.value.code == "train.checkpoint_damaged"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_numbers_are_rejected_and_the_old_state_stays(tmp_path: Path, value: float) -> None:
    save_state(tmp_path / "s", {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        save_state(tmp_path / "s", {"a": value})
    assert load_state(tmp_path / "s") == {"a": 1}


def test_a_full_disk_keeps_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "s"
    save_state(path, {"a": torch.ones(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(RunError) as caught:
            save_state(path, {"a": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (caught.value.code, caught.value.field) == ("run.unwritable_file", str(path))
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]
    assert same({"a": torch.ones(3)}, load_state(path))


def test_dtypes_and_tuples_keep_their_types(tmp_path: Path) -> None:
    state = {"a": torch.bfloat16, "b": (1, (2.5, None)), "c": [(3,), []]}
    save_state(tmp_path / "state.safetensors", state)
    assert load_state(tmp_path / "state.safetensors") == state

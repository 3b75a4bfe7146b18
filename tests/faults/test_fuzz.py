"""Damaged and hostile files and texts: each ends in a one-line user error, and damage is never believed."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_distill.analysis.trials.filters import KINDS, Filter, parse_filter
from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config, load_config
from nas_distill.config.parsing.yaml_text import parse_yaml
from nas_distill.data.partition import SplitIndices, read_splits, write_splits
from nas_distill.errors import ConfigError, NasDistillError, RunError
from nas_distill.models.student import build_student
from nas_distill.models.weights import load_weights, save_weights
from nas_distill.records import TrialResult, TrialTask
from nas_distill.records.base import Record, parse_sealed, seal
from nas_distill.run_directory.arrays import map_array
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.search.driver.budget import spent_seconds
from nas_distill.search.study.log import read_log
from nas_distill.train.checkpoint import load_state, save_state
from tests.helpers import TINY_SPEC
from tests.run_directory.factory import make_trial

Mutation = Callable[[bytes], bytes]

EXAMPLES = int(os.environ.get("NAS_DISTILL_FUZZ_EXAMPLES", "60"))
"""Inputs per test; a longer campaign sets the variable."""

YAML_BITS = st.sampled_from(
    ["a", "1", "-", ":", ": ", "\n", "  ", "[", "]", "{", "}", "&a ", "*a", "<<: ", "!!python/object:os.system ", "!x ",
     "|", ">", "'", '"', "#", "%", "@", "`", "? ", "...", "---", "\t", "~", "null", "true", "0x1F", "1e999", ".nan",
     ".inf", "é", "\ud800", "\x00", "recipe", "epochs", "losses", "data", "budget"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=60), st.lists(YAML_BITS, max_size=25).map("".join))


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """Return a function that damages bytes: flips, insertions, a cut, or zeros."""
    edits = draw(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
    cut, zeros = draw(st.sampled_from([None, 0.0, 0.3, 0.9, 0.999])), draw(st.booleans())
    inserted = draw(st.binary(max_size=8))

    def mutate(content: bytes) -> bytes:
        changed = bytearray(content)
        for place, mask in edits:
            changed[int(place * len(changed))] ^= mask
        if cut is not None:
            changed = changed[: int(cut * len(changed))]
        if zeros:
            changed[len(changed) // 2 :] = bytes(len(changed) - len(changed) // 2)
        position = int(edits[0][0] * len(changed))
        return bytes(changed[:position] + inserted + changed[position:])

    return mutate


def fuzzed(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test with `EXAMPLES` inputs."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
        wrapped: Callable[..., None] = given(**strategies)(function)
        return settings(max_examples=EXAMPLES, suppress_health_check=checks, database=None)(wrapped)

    return decorate


def result_of(error: type[NasDistillError], function: Callable[..., object], *arguments: object) -> object:
    """Return what a function returns, or the error of this class that it raises. The error's lines can be printed."""
    try:
        return function(*arguments)
    except error as caught:
        for line in caught.lines():
            assert "\n" not in line
            line.encode("utf-8", errors="backslashreplace")
        return caught


def is_plain(value: object) -> bool:
    """Return whether a value consists of the types of JSON, and of nothing that a YAML tag could make."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(one) for key, one in value.items())
    if isinstance(value, list):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


@fuzzed(text=TEXTS)
def test_any_yaml(text: str) -> None:
    found = result_of(ConfigError, lambda: parse_yaml(text, origin="here")[0])
    assert isinstance(found, ConfigError) or is_plain(found)


@fuzzed(mutate=mutations())
def test_a_damaged_configuration(mutate: Mutation, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(mutate(dump_config(SearchConfig()).encode()))
    found = result_of(ConfigError, lambda: load_config(path))
    if isinstance(found, SearchConfig):  # what is accepted is a whole configuration, which can be written and read
        path.write_text(dump_config(found), encoding="utf-8")
        assert load_config(path) == found
    else:
        assert isinstance(found, ConfigError)


@fuzzed(text=TEXTS)
def test_any_set_option(text: str) -> None:
    for override in (text, f"recipe.{text}", f"recipe.losses={text}", f"budget.trials={text}"):
        assert isinstance(result_of(ConfigError, load_config, None, [override]), ConfigError | SearchConfig)


FILTER_BITS = st.sampled_from(
    ["gap_points", "family", "<", "==", "1", "'a'", "and", "not", "(", ")", "in", "[", "**", "9" * 400]
)


@fuzzed(text=TEXTS | st.lists(FILTER_BITS, max_size=14).map(" ".join))
def test_any_filter(text: str) -> None:
    found = result_of(ConfigError, lambda: parse_filter(text))
    if isinstance(found, Filter):  # what is accepted names known columns only, and its text means the same
        assert set(found.names) <= set(KINDS)
        assert parse_filter(found.text).names == found.names
    else:
        assert isinstance(found, ConfigError)


def _parse(model: type[Record], text: bytes) -> Record:
    return parse_sealed(model, text, origin="here")


RECORDS: list[tuple[type[Record], str]] = [
    (TrialTask, seal(make_trial(3).task)),
    (TrialResult, seal(make_trial(3).result(), indent=1)),
]


@fuzzed(mutate=mutations())
def test_a_damaged_record_is_never_believed(mutate: Mutation) -> None:
    for model, text in RECORDS:
        changed = mutate(text.encode())
        if changed != text.encode():
            assert isinstance(result_of(RunError, _parse, model, changed), RunError)
        assert isinstance(result_of(RunError, _parse, model, mutate(b'{"a":1}')), RunError)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
EVENTS = st.dictionaries(st.sampled_from(["time", "event", "number", "epochs"]), JSON, max_size=4)


@fuzzed(events=st.lists(EVENTS | JSON, max_size=4), mutate=mutations())
def test_any_event_log(events: list[Any], mutate: Mutation, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    text = "".join(
        json.dumps(event) + "\n" for event in [{"time": "2026-01-01T00:00:00+00:00", "event": "search"}, *events]
    )
    for content in (text.encode(), mutate(text.encode())):
        run.events.write_bytes(content)
        assert spent_seconds(run.read_events()) >= 0.0


@fuzzed(mutate=mutations())
def test_a_damaged_log_of_the_study(mutate: Mutation, tmp_path: Path) -> None:
    path = tmp_path / "study.jsonl"
    path.write_bytes(mutate(b'{"number":1,"state":"FAIL","checksum":"0"}\n{"key":"a","value":{},"checksum":"0"}\n'))
    logged = read_log(path)
    assert (logged.trials, logged.attributes) == ({}, {})


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _with_header(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(120).encode()
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header


def _with_text(text: str) -> bytes:
    header = text.encode("utf-8", "replace")
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


HEADERS = st.one_of(
    mutations().map(lambda mutate: mutate(_npy(np.zeros((2, 3), np.uint8)))),
    st.text(max_size=200).map(_with_text),
    st.sampled_from(["(10**30,)", "(-1,)", "(True,)", "(2,)*99", "(" * 150, "(2**62, 2**62)", "(9" * 99]).map(
        _with_header
    ),
)


@fuzzed(content=HEADERS)
def test_a_damaged_array(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    found = result_of(RunError, lambda: map_array(path, np.dtype(np.uint8), (2, 3), code="data.damaged_cache"))
    if isinstance(found, np.ndarray):
        assert (found.shape, found.dtype) == ((2, 3), np.uint8)
    else:
        assert isinstance(found, RunError)


@fuzzed(mutate=mutations())
def test_damaged_splits(mutate: Mutation, tmp_path: Path) -> None:
    path, splits = tmp_path / "split.npz", SplitIndices(indices=np.arange(9), labels=np.arange(9) % 3)
    write_splits(path, {"train": splits, "validation": splits, "test": splits})
    path.write_bytes(mutate(path.read_bytes()))
    if not isinstance(result_of(RunError, lambda: read_splits(path)), RunError):
        assert np.array_equal(read_splits(path)["train"].labels, splits.labels)


@pytest.fixture(scope="module")
def tensor_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensors")
    network = build_student(TINY_SPEC, num_classes=10, channels=1, image_size=8)
    save_weights(network, folder / "weights")
    save_state(folder / "state", {"network": network.state_dict(), "epoch": 3})
    return folder


def _network_of(path: Path) -> dict[str, torch.Tensor]:
    network: dict[str, torch.Tensor] = load_state(path)["network"]
    return network


@fuzzed(mutate=mutations())
def test_damaged_weights_and_checkpoints_are_never_believed(
    tensor_files: Path, mutate: Mutation, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    for name, read in (("weights", load_weights), ("state", _network_of)):
        whole = read(tensor_files / name)
        path.write_bytes(mutate((tensor_files / name).read_bytes()))
        if not isinstance(result_of(RunError, read, path), RunError):
            found = read(path)
            assert whole.keys() == found.keys()
            assert all(torch.equal(whole[key], found[key]) for key in whole)

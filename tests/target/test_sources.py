"""Sources of latencies: PyTorch, ONNX Runtime, tables and commands, with good and bad input."""

from __future__ import annotations

import shutil
import stat
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas_distill.config import TargetConfig
from nas_distill.errors import ConfigError, InstallationError, SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Cost, StudentSpec
from nas_distill.records.network_shape import NetworkShape
from nas_distill.target.command import CommandSource
from nas_distill.target.local import PyTorchSource
from nas_distill.target.meter import check_throughput, open_source
from nas_distill.target.onnx_file import write_onnx
from nas_distill.target.subject import Subject
from nas_distill.target.table import TableSource
from tests.helpers import TINY_SPEC

SHAPE = NetworkShape(num_classes=10, channels=1, image_size=8)


def subject(spec: StudentSpec = TINY_SPEC, *, image_size: int = 8, macs: int | None = None) -> Subject:
    cost = measure_cost(TINY_SPEC, num_classes=10, channels=1, image_size=8)
    if macs is not None:
        cost = cost.model_copy(update={"macs": macs})
    return Subject(spec=spec, shape=NetworkShape(num_classes=10, channels=1, image_size=image_size), cost=cost)


def table(folder: Path, text: str, *, interpolate: bool = False) -> TableSource:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return TableSource(path, interpolate=interpolate)


def script(folder: Path, body: str) -> str:
    path = folder / "measure"
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime"])
def test_both_runtimes_measure_a_real_network_and_leave_torch_as_it_was(runtime: str) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    source = open_source(TargetConfig.model_validate({"runtime": runtime, "batch_size": 4}))
    found = source.measure(subject())
    assert found.latency_ms > 0.0
    assert found.throughput_per_s is not None
    assert found.throughput_per_s > 0.0
    assert found.latency_iqr_ms is not None
    assert source.name == runtime
    assert source.version
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_a_candidate_that_cannot_be_built_is_an_error() -> None:
    spec = StudentSpec(architecture="small_resnet", arguments={"widths": (4,), "depths": (1, 1)})
    with pytest.raises(SpaceError) as caught:
        open_source(TargetConfig()).measure(subject(spec))
    assert caught.value.code == "models.candidate_not_buildable"


def test_a_network_that_fails_while_it_is_measured_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(Exception):
        """An error that is no `RuntimeError`, like those of ONNX Runtime."""

    def forward(*_: object) -> None:
        raise OutOfMemoryError("no memory\nfor a batch")

    source, network = PyTorchSource(device="cpu", threads=1, batch_size=4), subject()
    monkeypatch.setattr(torch.nn.Linear, "forward", forward)
    with pytest.raises(SpaceError) as caught:
        source.measure(network)
    assert (caught.value.code, caught.value.field) == ("target.failed", "target")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(InstallationError) as caught:
        open_source(TargetConfig(device="cuda"))
    assert caught.value.code == "target.no_cuda"


def test_a_table_of_timm_gives_latencies_of_single_images_at_the_size_of_the_images(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,infer_gmacs\n"
        "resnet18.a1_in1k,224,100,10.0,1,1.82\nresnet18,224,800,40.0,32,1.82\nresnet18,96,500,2.0,1,0.33\n",
    )
    plain = StudentSpec(architecture="resnet18")
    assert source.measure(subject(plain, image_size=224)).latency_ms == 10.0
    assert source.measure(subject(plain, image_size=96)).latency_ms == 2.0
    other = StudentSpec(architecture="resnet18", arguments={"layers": (1, 1, 1, 1)})
    for missing in (subject(plain, image_size=64), subject(other, image_size=224)):
        with pytest.raises(SpaceError) as caught:
            source.measure(missing)
        assert caught.value.code == "target.not_in_table"


def test_a_table_names_changed_networks_by_their_hash(tmp_path: Path) -> None:
    source = table(tmp_path, f"network_id,latency_ms,throughput_per_s\n{TINY_SPEC.network_id},1.5,900\n")
    found = source.measure(subject())
    assert (found.latency_ms, found.throughput_per_s) == (1.5, 900.0)


@settings(max_examples=25)
@given(low=st.floats(1e6, 1e8), factor=st.floats(1.5, 100.0), share=st.floats(0.0, 1.0), power=st.floats(0.2, 2.0))
def test_interpolation_follows_a_power_law_exactly(
    tmp_path_factory: pytest.TempPathFactory, low: float, factor: float, share: float, power: float
) -> None:
    ends = np.round([low, low * factor])
    latencies = (ends / 1e6) ** power
    folder = tmp_path_factory.mktemp("table")
    pd.DataFrame({"model": ["a", "b"], "latency_ms": latencies, "macs": ends}).to_csv(folder / "t.csv", index=False)
    macs = int(np.clip(round(low * factor**share), *ends))
    found = TableSource(folder / "t.csv", interpolate=True).measure(subject(macs=macs)).latency_ms
    assert found == pytest.approx((macs / 1e6) ** power, rel=1e-6)


def test_interpolation_never_leaves_the_table(tmp_path: Path) -> None:
    source = table(tmp_path, "model,latency_ms,macs\na,1,1000\nb,2,2000\n", interpolate=True)
    assert source.measure(subject(macs=1000)).latency_ms == 1.0
    for macs in (999, 2001):
        with pytest.raises(SpaceError) as caught:
            source.measure(subject(macs=macs))
        assert caught.value.code == "target.outside_table"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("model,time\nresnet18,3\n", "target.table_columns"),
        ("model,latency_ms\n", "target.table_columns"),
        ("model,latency_ms\nresnet18,fast\nresnet34,-1\nresnet50,nan\n", "target.table_columns"),
        ("", "target.table_unreadable"),
        ('model,latency_ms\n"resnet18,3\n', "target.table_unreadable"),
    ],
)
def test_a_table_without_usable_rows_is_an_error(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        table(tmp_path, text)
    assert (caught.value.code, caught.value.field) == (code, "target.latency_table")


def test_a_missing_table_and_one_that_cannot_be_interpolated_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        TableSource(tmp_path / "none.csv", interpolate=False)
    assert caught.value.code == "target.table_unreadable"
    with pytest.raises(ConfigError) as caught:
        table(tmp_path, "model,latency_ms\nresnet18,3\n", interpolate=True)
    assert caught.value.code == "target.table_columns"


def test_a_command_receives_an_onnx_file_and_its_last_line_counts(tmp_path: Path) -> None:
    body = "import onnxruntime\nonnxruntime.InferenceSession(sys.argv[-1])\nprint('warming up')\nprint(' 2.5 ')"
    source = CommandSource(f"{script(tmp_path, body)} --threads 1", timeout_s=60.0, retries=0)
    found = source.measure(subject())
    assert found.latency_ms == 2.5
    assert found.throughput_per_s is None
    placed = CommandSource(
        f"{script(tmp_path, 'print(3 if sys.argv[1].endswith(chr(120)) else 4)')} {{onnx}} --last",
        timeout_s=60.0,
        retries=0,
    )
    assert placed.measure(subject()).latency_ms == 3.0


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(subject(), path)
    return path


@pytest.mark.parametrize(
    "body",
    [
        "print('fast')",
        "print('-1')",
        "print('nan')",
        "print('inf')",
        "",
        "print(5); sys.exit('no device')",
        "import time; time.sleep(600)",
    ],
)
def test_a_command_that_fails_hangs_or_prints_words_is_an_error(
    tmp_path: Path, exported: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    # One export for all cases: it takes seconds.
    monkeypatch.setattr("nas_distill.target.command.write_onnx", lambda _, path: shutil.copy(exported, path))
    tries = tmp_path / "tries"
    count = f"open({str(tries)!r}, 'a').write('x')\n"
    hangs = "sleep" in body
    source = CommandSource(script(tmp_path, count + body), timeout_s=1.0 if hangs else 60.0, retries=1)
    with pytest.raises(SpaceError) as caught:
        source.measure(subject())
    assert (caught.value.code, caught.value.field) == ("target.command_failed", "target.latency_command")
    assert tries.read_text() == "xx"


@pytest.mark.parametrize("command", ["no-such-program", "'unclosed", "   "])
def test_a_command_that_is_no_program_is_an_error(command: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CommandSource(command, timeout_s=1.0, retries=0)
    assert caught.value.code == "target.no_command"


def test_an_edited_script_has_another_version(tmp_path: Path) -> None:
    command = script(tmp_path, "print(1)")
    first = CommandSource(command, timeout_s=1.0, retries=0).version
    assert CommandSource(command, timeout_s=1.0, retries=0).version == first
    script(tmp_path, "print(2)")
    assert CommandSource(command, timeout_s=1.0, retries=0).version != first


def test_a_throughput_cannot_be_asked_of_a_command() -> None:
    settings = TargetConfig(latency_command="true")
    check_throughput(settings, ("gap_points", "latency_ms"), None)
    for objectives, limit in ((("gap_points", "throughput_per_s"), None), (("gap_points", "num_params"), 10.0)):
        with pytest.raises(ConfigError) as caught:
            check_throughput(settings, objectives, limit)
        assert caught.value.code == "target.no_throughput"


def test_settings_that_contradict_each_other_are_errors() -> None:
    for values in (
        {"latency_table": "a.csv", "latency_command": "b"},
        {"runtime": "onnxruntime", "device": "cuda"},
        {"interpolate": True},
    ):
        with pytest.raises(ValidationError) as caught:
            TargetConfig.model_validate(values)
        assert caught.value.errors()[0]["type"] == "config.conflicting_values"


def test_a_cost_keeps_what_is_known_from_the_architecture() -> None:
    cost = Cost(num_params=1, macs=2, size_bytes=3)
    found = open_source(TargetConfig(batch_size=1)).measure(subject()).added_to(cost)
    assert (found.num_params, found.macs, found.size_bytes) == (1, 2, 3)
    assert found.latency_ms is not None

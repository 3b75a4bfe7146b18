"""The meter measures each network once, over all runs, and never believes damaged results."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from nas_distill.config import TargetConfig
from nas_distill.errors import RunError
from nas_distill.records import StudentSpec
from nas_distill.records.cost import TargetRecord
from nas_distill.target.cache import MeasurementCache
from nas_distill.target.measurement import Measurement
from nas_distill.target.meter import TargetMeter
from nas_distill.target.subject import Subject
from tests.helpers import TINY_SPEC
from tests.target.test_sources import subject

OTHER_SPEC = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 8), "depths": (1, 1)})


class Counting:
    """A source that counts, with a latency of its own number of measurements."""

    name, device = "pytorch", "a test"

    def __init__(self, version: str = "1", *, alone: bool = True, spread: float = 0.0) -> None:
        self.version, self.alone, self.spread, self.count = version, alone, spread, 0

    def measure(self, subject: Subject) -> Measurement:
        del subject
        self.count += 1
        return Measurement(latency_ms=float(self.count), latency_iqr_ms=self.spread * self.count, alone=self.alone)


def settings(folder: Path, **changes: object) -> TargetConfig:
    return TargetConfig.model_validate({"cache": str(folder / "deep" / "cache.db"), **changes})


def test_another_run_reads_the_result_of_the_first(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    assert TargetMeter(settings(tmp_path), first).measure(subject()).latency_ms == 1.0
    meter = TargetMeter(settings(tmp_path), second)
    assert meter.measure(subject()).latency_ms == 1.0
    assert second.count == 0
    meter.measure(subject(OTHER_SPEC))
    meter.measure(subject(OTHER_SPEC))
    assert second.count == 1


def test_initial_weights_do_not_change_a_latency_but_everything_else_does(tmp_path: Path) -> None:
    source = Counting()
    meter = TargetMeter(settings(tmp_path), source)
    meter.measure(subject())
    meter.measure(subject(TINY_SPEC.model_copy(update={"initial_weights": "teacher"})))
    assert source.count == 1
    for other in (subject(image_size=16), subject(macs=5), subject(OTHER_SPEC)):
        meter.measure(other)
    assert source.count == 4
    for changed in (
        TargetMeter(settings(tmp_path, threads=2), source),
        TargetMeter(settings(tmp_path, batch_size=8), source),
    ):
        changed.measure(subject())
    assert source.count == 6
    newer = Counting("2")
    TargetMeter(settings(tmp_path), newer).measure(subject())
    assert newer.count == 1


@pytest.mark.parametrize("busy", [Counting(alone=False), Counting(spread=0.3)])
def test_a_disturbed_measurement_is_used_but_not_kept(tmp_path: Path, busy: Counting) -> None:
    meter = TargetMeter(settings(tmp_path), busy)
    meter.measure(subject())
    meter.measure(subject())
    assert busy.count == 1
    quiet = Counting()
    TargetMeter(settings(tmp_path), quiet).measure(subject())
    assert quiet.count == 1


def test_a_damaged_cache_is_named_and_never_believed(tmp_path: Path) -> None:
    TargetMeter(settings(tmp_path), Counting()).measure(subject())
    path = tmp_path / "deep" / "cache.db"
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE measurements SET found = '{\"latency_ms\": -1}'")
    with pytest.raises(RunError) as caught:
        TargetMeter(settings(tmp_path), Counting()).measure(subject())
    assert (caught.value.code, caught.value.field) == ("target.cache_unusable", str(path))
    path.write_bytes(b"no database" * 100)
    with pytest.raises(RunError) as caught:
        TargetMeter(settings(tmp_path), Counting()).measure(subject())
    assert caught.value.code == "target.cache_unusable"


def test_a_result_of_something_else_under_the_same_key_is_not_used(tmp_path: Path) -> None:
    cache = MeasurementCache(tmp_path / "cache.db")
    cache.put({"network": "a"}, Measurement(latency_ms=1.0))
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        connection.execute("UPDATE measurements SET what = '{}'")
    assert cache.get({"network": "a"}) is None
    assert cache.get({"network": "b"}) is None


def test_the_record_says_where_latencies_come_from(tmp_path: Path) -> None:
    cost = subject().cost
    record = TargetMeter(settings(tmp_path, threads=2), Counting()).record(cost)
    assert isinstance(record, TargetRecord)
    assert (record.source, record.threads, record.batch_size, record.teacher) == ("pytorch", 2, 32, cost)
    for part in ("PyTorch 1", "a test", "2 threads", "float32"):
        assert part in record.description

"""Costs of proposed candidates: bytes, latency, and how often each is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_distill.config import TargetConfig
from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.records import Cost, Recipe, SpaceTrial, StudentSpec
from nas_distill.search.proposal import costs
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.limits import Limits
from nas_distill.search.proposal.proposer import ExhaustedSpaceError
from nas_distill.target.measurement import Measurement
from nas_distill.target.meter import TargetMeter
from nas_distill.target.subject import Subject
from tests.search.proposal.proposing import SHAPE, make_proposer, widths


def test_a_bound_on_bytes_is_respected(tmp_path: Path) -> None:
    limits = Limits(max_size_bytes=9000)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits)
    assert all(proposer.next().cost.size_bytes <= 9000 for _ in range(3))
    rejected = [row for row in ledger._study.trials if "rejection" in row.user_attrs]
    assert all(row.constraints["size_bytes"] > 0 for row in rejected)
    assert {"size_bytes"} == set(ledger._study.trials[0].constraints)


class _WidthSource:
    """A source whose latency is the width of the network, and which cannot measure width 3."""

    name, version, device = "pytorch", "1", "a test"

    def __init__(self) -> None:
        self.measured: list[str] = []

    def measure(self, subject: Subject) -> Measurement:
        width = subject.spec.keyword_arguments()["widths"][0]
        if width == 3:
            raise SpaceError("a test refuses it", code="target.failed")
        self.measured.append(subject.spec.spec_id)
        return Measurement(latency_ms=float(width), throughput_per_s=1000.0 / width)


def _meter(folder: Path, source: _WidthSource) -> TargetMeter:
    return TargetMeter(TargetConfig(cache=str(folder / "cache.db")), source)


def test_bounds_on_latency_and_throughput_are_respected_and_each_candidate_is_measured_once(tmp_path: Path) -> None:
    source = _WidthSource()
    limits = Limits(max_latency_ms=10.0, min_throughput_per_s=125.0)  # widths up to 8
    proposer, ledger = make_proposer(
        tmp_path, widths, limits=limits, max_rejections=200, meter=_meter(tmp_path, source)
    )
    tasks = [proposer.next() for _ in range(6)]
    for task in tasks:
        width = task.spec.keyword_arguments()["widths"][0]
        assert width <= 8
        assert task.cost.latency_ms == width
    assert len(source.measured) == len(set(source.measured))
    for row in ledger._study.trials:
        if "latency_ms" in row.constraints:
            over = row.constraints["latency_ms"] > 0 or row.constraints["throughput_per_s"] > 0
            assert over == ("rejection" in row.user_attrs) or "proposed before" in row.user_attrs["rejection"]


def test_a_candidate_that_cannot_be_measured_is_rejected_and_the_search_goes_on(tmp_path: Path) -> None:
    source = _WidthSource()
    small = _space_of_three_widths
    proposer, ledger = make_proposer(tmp_path, small, max_rejections=200, meter=_meter(tmp_path, source))
    found = {proposer.next().spec.keyword_arguments()["widths"][0] for _ in range(2)}
    assert found == {2, 4}
    with pytest.raises(ExhaustedSpaceError):
        proposer.next()
    rejected = [row for row in ledger._study.trials if row.constraints.get("measured", 0.0) > 0]
    assert rejected
    assert all("a test refuses it" in row.user_attrs["rejection"] for row in rejected)


def test_other_limits_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    source = _WidthSource()
    limits = Limits(max_params=1, max_latency_ms=10.0)
    proposer, _ = make_proposer(tmp_path, widths, limits=limits, max_rejections=3, meter=_meter(tmp_path, source))
    with pytest.raises(SpaceError):
        proposer.next()
    assert source.measured == []


def _space_of_three_widths(trial: SpaceTrial) -> StudentSpec:
    width = trial.suggest_categorical("width", [2, 3, 4])
    return StudentSpec(architecture="small_resnet", arguments={"widths": (width, width), "depths": (1, 1)})


def test_the_cost_of_a_network_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def count(spec: StudentSpec, **others: Any) -> Cost:
        counted.append(spec.spec_id)
        return measure_cost(spec, **others)

    monkeypatch.setattr(costs, "measure_cost", count)
    cost_estimator = CostEstimator(SHAPE)
    good = StudentSpec(architecture="small_resnet", arguments={"widths": (4, 4), "depths": (1, 1)})
    assert cost_estimator.cost(good, Recipe()) == cost_estimator.cost(good, Recipe(learning_rate=0.1))
    assert counted == [good.spec_id]
    embedding = Recipe(losses={"rkd": {}})  # a loss may compare outputs that the network lacks
    cost_estimator.cost(good, embedding)
    assert counted == 2 * [good.spec_id]


def test_a_latency_bound_that_no_candidate_meets_is_an_error(tmp_path: Path) -> None:
    limits = Limits(max_latency_ms=1.0)
    meter = _meter(tmp_path, _WidthSource())
    proposer, _ = make_proposer(tmp_path, widths, limits=limits, max_rejections=2, meter=meter)
    with pytest.raises(SpaceError) as caught:
        proposer.next()
    assert caught.value.code == "space.no_candidate"
    assert "--max-latency-ms" in str(caught.value)

"""Costs of proposed candidates: bytes, latency, and how often each is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas_distill.errors import SpaceError
from nas_distill.models.costs.cost import measure_cost
from nas_distill.models.costs.latency import Latency
from nas_distill.records import Cost, Recipe, StudentSpec
from nas_distill.search.proposal import costs
from nas_distill.search.proposal.costs import CostEstimator
from nas_distill.search.proposal.limits import Limits
from tests.search.proposal.proposing import SHAPE, make_proposer, widths


def test_a_bound_on_bytes_is_respected(tmp_path: Path) -> None:
    limits = Limits(max_size_bytes=9000)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits)
    assert all(proposer.next().cost.size_bytes <= 9000 for _ in range(3))
    rejected = [row for row in ledger._study.trials if "rejection" in row.user_attrs]
    assert all(row.constraints["size_bytes"] > 0 for row in rejected)
    assert {"size_bytes"} == set(ledger._study.trials[0].constraints)


def test_latency_is_measured_only_if_bounded_and_once_per_candidate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def fake(spec: StudentSpec, **shape: object) -> Latency:
        measured.append(spec.spec_id)
        return Latency(median_ms=float(spec.keyword_arguments()["widths"][0]), iqr_ms=0.25)

    monkeypatch.setattr(costs, "measure_latency", fake)
    (tmp_path / "free").mkdir()
    make_proposer(tmp_path / "free", widths)[0].next()
    assert measured == []
    limits = Limits(max_latency_ms=8.0)
    proposer, ledger = make_proposer(tmp_path, widths, limits=limits, max_rejections=200)
    specs = [proposer.next().spec for _ in range(5)]
    assert all(spec.keyword_arguments()["widths"][0] <= 8 for spec in specs)
    assert len(measured) == len(set(measured))
    rows = ledger._study.trials
    assert all("latency" in row.user_attrs for row in rows)
    assert all(("rejection" in row.user_attrs) == (row.constraints["latency_ms"] > 0) for row in rows)


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
    limits = Limits(max_latency_ms=1e-6)
    proposer, _ = make_proposer(tmp_path, widths, limits=limits, max_rejections=2)
    with pytest.raises(SpaceError) as caught:
        proposer.next()
    assert caught.value.code == "space.no_candidate"
    assert "--max-latency-ms" in str(caught.value)

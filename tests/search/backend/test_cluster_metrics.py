"""Metrics of a search on a cluster's dashboard."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from ray.util.metrics import Gauge

from nas_distill.callbacks import SearchStatus, SizeBand
from nas_distill.search.backend.cluster_metrics import ASK, BEST, TRIALS, SearchMetrics, best_quality

GRAFANA = Path(__file__).parents[3] / "deploy" / "grafana.json"


def make_status(*best: float | None, quality: str = "gap_points") -> SearchStatus:
    bands = tuple(SizeBand(label=str(index), best_quality=value, number=index) for index, value in enumerate(best))
    return SearchStatus(
        total=8, complete=2, stopped=1, failed=0, running={3: (1, 9)}, rejected=4, bands=bands, quality=quality,
        elapsed_s=1.0, remaining_s=None, queued=2,
    )  # fmt: skip


def test_the_best_quality_is_the_best_of_all_sizes() -> None:
    assert best_quality(make_status(1.5, None, -0.5)) == -0.5
    assert best_quality(make_status(0.7, 0.9, quality="agreement")) == 0.9
    assert best_quality(make_status(None)) is None


@pytest.mark.usefixtures("shared_cluster")
def test_ray_accepts_values_for_every_metric_that_the_dashboard_plots() -> None:
    metrics = SearchMetrics("run")
    metrics.asked(0.1)
    metrics.status(make_status(1.5))
    gauges = [one for one in vars(metrics).values() if isinstance(one, Gauge)]
    assert {gauge.info["name"] for gauge in gauges} == {TRIALS, BEST, ASK}
    for gauge in gauges:
        with pytest.raises(ValueError, match="run"):  # no value gets through without its run
            gauge.set(1.0)


def test_the_dashboard_for_grafana_plots_metrics_that_exist() -> None:
    board = json.loads(GRAFANA.read_text())
    expressions = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    assert set(re.findall(r"ray_(nas_distill_\w+)", expressions)) == {TRIALS, BEST, ASK}

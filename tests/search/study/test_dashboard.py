"""What optuna-dashboard shows of a study: it is started on loopback, and its API is asked."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import optuna
import pytest

from nas_distill.objectives import check_objectives
from nas_distill.records import TrialStatus
from nas_distill.search.study.ledger import StudyLedger
from tests.helpers import make_task
from tests.search.study.ledgers import ask_and_assign, complete, open_ledger, stored, url

dashboard = pytest.importorskip("optuna_dashboard")


class Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - its name in the base class
        pass


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Write a study of a complete trial and a rejected candidate."""
    ledger = open_ledger(tmp_path)
    ledger.tell(complete(ask_and_assign(ledger), gap=1.5))
    trial = ledger.ask()
    trial.suggest_float("x", 0, 1)
    ledger.reject(trial, "too large", violations={"num_params": 0.5, "macs": -0.5})
    ledger.close()
    return tmp_path


@pytest.fixture
def api(study: Path) -> Iterator[str]:
    storage = optuna.storages.RDBStorage(url(study))
    with make_server("127.0.0.1", 0, dashboard.wsgi(storage), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/studies"
        server.shutdown()
        thread.join()


def ask(address: str) -> Any:
    with urllib.request.urlopen(address) as answer:
        return json.load(answer)


def test_the_dashboard_names_objectives_and_shows_constraints_and_plain_values(api: str) -> None:
    (summary,) = ask(api)["study_summaries"]
    details = ask(f"{api}/{summary['study_id']}?after=0")
    assert details["objective_names"] == ["gap_points", "num_params"]
    trained, rejected = details["trials"]
    assert (trained["state"], trained["constraints"]) == ("Complete", [-1.0])
    assert (rejected["state"], sorted(rejected["constraints"])) == ("Pruned", [-0.5, 0.5])
    shown = {one["key"]: one["value"] for one in trained["user_attrs"]}
    task, record = make_task(0), complete(0, gap=1.5)
    assert record.metrics is not None
    expected = {
        "family": task.spec.family,
        "num_params": str(task.cost.num_params),
        "macs": str(task.cost.macs),
        "status": TrialStatus.COMPLETE.value,
        "epochs": str(record.epochs),
        "top1": str(record.metrics.top1),
        "gap_points": "1.5",
    }
    assert {name: str(shown[name]).strip('"') for name in expected} == expected
    sortable = {one["key"] for one in details["union_user_attrs"] if one["sortable"]}
    assert {"num_params", "macs", "epochs", "top1", "gap_points"} <= sortable


def test_a_study_that_is_opened_again_has_each_constraint_once(study: Path) -> None:
    again = StudyLedger(url(study), "nas_distill", check_objectives(("gap_points", "num_params")), 0)
    assert again._study.trials[1].constraints == {"num_params": 0.5, "macs": -0.5}
    again.close()
    assert stored(study)[1].system_attrs["constraints"] == [0.5, -0.5]

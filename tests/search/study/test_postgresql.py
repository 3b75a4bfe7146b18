"""Two studies in one PostgreSQL database. Set the URL of an empty database in the environment to run it."""

from __future__ import annotations

import os

import pytest

from nas_distill.objectives import check_objectives
from nas_distill.search.study.ledger import StudyLedger
from tests.search.study.ledgers import ask_and_assign, complete

URL = os.environ.get("NAS_DISTILL_TEST_POSTGRESQL")
"""URL such as postgresql://user:password@127.0.0.1:5432/studies."""


@pytest.mark.skipif(URL is None, reason="NAS_DISTILL_TEST_POSTGRESQL names no database")
def test_two_studies_share_a_database_and_are_opened_again() -> None:
    objectives = check_objectives(("gap_points", "num_params"))
    names = ("first", "second")
    ledgers = [StudyLedger(URL, name, objectives, 0) for name in names]
    for ledger in ledgers * 2:
        ledger.tell(complete(ask_and_assign(ledger)))
    for ledger in ledgers:
        ledger.close()
    again = [StudyLedger(URL, name, objectives, 0) for name in names]
    assert [len(ledger.assigned()) for ledger in again] == [2, 2]
    for ledger in again:
        ledger._storage.is_new = True
        ledger.withdraw()
        ledger.close()

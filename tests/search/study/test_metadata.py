"""Metadata of a study are stored once, and an error shows every difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.errors import StudyError
from nas_distill.objectives import check_objectives
from nas_distill.search.study.fingerprint import Fingerprint, differences, source_digest
from nas_distill.search.study.ledger import StudyLedger

WAS = Fingerprint(
    data_id="d1", space="tiny", space_source="aaaa", recipe="fixed", recipe_source="", epochs=30,
    initial_weights=("random", "teacher"),
)  # fmt: skip


def changed(**values: object) -> Fingerprint:
    return Fingerprint.model_validate(WAS.model_dump() | values)


@pytest.fixture
def ledger() -> StudyLedger:
    return StudyLedger(None, "nas_distill", check_objectives(("gap_points", "num_params")), 0)


def test_an_equal_fingerprint_is_no_change(ledger: StudyLedger) -> None:
    assert ledger.set_fingerprint(WAS) == ()
    assert ledger.set_fingerprint(WAS) == ()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_id": "d2"}, "on data d1, now d2"),
        ({"epochs": 9}, "with 30 epochs per student (recipe.epochs), now 9"),
        (
            {"initial_weights": ("random",)},
            "with initial weights random, teacher (space.initial_weights), now random",
        ),
        (
            {"space": "resnet", "space_source": "bbbb"},
            "in space tiny (source aaaa), now resnet (source bbbb)",
        ),
        (
            {"recipe": "search", "recipe_source": "cccc"},
            "with recipes from fixed (source none), now search (source cccc)",
        ),
        ({"data_id": "d2", "space_source": "bbbb"}, "on data d1, now d2; in space tiny (source aaaa), now tiny"),
    ],
)
def test_an_error_shows_every_difference(ledger: StudyLedger, values: dict[str, object], message: str) -> None:
    ledger.set_fingerprint(WAS)
    with pytest.raises(StudyError) as caught:
        ledger.set_fingerprint(changed(**values))
    assert (caught.value.code, caught.value.field) == ("study.other_fingerprint", "study 'nas_distill'")
    assert message in str(caught.value)


def test_a_space_that_moved_is_no_change(ledger: StudyLedger) -> None:
    ledger.set_fingerprint(WAS)
    assert ledger.set_fingerprint(changed(space="/elsewhere/tiny.py")) == ()


def test_only_a_space_that_raised_may_be_corrected_and_only_once(ledger: StudyLedger) -> None:
    ledger.set_fingerprint(WAS)
    ledger.note_space_failure()
    with pytest.raises(StudyError) as caught:
        ledger.set_fingerprint(changed(space_source="bbbb", data_id="d2"))
    assert caught.value.code == "study.other_fingerprint"
    (change,) = ledger.set_fingerprint(changed(space_source="bbbb"))
    assert change == "in space tiny (source aaaa), now tiny (source bbbb)"
    with pytest.raises(StudyError) as caught:
        ledger.set_fingerprint(WAS)
    assert caught.value.code == "study.other_fingerprint"


def test_digests_differ_between_contents_and_functions(tmp_path: Path) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x = 1")
    second.write_text("x = 2")
    digests = {
        source_digest(first, str(first)),
        source_digest(second, str(second)),
        source_digest(first, f"{first}:other"),
    }
    assert len(digests) == 3
    second.write_text("x = 1")
    assert source_digest(second, str(second)) == source_digest(first, str(first))
    assert source_digest(Path(), "fixed") == ""
    assert differences(WAS, WAS) == ()

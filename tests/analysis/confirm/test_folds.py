from __future__ import annotations

import pytest

from nas_distill.analysis.confirm.folds import fold_scores
from nas_distill.records import Fold, TrialRecord, TrialStatus
from tests.records.factory import changed_record
from tests.report.factory import make_record


def in_fold(number: int, part: int, of: int, gap_points: float, **changes: object) -> TrialRecord:
    record = make_record(number, gap_points=gap_points, num_params=5000)
    return changed_record(record, fold=Fold(number=part, of=of), **changes)


def failed_in_fold(number: int, part: int, of: int) -> TrialRecord:
    record = make_record(number, gap_points=0.0, num_params=5000, status=TrialStatus.FAILED)
    return changed_record(record, fold=Fold(number=part, of=of))


def test_students_keep_their_order_and_count_once() -> None:
    records = [in_fold(3, 0, 2, 1.0), in_fold(3, 1, 2, 3.0), in_fold(1, 0, 2, 7.0)]
    scores = fold_scores(records, [3, 1, 3, 9], 2)
    assert [(score.number, score.scored, score.missing) for score in scores] == [(3, 2, 0), (1, 1, 1), (9, 0, 2)]
    assert scores[0].gap_points is not None
    assert scores[0].gap_points.mean == pytest.approx(2.0)
    assert scores[0].top1 is not None
    assert scores[0].top1.mean == pytest.approx(0.96)
    assert scores[1].gap_points is not None
    assert scores[1].gap_points.half_width is None
    assert scores[2].top1 is None


def test_failed_folds_are_listed_and_left_out_of_the_mean() -> None:
    records = [failed_in_fold(2, 2, 3), in_fold(2, 0, 3, 4.0), failed_in_fold(2, 1, 3)]
    (score,) = fold_scores(records, [2], 3)
    assert (score.scored, score.missing) == (1, 0)
    assert [number for number, _ in score.failures] == [1, 2]
    assert all(reason for _, reason in score.failures)
    assert score.gap_points is not None
    assert score.gap_points.mean == pytest.approx(4.0)


def test_records_of_another_number_of_folds_and_of_no_fold_are_ignored() -> None:
    records = [in_fold(2, 0, 5, 4.0), make_record(2, gap_points=1.0, num_params=5000)]
    assert fold_scores(records, [2], 3)[0].scored == 0
    assert fold_scores(records, [2], 5)[0].scored == 1


def test_assistants_and_early_stopping_are_reported() -> None:
    recipe = make_record(0, gap_points=0.0, num_params=5000).recipe
    patient = recipe.model_copy(update={"early_stopping_patience": 5})
    plain, helped, stopped = (
        fold_scores([record], [0], 2)[0]
        for record in (in_fold(0, 0, 2, 1.0), in_fold(0, 0, 2, 1.0, assistant=4), in_fold(0, 0, 2, 1.0, recipe=patient))
    )
    assert (plain.has_assistant, plain.stopped_early) == (False, False)
    assert (helped.has_assistant, helped.stopped_early) == (True, False)
    assert (stopped.has_assistant, stopped.stopped_early) == (False, True)

from __future__ import annotations

from nas_distill.search.driver.sanity import warnings_of
from tests.report.factory import make_record


def test_a_student_at_chance_level_and_an_exploded_loss_are_warned_about() -> None:
    record = make_record(0, gap_points=1.0, num_params=1000)
    assert record.metrics is not None
    assert warnings_of(record, num_classes=10) == ()
    at_chance = record.outcome.model_copy(update={"metrics": record.metrics.model_copy(update={"top1": 0.1})})
    assert len(warnings_of(record.model_copy(update={"outcome": at_chance}), num_classes=10)) == 1
    curve = (record.curve[0].model_copy(update={"train_loss": 1e30}), *record.curve[1:])
    exploded = record.outcome.model_copy(update={"curve": curve})
    assert len(warnings_of(record.model_copy(update={"outcome": exploded}), num_classes=10)) == 1

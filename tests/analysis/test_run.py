from __future__ import annotations

from pathlib import Path

from nas_distill.analysis.run import Run
from tests.records.factory import changed_record
from tests.report.factory import make_record, make_run


def test_a_run_computes_its_front_once_and_picks_from_it(tmp_path: Path) -> None:
    students = [(20.0, 1_000), (4.0, 2_000), (0.9, 40_000), (1.5, 50_000), (-0.5, 400_000)]
    run = Run(make_run(tmp_path, [make_record(number, gap_points=gap, num_params=size)
                                  for number, (gap, size) in enumerate(students)]).path)  # fmt: skip
    assert run.front() is run.front()
    assert run.front().numbers == (0, 1, 2, 4)
    assert [(pick.rule, pick.number) for pick in run.picks_within(5.0)] == [
        ("smallest_within_tolerance", 1),
        ("knee", 1),
        ("best_quality", 4),
    ]


def test_the_front_of_the_searchs_own_trials_leaves_out_students_of_assistants(tmp_path: Path) -> None:
    records = [make_record(number, gap_points=10.0 - number, num_params=1_000) for number in range(3)]
    run = Run(make_run(tmp_path, [*records[:2], changed_record(records[2], assistant=0)]).path)
    assert run.front().numbers == (2,)
    assert run.front(assisted=False).numbers == (1,)

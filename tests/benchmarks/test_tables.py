from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.search_quality.curve_table import CURVES, TABLES, CurveTable, End, ended, read_table, write_table
from benchmarks.search_quality.our_search import OurSearch, Problem
from benchmarks.search_quality.synthetic import TEACHER
from nas_distill.errors import RunError
from tests.benchmarks.tables import EPOCHS, make_row


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    failed = make_row(1, gaps=(), error="epoch 1: NaN")
    table = CurveTable(
        rows=(make_row(0), failed), provenance={"epochs": EPOCHS, "teacher": TEACHER.model_dump(mode="json")}
    )
    write_table(table, tmp_path / "deep" / "t.parquet")
    found = read_table(tmp_path / "deep" / "t.parquet")
    assert found.provenance == table.provenance
    assert found.teacher == TEACHER
    assert (found.epochs, found.num_candidates) == (EPOCHS, 2)
    for written, read in zip(table.rows, found.rows, strict=True):
        assert replace(read, curves={}) == replace(written, curves={})
        for name in CURVES:
            assert read.curves[name] == pytest.approx(written.curves[name], rel=1e-6)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["t.parquet"]


def test_the_shipped_tables_can_be_replayed_with_the_present_spaces() -> None:
    paths = sorted(TABLES.glob("*.parquet"))
    assert len(paths) == 2
    for path in paths:
        problem = Problem.of(read_table(path), ("gap_points", "num_params"))
        proposal = OurSearch(problem, seed=0).ask()
        assert proposal is not None
        architectures = {row.spec.architecture for row in problem.table.rows}
        assert proposal.spec.architecture in architectures


def test_a_missing_file_and_another_parquet_file_are_errors(tmp_path: Path) -> None:
    missing, other = tmp_path / "missing.parquet", tmp_path / "other.parquet"
    pq.write_table(pa.table({"candidate": [1]}), other)
    for path, code in ((missing, "run.unreadable_file"), (other, "run.damaged_record")):
        with pytest.raises(RunError) as caught:
            read_table(path)
        assert (caught.value.code, caught.value.field) == (code, str(path))


@pytest.mark.parametrize(
    ("gaps", "nlls", "patience", "end"),
    [
        ((4.0, 3.0, 2.0, 1.0), None, 0, End(4, 4)),
        ((1.0, 2.0, 3.0, 4.0), None, 0, End(4, 4)),  # without early stopping, the last epoch is kept
        ((4.0, 3.0, 2.0, 1.0), None, 1, End(4, 4)),
        ((1.0, 2.0, 3.0, 4.0), None, 2, End(3, 1)),
        (
            (3.0, 3.0, 3.0, 3.0),
            (0.3, 0.2, 0.2, 0.1),
            1,
            End(3, 2),
        ),  # the likelihood breaks ties; an equal epoch is not better
        ((3.0, 2.0, 2.5, 2.4), None, 3, End(4, 2)),
    ],
)
def test_early_stopping_follows_the_rule_of_the_trainer(
    gaps: tuple[float, ...], nlls: tuple[float, ...] | None, patience: int, end: End
) -> None:
    assert ended(make_row(0, gaps=gaps, nlls=nlls, patience=patience)) == end

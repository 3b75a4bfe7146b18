"""A run's report that travels through the log of a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas_distill.errors import RunError
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.pack import pack_run, unpack_run


def make_log(folder: Path) -> str:
    run = RunDirectory(folder / "run")
    run.report.mkdir(parents=True)
    run.config.write_text("seed: 3\n")
    (run.report / "index.html").write_text("<p>report</p>" * 5000)
    return f"a line that the job printed before\n{pack_run(run)}\n"


def test_a_packed_run_arrives_whole(tmp_path: Path) -> None:
    unpack_run(make_log(tmp_path), tmp_path / "here")
    for name in ("config.yaml", "report/index.html"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_a_log_that_is_cut_off_or_changed_is_rejected(tmp_path: Path) -> None:
    log = make_log(tmp_path)
    for damaged in ("", log[:-40], log.replace("A", "B", 1), log.replace("\n", "\n!", 5)):
        with pytest.raises(RunError) as caught:
            unpack_run(damaged, tmp_path / "here")
        assert (caught.value.code, caught.value.field) == ("run.fetch_incomplete", str(tmp_path / "here"))
    assert not (tmp_path / "here").exists()

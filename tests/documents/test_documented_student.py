"""Run docs/how-to/use-a-student.md block by block, on a run of photos."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nas_distill.config import DataConfig, SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.run_directory.files import write_text
from nas_distill.trial.context import open_context
from nas_distill.trial.run import run_trial
from tests.data.files import random_pixels, write_class_folders
from tests.helpers import make_small_run, make_task

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-a-student.md"


def test_both_documented_ways_to_use_a_student_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_class_folders(tmp_path / "photos", {"cat": 30, "dog": 30}, size=24)
    data = DataConfig(source=f"folder:{tmp_path / 'photos'}", image_size=16)
    small = make_small_run(tmp_path / "runs" / "photos", data)
    write_text(small.run.config, dump_config(SearchConfig()))
    record = run_trial(make_task(16), open_context(small.worker_config()), small.run.trial(16))
    assert record.metrics is not None
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_pixels(0, 40, 60)).save(tmp_path / "cat.jpg", exif=exif)
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), session)
    assert session["student"].class_names == ("cat", "dog")
    with torch.no_grad():
        by_timm = session["network"].eval()(session["inputs"]).softmax(dim=1)[0]
    (best, other) = session["student"].predict("cat.jpg", top=2)
    expected = [by_timm[session["student"].class_names.index(one.class_name)] for one in (best, other)]
    torch.testing.assert_close(torch.stack(expected), torch.tensor([best.probability, other.probability]))

"""A finished run with real students, made without a search."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch

from nas_distill.callbacks import NullProgress
from nas_distill.config import SearchConfig
from nas_distill.config.loading import dump_config
from nas_distill.export.formats import parse_formats
from nas_distill.export.service import ExportRequest, export_student
from nas_distill.records import Recipe, StudentSpec, TrialOutcome, TrialRecord, TrialStatus
from nas_distill.records.export import ExportManifest
from nas_distill.run_directory.files import write_text
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.results import end_trial
from nas_distill.trial.context import open_context
from nas_distill.trial.run import run_trial
from tests.helpers import SmallRun, make_task

OWN, PLAIN, BRANCHED, FAILED = 1, 2, 3, 4
"""Trials: an architecture of this project, one of timm, one with branches for training only, and a failure."""

SPECS = {
    PLAIN: StudentSpec(
        architecture="test_vit", arguments={"patch_size": 4, "embed_dim": 32, "num_heads": 2, "depth": 1}
    ),
    BRANCHED: StudentSpec(
        architecture="small_repvgg", arguments={"widths": (4, 6, 8, 8), "depths": (1, 1, 1, 1), "strides": (1,) * 5}
    ),
}
TWO_EPOCHS = Recipe(epochs=2, batch_size=64)


def make_run(small_run: SmallRun, folder: Path) -> RunDirectory:
    shutil.copytree(small_run.run.path, folder)
    run = RunDirectory(folder)
    write_text(run.config, dump_config(SearchConfig(data=small_run.data)))
    context = open_context(small_run.worker_config().model_copy(update={"run": str(folder)}))
    run_trial(make_task(OWN, recipe=TWO_EPOCHS), context, run.trial(OWN))
    for number, spec in SPECS.items():
        run_trial(make_task(number, spec=spec, recipe=TWO_EPOCHS), context, run.trial(number))
    outcome = TrialOutcome(status=TrialStatus.FAILED, error="the loss is NaN")
    end_trial(run.trial(FAILED), TrialRecord(task=make_task(FAILED), outcome=outcome))
    return run


def export(run: RunDirectory, number: int, to: Path, *formats: str, int8: bool = False) -> ExportManifest:
    request = ExportRequest(pick=str(number), formats=parse_formats(formats, int8=int8), to=to)
    return export_student(run.path, request, NullProgress())[1]


def digits(count: int = 4) -> torch.Tensor:
    """Random images of the digits' size, uint8 [count, 1, 8, 8]."""
    return torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def alone(forbidden: tuple[str, ...], code: str) -> str:
    """Return a program in which some packages cannot be imported."""
    return (
        "import importlib.abc, sys\n"
        "class Forbidden(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {json.dumps(forbidden)}:\n"
        "            raise ImportError(f'{name} must not be imported here')\n"
        "sys.meta_path.insert(0, Forbidden())\n" + code
    )

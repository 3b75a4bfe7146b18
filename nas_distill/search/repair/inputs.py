"""Check what a run computes before its first trial: images, splits, the teacher and its stored outputs."""

from __future__ import annotations

from collections.abc import Iterator

from nas_distill.data.image_cache import images_path
from nas_distill.data.manifest import SPLIT_NAMES, DataManifest
from nas_distill.data.partition import read_splits
from nas_distill.errors import RunError
from nas_distill.knowledge.inspection import inspect_folder
from nas_distill.knowledge.layout import KnowledgeFolder, KnowledgeManifest
from nas_distill.models.weights import WEIGHTS, load_weights, tensors_sha256
from nas_distill.records import TeacherRecord
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.run_directory.receipts import FileReceipt, check_receipt, receipt_path
from nas_distill.search.repair.finding import Finding, set_aside

_AGAIN = "set aside; --resume writes it again"


def repair_data(run: RunDirectory) -> Iterator[Finding]:
    """Check `data.json`, `split.npz` and the decoded images; `--resume` makes each again from the source.

    Yields:
        One finding per damaged file.
    """
    if run.data_manifest.exists():
        try:
            read_record(run.data_manifest, DataManifest)
        except RunError as error:
            if error.code == "run.other_version":
                raise
            set_aside(run.data_manifest)
            yield Finding(path=run.data_manifest, problem=str(error.args[0]), action=_AGAIN)
    if run.split.exists():
        try:
            read_splits(run.split)
        except RunError as error:
            set_aside(run.split)
            yield Finding(path=run.split, problem=str(error.args[0]).partition(";")[0], action=_AGAIN)
    for path in (images_path(run.path, name) for name in SPLIT_NAMES):
        if not path.exists():
            continue
        try:
            check_receipt(path, read_record(receipt_path(path), FileReceipt), code="data.damaged_cache")
        except RunError as error:
            path.unlink()  # as large as the data set
            receipt_path(path).unlink(missing_ok=True)
            action = "removed; --resume decodes the images again"
            yield Finding(path=path, problem=str(error.args[0]), action=action)


def repair_knowledge(run: RunDirectory) -> Iterator[Finding]:
    """Check the teacher's stored outputs; `--resume` makes damaged ones again.

    Yields:
        One finding per damaged file.
    """
    action = "--resume runs the teacher again for this file"
    for path in sorted(run.knowledge.glob("*/manifest.json")):
        try:
            key = read_record(path, KnowledgeManifest).key
        except RunError as error:
            yield Finding(path=KnowledgeFolder(path.parent).manifest, problem=str(error.args[0]), action=action)
            continue
        for problem in inspect_folder(path.parent, key).problems:
            yield Finding(path=path.parent / str(problem.field), problem=str(problem.args[0]), action=action)


def repair_teacher(run: RunDirectory, stored: TeacherRecord | None) -> Iterator[Finding]:
    """Check the run's copy of the teacher; its record is restored from the study, its weights cannot be restored.

    Args:
        run: The run directory, locked.
        stored: The study's record of the teacher, if it can be read.

    Yields:
        One finding per damaged file.
    """
    if not run.teacher.exists():
        return
    record = stored
    try:
        record = run.read_teacher()
    except RunError as error:
        if error.code == "run.other_version":
            raise
        if stored is None:
            action = "restore it, or start again with another --out"
            yield Finding(path=run.teacher_record, problem=str(error.args[0]), action=action, is_lost=True)
        else:
            write_record(run.teacher_record, stored)
            yield Finding(path=run.teacher_record, problem=str(error.args[0]), action="restored from the study")
    weights = run.teacher / WEIGHTS
    try:
        found = tensors_sha256(load_weights(weights))
        if record is None or found == record.weights_sha256:
            return
        problem = "holds other weights than those that were measured"
    except RunError as error:
        problem = str(error.args[0])
    action = "restore it from the teacher that the search was given, or start again with another --out"
    yield Finding(path=weights, problem=problem, action=action, is_lost=True)

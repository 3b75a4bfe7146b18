"""What holds for a whole study, in its user attributes: objectives, teacher, fingerprint and initial points.

Each is stored once. A study that is opened again with other values is rejected, with the old and the new value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas_distill.errors import StudyError
from nas_distill.records import TeacherRecord
from nas_distill.records.base import other_version, parse_sealed, seal
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.search.study.fingerprint import Fingerprint, changed_sources, differences

if TYPE_CHECKING:
    from optuna import Study

_OBJECTIVES, _TEACHER, _FINGERPRINT, _POINTS = "objectives", "teacher", "fingerprint", "initial_points"
_SPACE_FAILED = "space_failed"
_SCHEMA_VERSION = "schema_version"


def agree_on_schema_version(study: Study) -> None:
    """Store the schema version of the study's trials.

    Raises:
        RunError: Another version of nas_distill wrote the study.
    """
    stored = study.user_attrs.get(_SCHEMA_VERSION)
    if stored is None and _OBJECTIVES not in study.user_attrs:
        study.set_user_attr(_SCHEMA_VERSION, TRIAL_SCHEMA_VERSION)
    elif stored != TRIAL_SCHEMA_VERSION:
        raise other_version(_name_of(study), stored, TRIAL_SCHEMA_VERSION)


def agree_on_objectives(study: Study, names: Sequence[str]) -> None:
    """Store the names of the objectives, in the order of the trials' values.

    Raises:
        StudyError: The study was searched for other objectives.
    """
    stored = study.user_attrs.get(_OBJECTIVES)
    if stored is None:
        study.set_user_attr(_OBJECTIVES, list(names))
    elif stored != list(names):
        raise _changed(study, f"for {', '.join(stored)}, now {', '.join(names)}", code="study.other_objectives")


def agree_on_teacher(study: Study, teacher: TeacherRecord) -> None:
    """Store the teacher that the trials are compared with.

    Raises:
        StudyError: The study was searched with another teacher.
    """
    stored = study.user_attrs.get(_TEACHER)
    if stored is None:
        study.set_user_attr(_TEACHER, seal(teacher))
        return
    known = parse_sealed(TeacherRecord, stored, origin="the study's teacher")
    if known.weights_sha256 != teacher.weights_sha256:
        raise _changed(study, f"with teacher {_shown(known)}, now {_shown(teacher)}", code="study.other_teacher")


def agree_on_fingerprint(study: Study, now: Fingerprint) -> tuple[str, ...]:
    """Store what else all trials have in common.

    Returns:
        Accepted changes: corrections of a space or recipe that had raised an error.

    Raises:
        StudyError: Something else has changed.
    """
    stored = study.user_attrs.get(_FINGERPRINT)
    was = None if stored is None else parse_sealed(Fingerprint, stored, origin="the study's fingerprint")
    if was == now:
        return ()
    changes = () if was is None else differences(was, now)
    corrected = () if was is None else changed_sources(was, now)
    if changes and not (changes == corrected and study.user_attrs.get(_SPACE_FAILED)):
        raise _changed(study, "; ".join(changes), code="study.other_fingerprint")
    study.set_user_attr(_FINGERPRINT, seal(now))
    study.set_user_attr(_SPACE_FAILED, False)
    return corrected


def note_space_failure(study: Study) -> None:
    """Store that the space or the recipes raised an error: they may be corrected before the study is reopened."""
    if not study.user_attrs.get(_SPACE_FAILED):
        study.set_user_attr(_SPACE_FAILED, True)


def set_initial_points(study: Study, points: Sequence[Mapping[str, Any]]) -> None:
    """Store the candidates to try first, in order."""
    study.set_user_attr(_POINTS, [dict(point) for point in points])


def points_of(study: Study) -> list[dict[str, Any]]:
    """Return the initial points, including those that were tried."""
    points: list[dict[str, Any]] = study.user_attrs.get(_POINTS, [])
    return points


def _changed(study: Study, changes: str, *, code: str) -> StudyError:
    return StudyError(
        f"was searched {changes}; undo the change, or choose another --out", code=code, field=_name_of(study)
    )


def _name_of(study: Study) -> str:
    return f"study '{study.study_name}'"


def _shown(teacher: TeacherRecord) -> str:
    return f"{teacher.architecture} (weights {teacher.weights_sha256[:12]})"

"""What is agreed for a whole study, in its user attributes: objectives, teacher, fingerprint, points to try first.

Each is noted once; a study that is opened again is refused when it disagrees, with what it was and what it is now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas_distill.errors import StudyError
from nas_distill.records import TeacherRecord
from nas_distill.records.base import other_version, parse_record
from nas_distill.records.task import TRIAL_SCHEMA_VERSION
from nas_distill.search.study.fingerprint import Fingerprint, changed_sources, differences

if TYPE_CHECKING:
    from optuna import Study

_OBJECTIVES, _TEACHER, _FINGERPRINT, _POINTS = "objectives", "teacher", "fingerprint", "points"
_SPACE_FAILED = "space_failed"
_SCHEMA_VERSION = "schema_version"
_WAY_OUT = "undo the change, or choose another --out"


def agree_on_schema_version(study: Study) -> None:
    """Store the schema version of the study's trials.

    Raises:
        RunError: Another version of nas_distill wrote the study.
    """
    stored = study.user_attrs.get(_SCHEMA_VERSION)
    if stored is None and _OBJECTIVES not in study.user_attrs:
        study.set_user_attr(_SCHEMA_VERSION, TRIAL_SCHEMA_VERSION)
    elif stored != TRIAL_SCHEMA_VERSION:
        raise other_version(f"study '{study.study_name}'", stored, TRIAL_SCHEMA_VERSION)


def agree_on_objectives(study: Study, names: Sequence[str]) -> None:
    """Notes the names of the objectives, in the order of the values.

    Raises:
        StudyError: The study was searched for others.
    """
    stored = study.user_attrs.get(_OBJECTIVES)
    if stored is None:
        study.set_user_attr(_OBJECTIVES, list(names))
    elif stored != list(names):
        raise StudyError(
            f"study '{study.study_name}': was searched for {', '.join(stored)}, not {', '.join(names)}; {_WAY_OUT}"
        )


def agree_on_teacher(study: Study, teacher: TeacherRecord) -> None:
    """Notes the teacher that the study's values are measured against.

    Raises:
        StudyError: The study was searched with another teacher.
    """
    stored = study.user_attrs.get(_TEACHER)
    if stored is None:
        study.set_user_attr(_TEACHER, teacher.model_dump_json())
        return
    known = parse_record(TeacherRecord, stored, origin="the study's teacher")
    if known.weights_sha256 != teacher.weights_sha256:
        raise StudyError(
            f"study '{study.study_name}': was searched with another teacher ({_told(known)}, now {_told(teacher)}); "
            f"{_WAY_OUT}"
        )


def agree_on_fingerprint(study: Study, now: Fingerprint) -> tuple[str, ...]:
    """Notes what else the trials have in common; a study of an earlier version, which lacks it, takes it.

    Returns:
        Changes that are accepted, since they correct a space or recipe that had raised.

    Raises:
        StudyError: Something else has changed.
    """
    stored = study.user_attrs.get(_FINGERPRINT)
    was = None if stored is None else parse_record(Fingerprint, stored, origin="the study's fingerprint")
    if was == now:
        return ()
    changes = () if was is None else differences(was, now)
    corrected = () if was is None else changed_sources(was, now)
    if changes and not (changes == corrected and study.user_attrs.get(_SPACE_FAILED)):
        raise StudyError(f"study '{study.study_name}': was searched {'; '.join(changes)}; {_WAY_OUT}")
    study.set_user_attr(_FINGERPRINT, now.model_dump_json())
    study.set_user_attr(_SPACE_FAILED, False)
    return corrected


def note_space_failure(study: Study) -> None:
    """Notes that the space or the recipes raised: they may be corrected before the study is opened again."""
    if not study.user_attrs.get(_SPACE_FAILED):
        study.set_user_attr(_SPACE_FAILED, True)


def set_initial_points(study: Study, points: Sequence[Mapping[str, Any]]) -> None:
    """Notes candidates to try first, in order."""
    study.set_user_attr(_POINTS, [dict(point) for point in points])


def points_of(study: Study) -> list[dict[str, Any]]:
    """Returns the candidates to try first, tried ones included."""
    points: list[dict[str, Any]] = study.user_attrs.get(_POINTS, [])
    return points


def _told(teacher: TeacherRecord) -> str:
    return f"{teacher.architecture}, weights {teacher.weights_sha256[:12]}"

"""Copies of trial records with other values."""

from __future__ import annotations

from typing import Any

from nas_distill.records import TrialRecord


def changed_record(record: TrialRecord, **changes: Any) -> TrialRecord:
    """Return a copy of a record in which fields of its task, execution or outcome have other values."""
    parts: dict[str, Any] = {}
    for name, part in (("task", record.task), ("execution", record.execution), ("outcome", record.outcome)):
        own = {field: changes.pop(field) for field in type(part).model_fields if field in changes}
        parts[name] = part.model_copy(update=own)
    assert not changes, f"no part of a trial record has the fields {sorted(changes)}"
    return TrialRecord(**parts)

"""Reading records from text that may be anything."""

from __future__ import annotations

import json

import pytest

from nas_distill.errors import RunError
from nas_distill.records import StudentSpec, TrialRecord
from nas_distill.records.base import parse_record
from tests.records.test_records import make_trial


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_another_schema_version_is_told(version: object) -> None:
    newer = {**json.loads(make_trial().model_dump_json()), "schema_version": version, "a_new_field": 1}
    del newer["device"]
    with pytest.raises(RunError) as caught:
        parse_record(TrialRecord, json.dumps(newer), origin="trials/00000/result.json")
    assert str(caught.value) == (
        f"trials/00000/result.json: schema_version {version!r} is not 1; "
        "it was written by another version of nas_distill, open it with that one"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        b"\xff\xfe",
        b'{"architecture": "\xff"}',
        '{"architecture": "a"} trailing',
        "[" * 10_000,
    ],
)
def test_a_damaged_text_is_told_in_one_line(text: str | bytes) -> None:
    with pytest.raises(RunError, match=r"^here: ") as caught:
        parse_record(StudentSpec, text, origin="here")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_a_broken_rule_names_field_rule_and_value() -> None:
    text = make_trial().model_dump_json().replace('"num_params":1', '"num_params":-5')
    with pytest.raises(RunError, match=r"^here: cost\.num_params: Input should be greater than 0 \(found -5\)$"):
        parse_record(TrialRecord, text, origin="here")

"""Records read from arbitrary text."""

from __future__ import annotations

import json

import pytest

from nas_distill.errors import RunError
from nas_distill.records import StudentSpec, TrialResult, TrialTask
from nas_distill.records.base import parse_record
from tests.records.test_records import make_trial


@pytest.mark.parametrize("version", [1, 3, 0, "2", None])
def test_another_schema_version_is_an_error_of_its_own(version: object) -> None:
    other = {**json.loads(make_trial().result().model_dump_json()), "schema_version": version, "a_new_field": 1}
    del other["outcome"]
    with pytest.raises(RunError) as caught:
        parse_record(TrialResult, json.dumps(other), origin="trials/00000/result.json")
    assert (caught.value.code, caught.value.field) == ("run.other_version", "trials/00000/result.json")
    assert repr(version) in str(caught.value)


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
def test_a_damaged_text_is_an_error_of_one_line(text: str | bytes) -> None:
    with pytest.raises(RunError) as caught:
        parse_record(StudentSpec, text, origin="here")
    assert (caught.value.code, caught.value.field) == ("run.damaged_record", "here")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 300


def test_a_violated_rule_names_the_place_and_the_value() -> None:
    text = make_trial().task.model_dump_json().replace('"num_params":1', '"num_params":-5')
    with pytest.raises(RunError) as caught:
        parse_record(TrialTask, text, origin="here")
    assert caught.value.code == "run.damaged_record"
    assert str(caught.value).startswith("here: cost.num_params: ")
    assert "-5" in str(caught.value)

"""Measurements wait for trainings between two steps, and trainings for measurements."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import pytest

from nas_distill.machine_lock import measuring, training

_LONG_S = 60.0


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use locks of this test only: trainings of other tests must not matter."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_measurement_begins_between_two_steps_and_the_training_goes_on_after_it() -> None:
    log: list[str] = []
    wants = threading.Event()
    measured = threading.Event()

    def measure() -> None:
        wants.set()
        with measuring(_LONG_S) as alone:
            log.append(f"measured {alone}")
            measured.set()

    with training() as turn:
        thread = threading.Thread(target=measure)
        thread.start()
        wants.wait(_LONG_S)
        while not measured.is_set():  # steps, until one of them gives way
            turn.give_way()
        log.append("went on")
        assert turn.paused_s > 0.0
    thread.join(_LONG_S)
    assert log == ["measured True", "went on"]


def test_a_training_does_not_begin_while_a_measurement_runs() -> None:
    log: list[str] = []

    def train() -> None:
        with training():
            log.append("trained")

    with measuring(_LONG_S) as alone:
        thread = threading.Thread(target=train)
        thread.start()
        thread.join(0.2)
        assert alone
        assert log == []
    thread.join(_LONG_S)
    assert log == ["trained"]


def test_trainings_do_not_wait_for_each_other() -> None:
    with training() as first:
        with training() as second:
            first.give_way()
            second.give_way()
        with measuring(timeout_s=0.05) as alone:
            assert not alone  # the first one holds on although the second has ended
    with measuring(_LONG_S) as alone:
        assert alone


def test_a_measurement_that_never_gets_its_turn_says_so() -> None:
    with training(), measuring(timeout_s=0.05) as alone:
        assert not alone
    with measuring(_LONG_S) as alone:
        assert alone


def test_the_locks_of_another_user_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345678)  # the folder that is made belongs to this user
    with measuring(_LONG_S) as alone:
        assert not alone
    with training() as turn:
        turn.give_way()
        assert turn.paused_s == 0.0

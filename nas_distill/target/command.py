"""Measure networks with a command of the user, such as one that runs them on a phone."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nas_distill.errors import ConfigError, SpaceError
from nas_distill.inference.onnx import check_exporter
from nas_distill.machine_lock import measuring
from nas_distill.target.measurement import Measurement
from nas_distill.target.onnx_file import write_onnx
from nas_distill.target.subject import Subject

_PLACE = "{onnx}"
_SHOWN = 120


class CommandSource:
    """Measures networks with a command (`TargetConfig.latency_command`).

    Args:
        command: Command and its arguments, as in a shell; no shell runs it.
        timeout_s: Longest time of one run, seconds.
        retries: Number of repetitions after a failure.

    Raises:
        ConfigError: The command is not a list of words, or its program does not exist.
        InstallationError: The extra `export` is not installed.
    """

    name = "command"

    def __init__(self, command: str, *, timeout_s: float, retries: int) -> None:
        check_exporter()
        self._words = _split(command)
        self._timeout_s, self._retries = timeout_s, retries
        self.version = _digest(self._words)
        self.device = command

    def measure(self, subject: Subject) -> Measurement:
        """Return the latency that the command prints for a network.

        Raises:
            SpaceError: The network cannot be exported, or every run of the command failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "model.onnx"
            write_onnx(subject, path)
            words = [word.replace(_PLACE, str(path)) for word in self._words]
            if words == list(self._words):
                words.append(str(path))
            reason = ""
            for _ in range(1 + self._retries):
                with measuring() as alone:
                    found = self._run(words)
                if isinstance(found, float):
                    return Measurement(latency_ms=found, alone=alone)
                reason = found
        runs = f", {1 + self._retries} times" if self._retries else ""
        raise SpaceError(
            f"{self._words[0]} {reason}{runs}; run it by hand on an ONNX file, it must print milliseconds in its last "
            "line",
            code="target.command_failed",
            field="target.latency_command",
        )

    def _run(self, words: Sequence[str]) -> float | str:
        """Return milliseconds, or what went wrong."""
        try:
            with subprocess.Popen(  # noqa: S603 - the command is the user's own
                words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            ) as process:
                try:
                    output, errors = process.communicate(timeout=self._timeout_s)
                except subprocess.TimeoutExpired:
                    return f"did not end within {self._timeout_s:g} s (target.command_timeout_s)"
                finally:
                    with suppress(ProcessLookupError):  # its children too, which could slow down what follows
                        os.killpg(process.pid, signal.SIGKILL)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        if process.returncode:
            return f"failed with exit status {process.returncode}: {_last_line(errors) or _last_line(output)}"
        last = _last_line(output)
        with suppress(ValueError):
            value = float(last)
            if 0.0 < value < float("inf"):
                return value
        return f"printed '{last}' instead of milliseconds above 0"


def _split(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise _wrong(f"'{command}' is not a command: {error}; check its quotes") from error
    if not words or shutil.which(words[0]) is None:
        raise _wrong(f"'{words[0] if words else command}' is not a program that can be run; give its path")
    return words


def _wrong(message: str) -> ConfigError:
    return ConfigError(message, code="target.no_command", field="target.latency_command")


def _digest(words: Sequence[str]) -> str:
    """Return a digest of the words and of the files that they name, so that an edited script is run again."""
    digest = hashlib.sha256()
    for place, word in enumerate(words):
        digest.update(word.encode() + b"\0")
        path = Path(shutil.which(word) or word) if place == 0 else Path(word)
        with suppress(OSError):
            if path.is_file():
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _last_line(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:_SHOWN] if lines else ""

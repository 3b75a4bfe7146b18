"""`TargetMeter`: the latency of networks on the target, measured once each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas_distill.config import SpaceConfig, TargetConfig
from nas_distill.errors import ConfigError
from nas_distill.objectives import MEASURED_OBJECTIVES
from nas_distill.records import Cost
from nas_distill.records.cost import TargetRecord
from nas_distill.target.cache import MeasurementCache, default_cache
from nas_distill.target.command import CommandSource
from nas_distill.target.local import OnnxRuntimeSource, PyTorchSource
from nas_distill.target.measurement import Measurement, Source
from nas_distill.target.subject import Subject
from nas_distill.target.table import TableSource

_MAX_KEPT_SPREAD = 0.25
"""Largest interquartile range of a measurement in the cache, as a share of its median."""


def is_measured(settings: TargetConfig, space: SpaceConfig, objectives: Sequence[str]) -> bool:
    """Return whether a search measures the latency of its candidates.

    Args:
        settings: Section `target` of the configuration.
        space: Section `space` of the configuration.
        objectives: Names of the objectives.
    """
    limits = (space.max_latency_ms, space.min_throughput_per_s)
    return settings.measure or limits != (None, None) or not MEASURED_OBJECTIVES.isdisjoint(objectives)


def open_source(settings: TargetConfig) -> Source:
    """Return the source of latencies that a configuration names.

    Raises:
        ConfigError: A table or a command cannot be used.
        InstallationError: A package or a GPU is missing.
    """
    if settings.latency_table is not None:
        return TableSource(Path(settings.latency_table), interpolate=settings.interpolate)
    if settings.latency_command is not None:
        return CommandSource(
            settings.latency_command, timeout_s=settings.command_timeout_s, retries=settings.command_retries
        )
    if settings.runtime == "onnxruntime":
        return OnnxRuntimeSource(threads=settings.threads, batch_size=settings.batch_size)
    return PyTorchSource(device=settings.device, threads=settings.threads, batch_size=settings.batch_size)


def check_throughput(settings: TargetConfig, objectives: Sequence[str], limit: float | None) -> None:
    """Check that a throughput is not asked of a command, which prints a latency only.

    Raises:
        ConfigError: It is.
    """
    if settings.latency_command is not None and ("throughput_per_s" in objectives or limit is not None):
        raise ConfigError(
            "prints the latency of one image only; take latency_ms and --max-latency-ms instead of a throughput",
            code="target.no_throughput",
            field="target.latency_command",
        )


class TargetMeter:
    """Measures networks and remembers them, in memory and in the cache of all runs.

    Args:
        settings: Section `target` of the configuration.
        source: Source of the latencies on the machine where they are measured.
    """

    def __init__(self, settings: TargetConfig, source: Source) -> None:
        self._source = source
        self._settings = settings
        self._found: dict[str, Measurement] = {}
        self._is_kept = source.name != "table"  # a table is its own cache
        self._cache = MeasurementCache(default_cache() if settings.cache is None else Path(settings.cache))

    def measure(self, subject: Subject) -> Measurement:
        """Return latency and throughput of a network.

        Raises:
            SpaceError: This network cannot be measured.
            RunError: The cache cannot be used.
        """
        what = self._what(subject)
        key = str(sorted(what.items()))
        if key not in self._found:
            earlier = self._cache.get(what) if self._is_kept else None
            self._found[key] = earlier or self._measure_now(subject, what)
        return self._found[key]

    def record(self, teacher: Cost) -> TargetRecord:
        """Return where and how latencies are found.

        Args:
            teacher: The teacher's cost, with its latency.
        """
        here = self._source.name in ("pytorch", "onnxruntime")
        return TargetRecord(
            source=self._source.name,  # type: ignore[arg-type]  # one of the four names
            version=self._source.version,
            device=self._source.device,
            threads=self._settings.threads if here else None,
            batch_size=self._settings.batch_size if here else None,
            teacher=teacher,
        )

    def _measure_now(self, subject: Subject, what: dict[str, Any]) -> Measurement:
        found = self._source.measure(subject)
        if self._is_kept and found.alone and not _is_noisy(found):
            self._cache.put(what, found)
        return found

    def _what(self, subject: Subject) -> dict[str, Any]:
        source = self._source
        return {
            **subject.identity(),
            "source": source.name,
            "version": source.version,
            "device": source.device,
            "threads": self._settings.threads,
            "batch_size": self._settings.batch_size,
        }


def _is_noisy(found: Measurement) -> bool:
    """Return whether other programs disturbed a measurement too much for other runs to believe it."""
    return found.latency_iqr_ms is not None and found.latency_iqr_ms > _MAX_KEPT_SPREAD * found.latency_ms

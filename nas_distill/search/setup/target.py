"""Open the source of latencies of a search, and measure the teacher with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas_distill.callbacks import Progress
from nas_distill.config import SpaceConfig, TargetConfig
from nas_distill.errors import ConfigError, RunError, SpaceError
from nas_distill.objectives import MEASURED_OBJECTIVES
from nas_distill.records import Cost, TeacherRecord, TeacherShape
from nas_distill.records.cost import TargetRecord
from nas_distill.records.network_shape import NetworkShape
from nas_distill.run_directory.files import read_record, write_record
from nas_distill.run_directory.layout import RunDirectory
from nas_distill.target.measurement import Source
from nas_distill.target.meter import TargetMeter, check_throughput, is_measured, open_source
from nas_distill.target.subject import Subject, teacher_subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a search gets latencies from.

    Attributes:
        meter: Measures candidates; None for a search that does not use latencies.
        teacher: Record of the teacher, with its latency if that is known.
    """

    meter: TargetMeter | None
    teacher: TeacherRecord


OpenSource = Callable[[TargetConfig], Source]
"""Returns the source of latencies that a configuration names, here or on another node."""


def check_target(settings: TargetConfig, space: SpaceConfig, objectives: Sequence[str]) -> None:
    """Check what can be checked of the target before anything is computed.

    Args:
        settings: Section `target` of the configuration.
        space: Section `space` of the configuration.
        objectives: Names of the objectives.

    Raises:
        ConfigError: A table or a command cannot be used, or a throughput is asked of a command.
        InstallationError: A package or a GPU is missing.
    """
    check_throughput(settings, objectives, space.min_throughput_per_s)
    if is_measured(settings, space, objectives) and settings.ray_resource is None:
        open_source(settings)


def open_target(
    run: RunDirectory,
    settings: TargetConfig,
    *,
    space: SpaceConfig,
    objectives: Sequence[str],
    teacher: TeacherRecord,
    described: TeacherShape,
    shape: NetworkShape,
    open_at: OpenSource,
    progress: Progress,
) -> Target:
    """Return where a search gets latencies from. In a new run, measure the teacher first.

    Args:
        run: The run directory.
        settings: Section `target` of the configuration.
        space: Section `space` of the configuration.
        objectives: Names of the objectives.
        teacher: Record of the teacher.
        described: Architecture and arguments of the teacher.
        shape: Input and output shape of the students.
        open_at: Opens the source, here or on another node.
        progress: Receives events.

    Raises:
        ConfigError: A table or a command cannot be used, or the teacher cannot be measured although an objective needs
            its latency.
        RunError: The run's latencies were measured in another way, so that new ones could not be compared with them.
        InstallationError: A package or a GPU is missing.
    """
    if not is_measured(settings, space, objectives):
        return Target(meter=None, teacher=teacher)
    meter = TargetMeter(settings, open_at(settings))
    if run.target.exists():
        stored = read_record(run.target, TargetRecord)
        _check_same(stored, meter.record(stored.teacher), run)
        return Target(meter=meter, teacher=teacher)
    cost = _teacher_cost(objectives, meter, teacher=teacher, described=described, shape=shape, progress=progress)
    record = meter.record(cost)
    write_record(run.target, record)
    progress.event("target", f"latencies from {record.description}{_teacher_text(cost)}")
    return Target(meter=meter, teacher=teacher.model_copy(update={"cost": cost}))


def _teacher_cost(
    objectives: Sequence[str],
    meter: TargetMeter,
    *,
    teacher: TeacherRecord,
    described: TeacherShape,
    shape: NetworkShape,
    progress: Progress,
) -> Cost:
    own = NetworkShape(num_classes=shape.num_classes, channels=shape.channels, image_size=described.image_size)
    subject = teacher_subject(described.architecture, described.arguments, own, teacher.cost)
    try:
        cost = meter.measure(subject).added_to(teacher.cost)
    except SpaceError as error:
        return _unmeasured(objectives, subject, teacher.cost, error, progress)
    if "throughput_per_s" in objectives and cost.throughput_per_s is None:
        raise ConfigError(
            "has no throughput_per_s of the teacher, which bounds that objective; add the column",
            code="target.teacher_not_measured",
            field="target.latency_table",
        )
    return cost


def _unmeasured(objectives: Sequence[str], subject: Subject, cost: Cost, error: SpaceError, progress: Progress) -> Cost:
    if not MEASURED_OBJECTIVES.isdisjoint(objectives):
        raise ConfigError(
            f"the teacher ({subject.spec.architecture}, network_id {subject.spec.network_id}) has no latency, which "
            f"bounds that objective: {error}",
            code="target.teacher_not_measured",
            field="objectives",
        ) from error
    progress.event("warning", f"the teacher has no latency: {error}")
    return cost


def _check_same(stored: TargetRecord, now: TargetRecord, run: RunDirectory) -> None:
    if stored != now:
        raise RunError(
            f"the latencies of this run come from {stored.description}, and new ones would come from "
            f"{now.description}: they cannot be compared; continue where the run began, or search with another "
            "--out",
            code="target.changed",
            field=str(run.target),
        )


def _teacher_text(cost: Cost) -> str:
    return "" if cost.latency_ms is None else f"; the teacher takes {cost.latency_ms:.3g} ms per image"

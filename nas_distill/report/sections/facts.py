"""The description of the run, and the resolution of its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from nas_distill.analysis.cost_ranks import compare_costs
from nas_distill.analysis.formatting import duration, quantity, short_bytes, short_count, signed
from nas_distill.analysis.front.front import ParetoFront
from nas_distill.analysis.front.picks import Pick, describe
from nas_distill.analysis.initial_weights import describe_initial_weights, label_initial_weights
from nas_distill.analysis.stats import accuracy_half_width_points
from nas_distill.analysis.trials.cells import parse_gaps
from nas_distill.config import FIXED_RECIPE, CostBound, SearchConfig
from nas_distill.data.manifest import DataManifest
from nas_distill.objectives import OBJECTIVES
from nas_distill.records import TeacherLink, TeacherRecord
from nas_distill.report.content import ReportContent, Row, rows

_PARAMS = OBJECTIVES["num_params"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry of the description of a run.

    Attributes:
        term: Name of the entry.
        text: Its value.
        note: Details in smaller print; may be empty.
    """

    term: str
    text: str
    note: str = ""


def pick_text(pick: Pick, front: ParetoFront) -> str:
    """Return the student of a pick and the meaning of its rule; without a student, the reason."""
    return pick.sentence if pick.number is None else f"{describe(pick, front)}. {pick.sentence}"


def run_facts(content: ReportContent) -> tuple[Fact, ...]:
    """Return the description of a run: data, teacher, space, recipe, trials and how to read its numbers."""
    config, data = content.config, content.data
    time = float(content.trials["wall_time_s"].sum())
    return (
        Fact(
            "Data",
            f"{data.source}: {len(data.class_names)} classes, {data.image_size}x{data.image_size} px, "
            f"{'grey' if data.channels == 1 else 'RGB'}",
            f"{data.num_train} training, {data.num_validation} validation and {data.num_test} test images; "
            f"the test images were {_test_use(content)}{_preparation(data)}",
        ),
        _teacher(content),
        Fact("Space", config.space.resolved_name, _budget(content)),
        *_target(content),
        _initial_weights(content),
        _recipe(config),
        Fact("Trials", content.counts.sentence(), f"{duration(time)} of training in all; seed {config.seed}"),
        _hypervolume(content),
        _resolution(content),
    )


def _preparation(data: DataManifest) -> str:
    """Return how images were resized and converted, as the end of a sentence."""
    resized, converted = data.resizing, data.conversions.sentence()
    texts = (
        "" if resized is None else f"; resized ({resized.interpolation}, centre crop of {resized.crop_ratio:.4g})",
        f"; of these images {converted}" if converted else "",
        f"; {len(data.skipped):,} unusable images skipped" if data.skipped else "",
    )
    return "".join(texts)


def _test_use(content: ReportContent) -> str:
    on_test = {record.number for record in content.confirmations if record.fold is None}
    return f"used only to confirm {len(on_test)} students" if on_test else "not used"


def _target(content: ReportContent) -> tuple[Fact, ...]:
    """Return where latencies come from, and whether they go with the size of the students."""
    target = content.target
    if target is None:
        return ()
    batches = "" if target.batch_size is None else f"; throughput in batches of {target.batch_size} images"
    teacher = target.teacher.latency_ms
    own = "the teacher was not measured" if teacher is None else f"the teacher takes {teacher:.3g} ms per image"
    ranks = compare_costs(content.trials)
    note = f"{own}{batches}; with random weights, while trainings paused"
    return (Fact("Latency", target.description, note if ranks is None else f"{note}. {ranks.sentences()}"),)


def _initial_weights(content: ReportContent) -> Fact:
    counts = content.trials["initial_weights"].value_counts()
    allowed = ", ".join(label_initial_weights(one) for one in content.config.space.initial_weights)
    used = ", ".join(f"{count} from {describe_initial_weights(str(value))}" for value, count in counts.items())
    return Fact("Initial weights", allowed, f"trials: {used}" if used else "")


def _recipe(config: SearchConfig) -> Fact:
    recipe = config.recipe
    epochs = f"{short_count(recipe.epochs)} epochs"
    if config.space.recipe != FIXED_RECIPE:
        return Fact(
            "Recipe",
            f"{epochs}; all else is chosen per trial ({config.space.recipe})",
            "losses, learning rate and regularisation differ between trials; trials.csv lists them",
        )
    losses = ", ".join(_loss(name, terms) for name, terms in recipe.losses.items()) or "none (control)"
    return Fact(
        "Recipe",
        f"{epochs}, {recipe.optimizer}, learning rate {recipe.learning_rate:g}",
        f"losses: {losses}; label weight {recipe.label_weight:g}",
    )


def _loss(name: str, terms: Mapping[str, float]) -> str:
    return f"{name}({', '.join(f'{key}={value:g}' for key, value in terms.items())})"


def _teacher(content: ReportContent) -> Fact:
    teacher = content.teacher
    origin = "trained on the training images of this run"
    if teacher.trained_on_data_id != teacher.data_id:
        origin = "trained on other images; if they include validation images, the gaps are overestimated"
    if teacher.lineage:
        chain = " \N{RIGHTWARDS ARROW} ".join(_link(link) for link in teacher.lineage)
        origin += f"; itself a student: {chain}"
    cost = teacher.cost
    return Fact(
        "Teacher",
        f"{teacher.architecture}: top-1 {100.0 * teacher.top1:.2f} %, {quantity(_PARAMS, cost.num_params)}",
        f"{short_count(cost.macs)} MACs, {short_bytes(cost.size_bytes)}; {origin}",
    )


def _link(link: TeacherLink) -> str:
    place = f"the teacher of {link.run}" if link.trial is None else f"trial {link.trial} of {link.run}"
    return f"{link.architecture} ({place}, {short_count(link.num_params)} parameters, top-1 {100.0 * link.top1:.2f} %)"


def _budget(content: ReportContent) -> str:
    space = content.config.space
    limits = [
        f"at most {_bound(limit, unit)}"
        for limit, unit in (
            (space.max_params, "parameters"),
            (space.max_macs, "MACs"),
            (space.max_size_bytes, "bytes"),
            (space.max_peak_memory_bytes, "bytes of memory"),
        )
        if limit is not None
    ]
    if space.max_latency_ms is not None:
        limits.append(f"at most {space.max_latency_ms:g} ms per image")
    if space.min_throughput_per_s is not None:
        limits.append(f"at least {space.min_throughput_per_s:g} images per second")
    if not space.allow_larger_than_teacher:
        limits.append("with fewer parameters and no more MACs than the teacher")
    return "candidates " + ", ".join(limits) if limits else "candidates of any size"


def _bound(limit: CostBound, unit: str) -> str:
    return f"{limit} of the teacher's {unit}" if isinstance(limit, str) else f"{short_count(limit)} {unit}"


def _hypervolume(content: ReportContent) -> Fact:
    front = content.front
    units = " x ".join("decades" if one.scale == "log10" else one.unit or "1" for one in front.objectives)
    bounds = ", ".join(
        quantity(objective, value) for objective, value in zip(front.objectives, front.reference, strict=True)
    )
    return Fact(
        "Hypervolume",
        f"{front.hypervolume:.2f} {units}",
        f"reference point: {bounds} (a student that guesses at random and costs as much as the teacher); "
        "comparable between searches with the same teacher, data and objectives",
    )


def _resolution(content: ReportContent) -> Fact:
    images, top1 = content.data.num_validation, content.teacher.top1
    apart = sqrt(2.0) * float(accuracy_half_width_points(np.asarray(top1), images))
    return Fact(
        "Resolution",
        f"one validation image is {100.0 / images:.2f} points",
        f"95 % interval of the difference between two accuracies like the teacher's: "
        f"\N{PLUS-MINUS SIGN} {apart:.2f} points; one run cannot separate students that are closer",
    )


def _student(content: ReportContent, pick: Pick) -> Row:
    return next(row for row in rows(content.front.members) if row["number"] == pick.number)


def hardest_class(content: ReportContent, pick: Pick) -> str:
    """Return the class with the largest gap of a pick; empty if no class has images."""
    classes = classes_by_gap(_student(content, pick), content.teacher)
    if not classes:
        return ""
    gap, name, count = classes[0]
    return f"{name}, {signed(gap)} points on {count} images"


def classes_by_gap(row: Row, teacher: TeacherRecord) -> tuple[tuple[float, str, int], ...]:
    """Return gap in points, name and number of validation images of each class with images, largest gap first.

    Args:
        row: Row of a trial.
        teacher: Teacher of the run.
    """
    gaps = parse_gaps(row["class_gap_points"])
    counted = zip(gaps, teacher.class_names, teacher.class_counts, strict=False)
    known = [(gap, name, count) for gap, name, count in counted if gap is not None]
    return tuple(sorted(known, key=lambda one: one[0], reverse=True))

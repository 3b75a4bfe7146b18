"""Fit the capacity law: the gap as a saturating power law of the size, per family, with one exponent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.formatting import signed, size_text
from nas_distill.analysis.law.bootstrap import Bootstrap, bootstrap_law
from nas_distill.analysis.law.fit import Sample
from nas_distill.analysis.law.model import CapacityLaw, Curve
from nas_distill.analysis.law.wording import SizeName, Subject
from nas_distill.analysis.stats import expanded_tail, percentile_interval
from nas_distill.errors import ConfigError, RunError, nearest_names
from nas_distill.records import TrialStatus

Floats = NDArray[np.float64]

SIZES: tuple[SizeName, ...] = get_args(SizeName)
QUANTILES: dict[Subject, float] = {"typical": 0.5, "best": 0.1}
"""Quantile of the gaps at a size that each law describes."""

MIN_STUDENTS = 6
"""Fewest students of a law, and of a family with its own curve."""

MIN_FOR_BEST = 30
"""Fewest students of a law of the best tenth: three of them lie below the curve."""

MIN_SIZES = 3
"""Fewest different sizes of a curve, which has three parameters."""

RESAMPLES = 400
MIN_RESAMPLES = 20


class LawError(RunError):
    """The students of a run do not allow a capacity law; the message says what is missing."""


def fit_capacity_law(
    trials: pd.DataFrame,
    *,
    size: SizeName = "num_params",
    of: Subject = "typical",
    level: float = 0.9,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> CapacityLaw:
    """Fit the law of the fully trained students that the teacher taught.

    The result does not depend on the order of the rows.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`. Rows without size, gap or family are ignored.
        size: Column that is the size, one of `SIZES`.
        of: Which students the law describes; see `QUANTILES`.
        level: Confidence level of the intervals, in (0, 1).
        seed: Seed of the bootstrap.
        resamples: Number of resamples, at least `MIN_RESAMPLES`.

    Raises:
        ConfigError: An argument is invalid.
        LawError: There are too few students or sizes, the size was not recorded, or all gaps are equal.
    """
    _check(of, level, resamples)
    students = law_students(trials, size=size)
    _check_students(students, size, of, _all_students(trials))
    sizes = students["size"].to_numpy(dtype=np.float64)
    gaps = students["gap_points"].to_numpy(dtype=np.float64)
    reference = float(np.exp(np.log(sizes).mean()))
    members = {str(name): np.sort(rows) for name, rows in students.groupby("family").indices.items()}
    left_out = _left_out({name: sizes[rows] for name, rows in members.items()})
    named = [name for name in members if name not in left_out]
    everyone = np.arange(len(sizes))
    possible = _possible_gaps(students)
    sample = Sample(
        groups=(*(members[name] for name in named), everyone),
        own=len(named) or 1,
        logs=np.log(sizes / reference),
        gaps=gaps,
        quantile=QUANTILES[of],
        floor=min(possible[0], float(gaps.min())),
    )
    found = bootstrap_law(sample, list(members.values()), resamples=resamples, seed=seed)
    tail = expanded_tail(level, len(sizes), 2 * sample.own + 1)
    curves = [
        _curve(found, index, tail, name, sizes[rows])
        for index, (name, rows) in enumerate(zip([*named, None], sample.groups, strict=True))
    ]
    low, high = percentile_interval(found.draws.exponents, tail)
    return CapacityLaw(
        size=size, of=of, level=level, reference=reference, exponent=float(found.law.exponents[0]),
        exponent_interval=(float(low), float(high)), curves=tuple(curves[:-1]), together=curves[-1],
        left_out=tuple(left_out.items()), possible=possible, _bootstrap=found, _tail=tail,
    )  # fmt: skip


def law_sentences(law: CapacityLaw) -> tuple[str, ...]:
    """Return a law in sentences: its exponent, the floor of each curve, and the gain of twice its largest size."""
    level = f"{100.0 * law.level:g} % interval"
    exponents = "{:.2f} to {:.2f}".format(*law.exponent_interval)
    described = "The median gap" if law.of == "typical" else "The gap that a tenth of the students stay below"
    first = (
        f"{described} is floor + rise (size / {size_text(law.size, law.reference)})^-b, with b = {law.exponent:.2f} "
        f"({level} {exponents}), fitted to {law.together.students} students."
    )
    sentences = [first]
    for curve in law.curves or (law.together,):
        floor = " to ".join(map(signed, curve.floor_interval))
        sentences.append(
            f"{curve.family or 'All families'}: floor {signed(curve.floor_points)} points ({level} {floor}), from "
            f"{curve.students} students of {size_text(law.size, curve.smallest)} to "
            f"{size_text(law.size, curve.largest)}."
        )
        sentences.append(law.gain_of_scaling(curve.largest, family=curve.family).sentence)
    sentences += [
        f"{family} has no curve of its own ({reason}). Its students count in the curve of all families."
        for family, reason in law.left_out
    ]
    return tuple(sentences)


def law_students(trials: pd.DataFrame, *, size: SizeName = "num_params") -> pd.DataFrame:
    """Return the students that a law describes: columns size, gap_points, family, teacher_top1, in a fixed order.

    These are the fully trained students that the teacher taught. A student that an assistant taught is a second
    training of a student that counts already, chosen for its large gap.

    Args:
        trials: Table of trials; see `StudySnapshot.trials`.
        size: Column that is the size, one of `SIZES`. Rows where it is missing or not positive are left out.

    Raises:
        ConfigError: `size` is not one of `SIZES`.
    """
    if size not in SIZES:
        raise ConfigError(
            f"'{size}' is not a size; {nearest_names(size, SIZES)}", code="analysis.unknown_name", field="size"
        )
    full = trials[(trials["status"] == TrialStatus.COMPLETE) & trials["assistant"].isna()]
    gaps = full["gap_points"].to_numpy(dtype=np.float64, na_value=np.nan)
    table = pd.DataFrame(
        {
            "size": full[size].to_numpy(dtype=np.float64, na_value=np.nan),
            "gap_points": gaps,
            "family": full["family"].to_numpy(),
            "teacher_top1": full["top1"].to_numpy(dtype=np.float64, na_value=np.nan) + gaps / 100.0,
        }
    )
    table = table[(table["size"] > 0.0) & np.isfinite(table["gap_points"]) & table["family"].notna()]
    ordered: pd.DataFrame = table.sort_values(["family", "size", "gap_points"], ignore_index=True)
    return ordered


def _check(of: str, level: float, resamples: int) -> None:
    if of not in QUANTILES:
        raise ConfigError(
            f"a law cannot describe '{of}'; {nearest_names(of, QUANTILES)}", code="analysis.unknown_name", field="of"
        )
    if not 0.0 < level < 1.0:
        raise ConfigError(
            f"{level} must lie between 0 and 1, both excluded; pass 0.9, for example",
            code="analysis.level_out_of_range",
            field="level",
        )
    if resamples < MIN_RESAMPLES:
        raise ConfigError(
            f"{resamples} must be at least {MIN_RESAMPLES}", code="analysis.count_too_small", field="resamples"
        )


def _all_students(trials: pd.DataFrame) -> int:
    return int(((trials["status"] == TrialStatus.COMPLETE) & trials["assistant"].isna()).sum())


def _check_students(students: pd.DataFrame, size: SizeName, of: Subject, all_students: int) -> None:
    needed = MIN_FOR_BEST if of == "best" else MIN_STUDENTS
    count, sizes = len(students), students["size"].nunique()
    if all_students >= needed and count < needed:
        raise LawError(
            f"{size} was recorded for {count} of {all_students} fully trained students, and a law needs {needed}; "
            "choose another size",
            code="analysis.size_not_recorded",
        )
    if count < needed:
        subject = "a law of the best tenth" if of == "best" else "a law"
        raise LawError(
            f"the run has {count} fully trained {'student' if count == 1 else 'students'}, and {subject} needs "
            f"{needed}; continue the search with --resume",
            code="analysis.too_few_students",
        )
    if sizes < MIN_SIZES:
        raise LawError(
            f"the students have {sizes} different {'size' if sizes == 1 else 'sizes'} ({size}), and a law needs "
            f"{MIN_SIZES}; search a space of more sizes",
            code="analysis.too_few_sizes",
        )
    if students["gap_points"].nunique() == 1:
        gap = students["gap_points"].iloc[0]
        raise LawError(
            f"all {count} students have a gap of {gap:+.2f} points, so the gap does not depend on the size; search "
            "smaller students",
            code="analysis.constant_gap",
        )


def _left_out(sizes: Mapping[str, Floats]) -> dict[str, str]:
    """Return the families without a curve of their own, each with the reason."""
    reasons = {}
    for family, own in sizes.items():
        distinct = len(np.unique(own))
        if len(own) < MIN_STUDENTS:
            reasons[family] = f"{len(own)} students, {MIN_STUDENTS} are needed"
        elif distinct < MIN_SIZES:
            reasons[family] = f"{distinct} different sizes, {MIN_SIZES} are needed"
    return reasons


def _possible_gaps(students: pd.DataFrame) -> tuple[float, float]:
    """Return the gaps of an accuracy of 1 and of 0; -100 and 100 if the teacher's accuracy is unknown."""
    top1 = float(students["teacher_top1"].median())
    return (100.0 * (top1 - 1.0), 100.0 * top1) if np.isfinite(top1) else (-100.0, 100.0)


def _curve(found: Bootstrap, index: int, tail: float, family: str | None, sizes: Floats) -> Curve:
    def interval(draws: Floats, value: float) -> tuple[float, float]:
        low, high = percentile_interval(draws, tail)
        return min(float(low), value), max(float(high), value)

    floor, rise = float(found.law.floors[0, index]), float(found.law.rises[0, index])
    return Curve(
        family=family, students=len(sizes), smallest=float(sizes.min()), largest=float(sizes.max()),
        floor_points=floor, floor_interval=interval(found.draws.floors[:, index], floor),
        rise_points=rise, rise_interval=interval(found.draws.rises[:, index], rise),
    )  # fmt: skip

"""The capacity law: gap against size as a saturating power law per family, with one exponent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nas_distill.analysis.formatting import signed
from nas_distill.analysis.law.bootstrap import Bootstrap, bootstrap_law, expanded_tail
from nas_distill.analysis.law.fit import Sample
from nas_distill.analysis.law.model import CapacityLaw, Curve
from nas_distill.analysis.law.wording import SizeName, Subject, size_text
from nas_distill.errors import ConfigError, RunError, nearest_names
from nas_distill.records import TrialStatus

Floats = NDArray[np.float64]

SIZES: tuple[SizeName, ...] = get_args(SizeName)
QUANTILES: dict[Subject, float] = {"typical": 0.5, "best": 0.1}
"""Of the gaps at a size: what the law describes."""

LEAST_STUDENTS = 6
"""Of a law, and of a family with a curve of its own."""

LEAST_FOR_BEST = 30
"""Students of a law of the best tenth: three below its curve."""

LEAST_SIZES = 3
"""Different sizes of a curve; it has three parameters."""

RESAMPLES = 400
LEAST_RESAMPLES = 20


class LawError(RunError):
    """A run whose students allow no capacity law; one line, "capacity law: ...", says what is missing."""


def fit_capacity_law(
    trials: pd.DataFrame,
    *,
    size: SizeName = "num_params",
    of: Subject = "typical",
    level: float = 0.9,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> CapacityLaw:
    """Returns the law of the fully trained students that the teacher taught.

    The order of the rows has no influence.

    Args:
        trials: Table as `frame.load_frame` returns it; rows without size, gap or family do not count.
        size: One of `SIZES`.
        of: What the law describes; see `QUANTILES`.
        level: Of the intervals, within 0 and 1.
        seed: Of the bootstrap.
        resamples: Of the bootstrap, at least `LEAST_RESAMPLES`.

    Raises:
        ConfigError: An argument breaks its rule.
        LawError: Too few students or sizes, no size is known, or all gaps are equal.
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
        _curve(found, place, tail, name, sizes[rows])
        for place, (name, rows) in enumerate(zip([*named, None], sample.groups, strict=True))
    ]
    low, high = np.quantile(found.draws.exponents, [tail, 1.0 - tail])
    return CapacityLaw(
        size=size, of=of, level=level, reference=reference, exponent=float(found.law.exponents[0]),
        exponent_interval=(float(low), float(high)), curves=tuple(curves[:-1]), together=curves[-1],
        left_out=tuple(left_out.items()), possible=possible, _bootstrap=found, _tail=tail,
    )  # fmt: skip


def law_sentences(law: CapacityLaw) -> tuple[str, ...]:
    """Returns what a law says, for people: exponent, each curve's floor, what twice its largest size is worth."""
    level = f"{100.0 * law.level:g} % interval"
    exponents = "{:.2f} to {:.2f}".format(*law.exponent_interval)
    described = "the median gap" if law.of == "typical" else "the gap that a tenth of the students stay below"
    first = (
        f"The law is {described} at a size: floor + rise (size / {size_text(law.size, law.reference)})^-b, "
        f"with b = {law.exponent:.2f} ({level} {exponents}), fitted to {law.together.students} students."
    )
    sentences = [first]
    for curve in law.curves or (law.together,):
        floor = " to ".join(map(signed, curve.floor_interval))
        sentences.append(
            f"{curve.family or 'All families'}: floor {signed(curve.floor_points)} points ({level} {floor}), "
            f"by {curve.students} students of {size_text(law.size, curve.smallest)} to "
            f"{size_text(law.size, curve.largest)}."
        )
        sentences.append(law.gain_of_scaling(curve.largest, family=curve.family).sentence)
    sentences += [
        f"{family} has no curve of its own ({reason}); its students count in the curve of all families."
        for family, reason in law.left_out
    ]
    return tuple(sentences)


def law_students(trials: pd.DataFrame, *, size: SizeName = "num_params") -> pd.DataFrame:
    """Returns the students that a law is about: columns size, gap_points, family, teacher_top1, in a fixed order.

    Fully trained students that the teacher taught: what an assistant taught is a second training of a student that
    counts already, chosen for its large gap.

    Args:
        trials: Table as `frame.load_frame` returns it.
        size: One of `SIZES`; rows where it is missing or not positive are left out.

    Raises:
        ConfigError: `size` is none of them.
    """
    if size not in SIZES:
        raise ConfigError(f"size: '{size}' is not a size; {nearest_names(size, SIZES)}")
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
        raise ConfigError(f"of: '{of}' is not what a law can describe; {nearest_names(of, QUANTILES)}")
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level: {level} must lie within 0 and 1, such as 0.9")
    if resamples < LEAST_RESAMPLES:
        raise ConfigError(f"resamples: {resamples} must be at least {LEAST_RESAMPLES}")


def _all_students(trials: pd.DataFrame) -> int:
    return int(((trials["status"] == TrialStatus.COMPLETE) & trials["assistant"].isna()).sum())


def _check_students(students: pd.DataFrame, size: SizeName, of: Subject, all_students: int) -> None:
    needed = LEAST_FOR_BEST if of == "best" else LEAST_STUDENTS
    count, sizes = len(students), students["size"].nunique()
    if all_students >= needed and count < needed:
        raise LawError(
            f"capacity law: {size} is known of {count} of {all_students} fully trained students, {needed} are needed; "
            "take another size"
        )
    if count < needed:
        subject = "a law of the best tenth" if of == "best" else "a law"
        raise LawError(
            f"capacity law: {count} fully trained {'student' if count == 1 else 'students'}, {needed} are needed for "
            f"{subject}; search on with --resume"
        )
    if sizes < LEAST_SIZES:
        raise LawError(
            f"capacity law: the students have {sizes} different {'size' if sizes == 1 else 'sizes'} ({size}), "
            f"{LEAST_SIZES} are needed; search a space of more sizes"
        )
    if students["gap_points"].nunique() == 1:
        gap = students["gap_points"].iloc[0]
        raise LawError(
            f"capacity law: all {count} students have a gap of {gap:+.2f} points, whatever their size; "
            "search smaller students"
        )


def _left_out(sizes: Mapping[str, Floats]) -> dict[str, str]:
    """Returns families without a curve of their own, and why."""
    reasons = {}
    for family, own in sizes.items():
        distinct = len(np.unique(own))
        if len(own) < LEAST_STUDENTS:
            reasons[family] = f"{len(own)} students, {LEAST_STUDENTS} are needed"
        elif distinct < LEAST_SIZES:
            reasons[family] = f"{distinct} different sizes, {LEAST_SIZES} are needed"
    return reasons


def _possible_gaps(students: pd.DataFrame) -> tuple[float, float]:
    """Returns the gaps of a student that is always right and of one that never is; wide where top-1 is not known."""
    top1 = float(students["teacher_top1"].median())
    return (100.0 * (top1 - 1.0), 100.0 * top1) if np.isfinite(top1) else (-100.0, 100.0)


def _curve(found: Bootstrap, place: int, tail: float, family: str | None, sizes: Floats) -> Curve:
    def interval(draws: Floats, value: float) -> tuple[float, float]:
        low, high = np.quantile(draws, [tail, 1.0 - tail])
        return min(float(low), value), max(float(high), value)

    floor, rise = float(found.law.floors[0, place]), float(found.law.rises[0, place])
    return Curve(
        family=family, students=len(sizes), smallest=float(sizes.min()), largest=float(sizes.max()),
        floor_points=floor, floor_interval=interval(found.draws.floors[:, place], floor),
        rise_points=rise, rise_interval=interval(found.draws.rises[:, place], rise),
    )  # fmt: skip

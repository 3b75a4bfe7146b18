from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_distill.objectives import get_objective
from nas_distill.records import StudentSpec
from nas_distill.report import load_content
from nas_distill.report.figures.axis import Axis, cost_axis, epoch_axis, quality_axis
from nas_distill.report.figures.curves import curve_figure
from nas_distill.report.figures.front import family_styles, front_figure
from nas_distill.report.figures.labels import CHARACTER_PX, Box, place_labels, text_box
from tests.report.factory import make_record, make_records, make_run, make_teacher

pytestmark = pytest.mark.usefixtures("known_effects")

_PARAMS, _GAP, _AGREEMENT = (get_objective(name) for name in ("num_params", "gap_points", "agreement"))


def _check_axis(axis: Axis, values: list[float], length: float, *, gap_px: float) -> None:
    assert all(0.0 <= axis.share(value) <= 1.0 for value in values)
    assert len(axis.ticks) >= 2
    assert len({tick.label for tick in axis.ticks}) == len(axis.ticks)
    assert all(abs(b.share - a.share) >= gap_px / length - 1e-9 for a, b in pairwise(axis.ticks))


@given(st.lists(st.floats(1.0, 1e9), min_size=1, max_size=20), st.sampled_from([290.0, 1000.0]))
def test_cost_axes_contain_all_values_and_have_readable_ticks(values: list[float], length: float) -> None:
    axis = cost_axis(values, _PARAMS, length=length)
    _check_axis(axis, values, length, gap_px=7.0 * max(len(tick.label) for tick in axis.ticks))


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=20))
def test_axes_of_latency_and_throughput_contain_values_below_one_with_fast_students_on_the_left(
    values: list[float],
) -> None:
    for name in ("latency_ms", "throughput_per_s"):
        axis = cost_axis(values, get_objective(name), length=1000.0)
        _check_axis(axis, values, 1000.0, gap_px=20.0)
        fastest, slowest = (min(values), max(values)) if name == "latency_ms" else (max(values), min(values))
        assert axis.share(fastest) <= axis.share(slowest)


@given(st.lists(st.floats(-20.0, 99.0), min_size=1, max_size=20), st.sampled_from([290.0, 380.0]))
def test_gap_axes_contain_all_values_and_the_level_of_the_teacher(values: list[float], length: float) -> None:
    _check_axis(quality_axis(values, _GAP, length=length), [*values, 0.0], length, gap_px=16.0)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_share_axes_contain_all_values(values: list[float]) -> None:
    _check_axis(quality_axis(values, _AGREEMENT, length=300.0), values, 300.0, gap_px=16.0)


@pytest.mark.parametrize("epochs", [2, 3, 12, 30, 240, 1000])
def test_epoch_axes_have_whole_epochs(epochs: int) -> None:
    axis = epoch_axis(epochs, length=250.0)
    _check_axis(axis, [1.0, float(epochs)], 250.0, gap_px=30.0)
    assert all(tick.label.isdigit() for tick in axis.ticks)


def test_round_sizes_have_short_labels() -> None:
    axis = cost_axis([5_000, 1_200_000], _PARAMS, length=500.0)
    assert [tick.label for tick in axis.ticks] == ["10k", "30k", "100k", "300k", "1M"]


_POINTS = st.tuples(st.floats(10.0, 290.0), st.floats(10.0, 290.0))


@given(st.lists(_POINTS, min_size=3, max_size=3, unique=True), st.lists(_POINTS, max_size=20))
def test_labels_are_inside_the_plot_and_do_not_overlap(
    picks: list[tuple[float, float]], points: list[tuple[float, float]]
) -> None:
    texts = ("Within tolerance (#3)", "Trade-off (#12)", "Best (#7)")
    plot = Box(0.0, 0.0, 300.0, 300.0)
    wanted = [(text, x, y) for text, (x, y) in zip(texts, picks, strict=True)]
    labels = place_labels(wanted, plot=plot, points=[*picks, *points])
    boxes = [text_box(label.text, label.x, label.y - 12.0) for label in labels]
    assert all(box.within(plot) for box in boxes)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("count", [1, 16, 200])
def test_the_front_figure_draws_every_complete_student_inside(tmp_path: Path, count: int) -> None:
    content = load_content(make_run(tmp_path, make_records(count + 2, failed=2, families=9)))
    for width, height in ((1080.0, 460.0), (372.0, 380.0)):
        figure = front_figure(content, key="wide", width=width, height=height)
        assert sorted(point.number for point in figure.points) == list(range(count))
        assert all(figure.plot.holds(point.x, point.y) for point in figure.points)
        marked = {point.number for point in figure.points if point.role != "dominated"}
        assert marked == set(content.front.numbers)
        for label in figure.labels:
            assert figure.plot.left <= label.x <= figure.plot.right - CHARACTER_PX * len(label.text)
        assert figure.teacher.label_x <= width


def test_a_far_larger_teacher_is_marked_at_the_edge(tmp_path: Path) -> None:
    near, far = (make_teacher(num_params=size) for size in (1_240_000, 10**11))
    marks = [
        front_figure(
            load_content(make_run(tmp_path / str(number), make_records(8, teacher=teacher), teacher=teacher)),
            key="wide",
            width=1080.0,
            height=460.0,
        ).teacher
        for number, teacher in enumerate((near, far))
    ]
    assert [mark.beyond for mark in marks] == [False, True]
    assert marks[1].label.startswith("Teacher 100G")


def test_families_differ_in_colour_and_marker(tmp_path: Path) -> None:
    records = [
        make_record(0, gap_points=1.0, num_params=1000, spec=StudentSpec(architecture="a", family=f"family {number}"))
        for number in range(64)
    ]
    styles = family_styles(load_content(make_run(tmp_path, records))).values()
    assert len({(style.colour, style.marker) for style in styles}) == 64
    assert len({style.colour for style in list(styles)[:8]}) == 8


def test_curves_are_drawn_for_the_front_and_labelled_for_picks(tmp_path: Path) -> None:
    content = load_content(make_run(tmp_path, make_records(16)))
    figure = curve_figure(content, key="wide", width=1080.0, height=460.0)
    assert figure is not None
    assert {line.number for line in figure.lines} == set(content.front.numbers)
    assert {line.number for line in figure.lines if line.label} == {pick.number for pick in content.picks}
    places = sorted(line.label_y for line in figure.lines if line.label)
    assert all(b - a >= 16.0 for a, b in pairwise(places))


def test_long_curves_are_thinned_out_and_keep_their_end(tmp_path: Path) -> None:
    content = load_content(make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000, epochs=300)]))
    figure = curve_figure(content, key="wide", width=1080.0, height=460.0)
    assert figure is not None
    assert figure.lines[0].path.count("L") < 60
    assert figure.lines[0].end_x == figure.plot.right


def test_a_single_epoch_has_no_curve(tmp_path: Path) -> None:
    content = load_content(make_run(tmp_path, [make_record(0, gap_points=1.0, num_params=1000, epochs=1)]))
    assert curve_figure(content, key="wide", width=1080.0, height=460.0) is None

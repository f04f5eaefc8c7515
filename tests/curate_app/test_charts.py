"""The curves: round ticks, labels that don't overlap, and pictures whose coordinates follow from the values."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate_app.admin.panels import reward_chart, shares_chart
from curate_app.plots.svg import Chart, Line, Point, apart, draw, ticks
from data.measurements import Mean, Measurements
from data.records import Generation

finite = st.floats(-1e6, 1e6)


def generation(t: int, **measurements) -> Generation:
    return Generation(t, None, "x", "x", 10, 0, "mix", measurements=Measurements(**measurements))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.25, 0.5, 0.75, 1]), (0.93, 1.34, [0.8, 1, 1.2, 1.4]), (3, 3, [2.6, 2.8, 3, 3.2, 3.4])],
)
def test_ticks_are_round_and_span_the_values(low: float, high: float, expected: list[float]):
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize("value", [0.0, -3e-17, 2e-16])
def test_zeros_but_for_rounding_are_drawn_above_a_floor_of_zero(value: float):
    assert "<svg" in draw(Chart("share", "Nothing.", [Line("all", [Point(0, value), Point(1, value)])], floor=0.0))


@given(finite, finite)
def test_ticks_span_any_values_with_a_few_marks(one: float, two: float):
    low, high = min(one, two), max(one, two)
    marks = ticks(low, high)
    hair = 1e-8 * (high - low) + 1e-9
    assert marks[0] <= low + hair and marks[-1] >= high - hair
    assert 2 <= len(marks) <= 8
    assert marks == sorted(set(marks))


@given(st.lists(st.floats(0, 200), min_size=1, max_size=12))
def test_apart_keeps_the_order_and_the_gap(heights: list[float]):
    placed = apart(heights, 13, 0, 200)
    gap = min(13, 200 / max(1, len(heights) - 1))
    inside = sorted(placed)
    assert inside[0] >= -1e-6 and inside[-1] <= 200 + 1e-6
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(inside))
    by_height = sorted(range(len(heights)), key=lambda index: heights[index])
    assert [placed[index] for index in by_height] == inside


def test_apart_leaves_alone_what_has_room():
    assert apart([10, 50, 30], 13, 0, 200) == [10, 50, 30]


def test_a_chart_is_drawn_in_two_sizes_that_say_what_they_show():
    line = Line("generator", [Point(0, 1.0, 0.1), Point(1, 2.0, 0.1)], loud=True)
    html = draw(Chart("mean reward", "Up from 1 to 2.", [line], 1.5, "real data"))
    pictures = ElementTree.fromstring(f"<div>{html}</div>").findall("svg")
    assert [picture.get("class") for picture in pictures] == ["chart wide", "chart narrow"]
    for picture in pictures:
        assert picture.get("aria-label") == "Up from 1 to 2."
        (path,) = picture.findall("path")
        (x0, y0), (x1, y1) = re.findall(r"([\d.]+),([\d.]+)", path.get("d") or "")
        reference = picture.find("line[@class='reference']")
        assert reference is not None
        assert float(x0) < float(x1)
        assert float(reference.get("y1") or 0) == pytest.approx((float(y0) + float(y1)) / 2, abs=0.1)


def test_names_from_the_study_are_escaped():
    html = draw(Chart("<y>", "<spoken>", [Line("<b>", [Point(0, 1.0)], loud=True)], 1.0, "<real>"))
    assert not re.search("<(y|spoken|b|real)>", html)


def test_nothing_measured_draws_nothing():
    assert reward_chart([], Measurements()) is None
    assert shares_chart([generation(0)], Measurements()) is None
    assert draw(Chart("y", "", [Line("a", [])])) == ""


def test_the_reward_chart_has_a_point_for_each_measured_generation():
    chart = reward_chart(
        [
            generation(0, mean_reward=Mean(value=1.0, se=0.1)),
            generation(1),
            generation(2, mean_reward=Mean(value=3.0)),
        ],
        Measurements(mean_reward=Mean(value=1.5, se=0.1)),
    )
    assert chart is not None
    assert chart.lines[0].points == [Point(0, 1.0, 0.1), Point(2, 3.0)]
    assert chart.reference == 1.5


def test_the_class_that_moved_most_is_loud_even_when_it_shrank():
    shares = [[0.5, 0.3, 0.2], [0.2, 0.45, 0.35]]
    names = ["cat", "dog", "fox"]
    chart = shares_chart(
        [generation(t, class_shares=row, class_names=names) for t, row in enumerate(shares)],
        Measurements(class_shares=(0.4, 0.3, 0.3)),
    )
    assert chart is not None
    assert [(line.name, line.loud) for line in chart.lines] == [("cat", True), ("dog", False), ("fox", False)]
    assert chart.reference == 0.4
    assert "cat" in chart.spoken and "50% to 20%" in chart.spoken


@pytest.mark.parametrize("rows", [[[0.01, 0.99]], [[0.01, 0.99], [0.013, 0.987]]])
def test_shares_that_have_not_moved_are_not_said_to_have(rows: list[list[float]]):
    chart = shares_chart(
        [generation(t, class_shares=row, class_names=["cat", "dog"]) for t, row in enumerate(rows)], Measurements()
    )
    assert chart is not None
    assert chart.spoken == "The share of no class has moved by a percentage point."

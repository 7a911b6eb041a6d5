# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things stand in the charts of a report."""

from __future__ import annotations

import datetime
import itertools
import typing as t
from xml.etree import ElementTree as ET

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils import _report_svg as charts
from ansible_collections.changeops.rollback.plugins.plugin_utils._outcome import OUTCOMES
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_svg import Bar, Lane, Run

NOON = datetime.datetime(2026, 11, 26, 12, 0, 0, tzinfo=datetime.UTC)

# Seconds of a chart, and the times on its axis.
TICKS: list[tuple[float, list[float]]] = [
    (1, [0, 1]),
    (7.9, [0, 1, 2, 3, 4, 5, 6, 7]),
    (25, [0, 5, 10, 15, 20, 25]),
    (201, [0, 30, 60, 90, 120, 150, 180]),
    (3600, [0, 600, 1200, 1800, 2400, 3000, 3600]),
    (86400 * 30, [0, 86400 * 4, 86400 * 8, 86400 * 12, 86400 * 16, 86400 * 20, 86400 * 24, 86400 * 28]),
]


@pytest.mark.parametrize(("length", "expected"), TICKS)
def test_times_on_the_axis_are_round_and_few(length: float, expected: list[float]) -> None:
    assert charts.ticks(length) == expected


def drawn(*lanes: Lane, **options: t.Any) -> ET.Element:
    return ET.fromstring(charts.timeline(lanes, "Phases", "What happened.", NOON, **options))


def rects(svg: ET.Element, of: str) -> list[tuple[float, float]]:
    """Left and right of each bar of a kind."""
    found = [group.find("rect") for group in svg.iter("g") if of in (group.get("class") or "").split()]
    return [
        (float(one.attrib["x"]), float(one.attrib["x"]) + float(one.attrib["width"]))
        for one in found
        if one is not None
    ]


def test_bars_stand_in_proportion_to_their_times() -> None:
    svg = drawn(
        Lane("web1", [Bar("1", "", 0, 50, "main"), Bar("2", "", 50, 100, "main"), Bar("1", "", 100, 200, "recover")])
    )
    (one, two), [three] = rects(svg, "main"), rects(svg, "recover")
    assert two[0] - one[0] == pytest.approx((three[0] - one[0]) / 2, abs=0.2)
    assert one[1] < two[0] and two[1] < three[0], "a gap tells where one ends and the next begins"
    assert three[1] - three[0] == pytest.approx(2 * (one[1] - one[0]), abs=1.5)
    assert three[1] <= charts.WIDTH


def test_what_is_marked_stands_where_it_happened() -> None:
    lane = Lane("web1", [Bar("1", "", 0, 20, "main"), Bar("2", "", 20, 60, "main"), Bar("3", "", 60, 100, "main")])
    svg = drawn(lane, down=(20, 60), no_return=60.0)
    [shade] = [one for one in svg.iter("rect") if one.get("class") == "down"]
    first, second, third = rects(svg, "main")
    assert float(shade.attrib["x"]) == second[0]
    assert float(shade.attrib["x"]) + float(shade.attrib["width"]) == pytest.approx(third[0], abs=0.2)
    [line] = [one for one in svg.iter("path") if one.get("class") == "noreturn"]
    assert line.attrib["d"].startswith(f"M{third[0]:g} ")
    assert first[0] < second[0]
    words = [one.text for one in svg.iter("text")]
    assert "down 40.0 s" in words and "point of no return" in words
    assert "12:01:00" in words, "the axis has the time of day"


def test_generous_estimates_leave_room_for_what_was_done() -> None:
    planned = [Bar("1", "1 backup, estimated 2 min", 0, 120, "planned"), Bar("2", "2 stop", 120, 600, "planned")]
    svg = drawn(Lane("as planned", planned), Lane("web1", [Bar("1", "", 0, 10, "main"), Bar("2", "", 10, 20, "main")]))
    [first] = rects(svg, "planned")
    one, two = rects(svg, "main")
    assert two[1] - one[0] > (first[1] - first[0]) / 2
    assert first[1] <= charts.WIDTH
    assert "1 →" in [text.text for text in svg.iter("text")], "it goes on where it is cut"


def test_lanes_do_not_overlap_and_the_chart_is_as_high_as_they_are() -> None:
    lanes = [Lane(f"web{number}", [Bar("1", "", 0, 9, "main")]) for number in range(40)]
    svg = drawn(*lanes)
    tops = [float(group.find("rect").attrib["y"]) for group in svg.iter("g")]  # type: ignore[union-attr]
    assert [two - one for one, two in itertools.pairwise(tops)] == [charts.LANE] * 39
    height = float(svg.attrib["viewBox"].split()[3])
    assert tops[-1] + charts.BAR < height == charts.TOP + 40 * charts.LANE + charts.BOTTOM


def test_a_failure_is_told_by_more_than_colour_however_short_it_was() -> None:
    bars = [Bar("1", "1 backup", 0, 1000, "main"), Bar("2", "2 stop", 1000, 1100, "main", "failed"),
            Bar("3", "3 git", 1100, 1101, "main"),
            Bar("12", "12 verify", 1101, 1150, "main", "unreachable")]  # fmt: skip
    svg = drawn(Lane("web1", bars))
    labels = [[text.text for text in group.iter("text")] for group in svg.iter("g")]
    assert labels == [["1"], ["✕ 2"], [], ["✕ 12"]] or labels == [["1"], ["✕ 2"], [], ["✕"]]
    assert [one[1] - one[0] >= 2 for one in rects(svg, "bar")] == [True] * 4, "the shortest can be seen"
    assert len(rects(svg, "bad")) == 2
    assert [group.findtext("title") for group in svg.iter("g")] == ["1 backup", "2 stop", "3 git", "12 verify"]


def test_a_long_name_is_cut_and_kept_whole_beside_it() -> None:
    name = "web-" + "x" * 60 + ".example.com"
    svg = drawn(Lane(name, [Bar("1", "", 0, 9, "main")]))
    [label] = [one for one in svg.iter("text") if one.get("class") == "lane"]
    assert label.text is not None and len(label.text) == charts.NAME_LENGTH
    assert label.findtext("title") == name
    assert rects(svg, "main")[0][0] >= float(label.attrib["x"])


def test_nothing_is_divided_by_no_time() -> None:
    svg = drawn(Lane("web1", [Bar("1", "", 0, 0, "main")]))
    assert rects(svg, "main")[0][1] < charts.WIDTH
    assert ET.fromstring(charts.history([Run("refused", 0.0, "2026-11-26", "", "")], "Runs", "")).find("g") is not None


def test_runs_stand_in_their_order_as_high_as_they_took_time() -> None:
    runs = [Run(outcome, seconds, f"2026-11-{day}", "12:00", outcome) for outcome, seconds, day in
            (("succeeded", 100.0, 1), ("failed", 50.0, 2), ("refused", 0.0, 3))]  # fmt: skip
    svg = ET.fromstring(charts.history([*runs, Run("", None, "2026-11-3", "13:30", "running")], "Runs", "All of them."))
    marks = [one.attrib["transform"] for one in svg.iter("path") if one.get("class") == "mark"]
    places = [tuple(map(float, mark[len("translate(") : -1].split())) for mark in marks]
    left, high = zip(*places, strict=True)
    assert list(left) == sorted(left)
    assert high[1] - high[0] == charts.HISTORY_PLOT / 2
    assert high[2] - high[0] == charts.HISTORY_PLOT
    assert {text.text for text in svg.iter("text")} > {"1 min 40 s", "50.0 s", "running", "2026-11-1", "13:30"}


def test_each_outcome_has_a_shape_of_its_own() -> None:
    assert set(charts.SHAPES) == set(OUTCOMES)
    assert len({charts.mark(outcome) for outcome in (*OUTCOMES, "")}) == len(OUTCOMES) + 1
    assert charts.mark("failed") != charts.mark("failed", True)


def test_markup_in_any_text_is_text() -> None:
    evil = "<b onmouseover=alert(1)>\"'&"
    block = Bar(evil, evil, 0, 900, "main")
    texts = [
        charts.timeline([Lane(evil, [block])], evil, evil, NOON),
        charts.history([Run(evil, 5.0, evil, evil, evil)], evil, evil),
        charts.mark(evil),
    ]
    for text in texts:
        assert "<b" not in text
        assert ET.fromstring(text) is not None

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The charts of a report, as SVG to stand in a page. Pure functions. Private to this collection.

An element tree writes them, so no text can become markup. Colours come from the page, by class: it has a light and a
dark form. Nothing is told by colour alone, and each chart has a table beside it with the same figures.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import typing as t
from xml.etree import ElementTree as ET

from ._history_view import duration_words
from ._outcome import BAD, FAILED, INTERRUPTED, RECOVERED, REFUSED, SUCCEEDED, shorten

WIDTH = 960
LANE, BAR = 24, 16  # heights of a host's lane, and of a bar in it
TOP, BOTTOM = 38, 28  # room above the lanes for what is marked, below them for the times
PLANNED = "planned"
MOST_PLANNED = 1.5  # times what was done, an estimate is shown; generous ones would leave no room for that
NAME_LENGTH = 24  # letters of a host's name that are shown
HISTORY_HEIGHT, HISTORY_PLOT = 176, 120
_LETTER = 7.0  # about the width of a letter
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_LEGIBLE = 12  # pixels that a bar needs for a label of a letter or two

# Shapes around the middle of a run's mark, so that outcomes differ without colour. A run at work has a ring.
SHAPES = {
    SUCCEEDED: "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0z",
    RECOVERED: "M0-7L7 6H-7z",
    FAILED: "M-6-4L-4-6 0-2 4-6 6-4 2 0 6 4 4 6 0 2-4 6-6 4-2 0z",
    REFUSED: "M-6-6H6V6H-6z",
    INTERRUPTED: "M0-7L7 0 0 7-7 0z",
}
RING = "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0-12 0zM-3 0a3 3 0 1 1 6 0a3 3 0 1 1-6 0z"


@dataclasses.dataclass(frozen=True)
class Bar:
    """What a host did from ``start`` to ``end``, seconds since the chart begins.

    ``kind``: ``preflight``, ``main``, ``recover`` or ``PLANNED``. ``label`` stands in the bar where there is room,
    ``title`` is the whole of it in words.
    """

    label: str
    title: str
    start: float
    end: float
    kind: str
    status: str = ""


@dataclasses.dataclass(frozen=True)
class Lane:
    """A host and its bars."""

    name: str
    bars: t.Sequence[Bar]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in the history. ``aside``: a dry run or a rehearsal, which has a mark without filling."""

    outcome: str
    seconds: float | None
    day: str
    time: str
    title: str
    aside: bool = False


def ticks(length: float, most: int = 8) -> list[float]:
    """Round times from 0 up to ``length`` seconds, at most ``most`` after the first."""
    step = next((step for step in _STEPS if length / step <= most), math.ceil(length / most / 86400) * 86400)
    return [number * step for number in range(int(length // step) + 1)]


def timeline(
    lanes: t.Sequence[Lane],
    title: str,
    described: str,
    began: datetime.datetime,
    down: tuple[float, float] | None = None,
    no_return: float | None = None,
) -> str:
    """The lanes below each other on one axis of time.

    :arg began: the time at 0.
    :arg down: from when to when the service was down, shaded.
    :arg no_return: when the point of no return was passed.
    """
    names = [shorten(lane.name, NAME_LENGTH) for lane in lanes]
    left = max([len(name) for name in names], default=0) * _LETTER + 14
    ends = {planned: [block.end for lane in lanes for block in lane.bars if (block.kind == PLANNED) == planned]
            for planned in (False, True)}  # fmt: skip
    done = max([*ends[False], *(down or ()), no_return or 0, 1.0])
    length = max(done, min(max(ends[True], default=0.0), done * MOST_PLANNED))
    foot = TOP + len(lanes) * LANE

    def x(seconds: float) -> float:
        return float(round(left + seconds / length * (WIDTH - left - 10), 1))

    svg = _chart("timeline", title, described, foot + BOTTOM)
    if down is not None:
        _add(
            svg, "rect", "down", x=x(down[0]), y=TOP - 6, width=round(x(down[1]) - x(down[0]), 1), height=foot - TOP + 6
        )
        words = f"down {duration_words(down[1] - down[0])}"
        # at its end: near its beginning is the point of no return
        anchor = "end" if x(down[1]) - left > len(words) * _LETTER else "start"
        _add(svg, "text", "downlabel", words, x=x(down[1]), y=TOP - 10, text_anchor=anchor)
    for seconds in ticks(length):
        _add(svg, "path", "grid", d=f"M{x(seconds)} {TOP}V{foot}")
        anchor = "start" if seconds == 0 else "middle" if x(seconds) < WIDTH - 40 else "end"
        _add(svg, "text", "tick", _clock(began, seconds), x=x(seconds), y=foot + 18, text_anchor=anchor)
    for number, (lane, name) in enumerate(zip(lanes, names, strict=True)):
        middle = TOP + number * LANE + LANE / 2
        label = _add(svg, "text", "lane", name, x=left - 10, y=middle + 4, text_anchor="end")
        if name != lane.name:
            _add(label, "title", text=lane.name)
        for block in lane.bars:
            if block.start < length:
                cut = dataclasses.replace(block, label=f"{block.label} →", end=length) if block.end > length else block
                _bar(svg, cut, x(cut.start), max(x(cut.end) - x(cut.start) - 1, 2), middle - BAR / 2)
    if no_return is not None:
        at = x(no_return)
        anchor = "end" if at > WIDTH - 150 else "start"
        _add(svg, "path", "noreturn", d=f"M{at} {TOP - 26}V{foot}")
        _add(svg, "text", "noreturnlabel", "point of no return", x=at, y=TOP - 28, text_anchor=anchor)
    return ET.tostring(svg, encoding="unicode")


def _bar(svg: ET.Element, block: Bar, left: float, width: float, top: float) -> None:
    group = _add(svg, "g", f"bar {block.kind}{' bad' if block.status in BAD else ''}")
    _add(group, "title", text=block.title)
    width = round(width, 1)
    _add(group, "rect", x=left, y=top, width=width, height=BAR, rx=2)
    label = f"✕ {block.label}" if block.status in BAD else block.label
    if len(label) * _LETTER + 4 > width:
        label = "✕" if block.status in BAD else ""
    if label and width >= _LEGIBLE:
        _add(group, "text", text=label, x=round(left + width / 2, 1), y=top + BAR - 4, text_anchor="middle")


def history(runs: t.Sequence[Run], title: str, described: str) -> str:
    """A mark for each run, the earliest one at the left, as high as it took time."""
    longest = max([run.seconds or 0 for run in runs], default=0) or 1
    top = 24
    foot = top + HISTORY_PLOT
    marks = ticks(longest, 4)
    left = max(len(_axis(seconds)) for seconds in marks) * _LETTER + 14
    svg = _chart("history", title, described, HISTORY_HEIGHT)
    for seconds in marks:
        y = round(foot - seconds / longest * HISTORY_PLOT, 1)
        _add(svg, "path", "grid", d=f"M{left} {y}H{WIDTH - 10}")
        _add(svg, "text", "tick", _axis(seconds), x=left - 8, y=y + 4, text_anchor="end")
    step = (WIDTH - 10 - left) / max(len(runs), 1)
    day = ""
    for number, run in enumerate(runs):
        x = round(left + step * (number + 0.5), 1)
        y = round(foot - (run.seconds or 0) / longest * HISTORY_PLOT, 1)
        group = _add(svg, "g", f"run {run.outcome or 'running'}{' aside' if run.aside else ''}")
        _add(group, "title", text=run.title)
        _add(group, "path", "stem", d=f"M{x} {foot}V{y}")
        _add(group, "path", "mark", d=SHAPES.get(run.outcome, RING), transform=f"translate({x} {y})")
        if step >= 48:
            words = duration_words(run.seconds) or "running"
            _add(group, "text", "took", words, x=x, y=y - 11, text_anchor="middle")
        if number % math.ceil(72 / step) == 0:
            _add(svg, "text", "tick", run.time if run.day == day else run.day, x=x, y=foot + 20, text_anchor="middle")
            day = run.day
    return ET.tostring(svg, encoding="unicode")


def mark(outcome: str, aside: bool = False) -> str:
    """The mark of an outcome alone, to stand before its name."""
    classes = f"run {outcome or 'running'}{' aside' if aside else ''}"
    svg = ET.Element("svg", {"class": classes, "viewBox": "-9 -9 18 18", "width": "14", "height": "14"})
    svg.attrib["aria-hidden"] = "true"
    _add(svg, "path", "mark", d=SHAPES.get(outcome, RING))
    return ET.tostring(svg, encoding="unicode")


def _chart(name: str, title: str, described: str, height: float) -> ET.Element:
    svg = ET.Element("svg", {"class": f"chart {name}", "viewBox": f"0 0 {WIDTH} {height:.0f}", "role": "img"})
    svg.attrib["aria-labelledby"] = f"{name}-title {name}-desc"
    _add(svg, "title", text=title, id=f"{name}-title")
    _add(svg, "desc", text=described, id=f"{name}-desc")
    return svg


def _add(parent: ET.Element, tag: str, of: str = "", text: str = "", **attributes: t.Any) -> ET.Element:
    named = {name.replace("_", "-"): f"{value:g}" if isinstance(value, float) else str(value)
             for name, value in attributes.items()}  # fmt: skip
    child = ET.SubElement(parent, tag, {**({"class": of} if of else {}), **named})
    child.text = text or None
    return child


def _clock(began: datetime.datetime, seconds: float) -> str:
    return f"{began + datetime.timedelta(seconds=seconds):%H:%M:%S}"


def _axis(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 7200 else f"{seconds / 3600:g} h"

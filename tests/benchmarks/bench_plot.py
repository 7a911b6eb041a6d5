# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plot of docs/performance.md: bars for the downtime of contenders, lines for growth. Pure functions.

An element tree writes it, so no text can become markup. It has a background of its own, to be read on a dark page,
and nothing is told by colour alone: each bar has its name and figure, each line its name.
"""

from __future__ import annotations

import math
import typing as t
from xml.etree import ElementTree as ET

from bench_figures import CONTENDERS, Figures, median, of_rig, per_host, words_of

COLOURS = {"script": "#8c8c8c", "pyinfra": "#5b8db8", "playbook": "#c58b3f", "ours": "#2e7d4f"}
TEXT, FAINT = "#222222", "#cccccc"
WIDTH, NAMES, BAR, GAP = 860, 170, 18, 6
GRAPH, LEFT = 200, 60  # height of a graph of lines, and room for its figures


def _add(parent: ET.Element, tag: str, text: str = "", **attributes: t.Any) -> ET.Element:
    named = {
        name.strip("_").replace("_", "-"): f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in attributes.items()
    }
    element = ET.SubElement(parent, tag, named)
    element.text = text or None
    return element


def round_above(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 and so on, with room for a label."""
    power = 10.0 ** math.floor(math.log10(value or 1))
    return next(step * power for step in (1, 2, 5, 10, 20) if step * power >= value * 1.1)


def bars(parent: ET.Element, top: float, title: str, rows: t.Sequence[tuple[str, str, float]]) -> float:
    """Draw bars, each ``(contender, its name, value in seconds)``; returns where what comes below may begin."""
    _add(parent, "text", title, x=0.0, y=top + 14, font_weight="bold")
    most = max((value for _contender, _name, value in rows), default=0) or 1
    room = WIDTH - NAMES - 80
    for number, (contender, name, value) in enumerate(rows):
        y = top + 24 + number * (BAR + GAP)
        _add(parent, "text", name, x=float(NAMES - 8), y=y + 13, text_anchor="end")
        width = max(1.0, room * value / most)
        _add(parent, "rect", x=float(NAMES), y=y, width=round(width, 1), height=float(BAR), fill=COLOURS[contender])
        _add(parent, "text", f"{value:.2f} s", x=round(NAMES + width + 6, 1), y=y + 13)
    return top + 24 + len(rows) * (BAR + GAP) + 18


def lines(parent: ET.Element, top: float, title: str, points: t.Sequence[tuple[float, float]], unit: str) -> float:
    """Draw a line over sizes on a logarithmic scale, from 0 on the other; returns where what comes below may begin."""
    _add(parent, "text", title, x=0.0, y=top + 14, font_weight="bold")
    bottom, most = top + 40 + GRAPH, round_above(max(y for _x, y in points))
    first, last = (math.log10(edge(x for x, _y in points)) for edge in (min, max))
    spread = (last - first) or 1

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + 50 + (WIDTH - LEFT - 120) * (math.log10(x) - first) / spread
        return round(across, 1), round(bottom - GRAPH * y / most, 1)

    for part in (0, 0.5, 1):
        y = round(bottom - GRAPH * part, 1)
        _add(parent, "line", x1=float(LEFT), y1=y, x2=float(WIDTH - 20), y2=y, stroke=FAINT)
        _add(parent, "text", figure(most * part), x=float(LEFT - 8), y=y + 4, text_anchor="end")
    path = " ".join(
        f"{'L' if number else 'M'}{x:g} {y:g}" for number, (x, y) in enumerate(at(*point) for point in points)
    )
    _add(parent, "path", d=path, fill="none", stroke=COLOURS["ours"], stroke_width=2)
    for size, value in points:
        x, y = at(size, value)
        _add(parent, "circle", cx=x, cy=y, r=4, fill=COLOURS["ours"])
        _add(parent, "text", f"{figure(value)} {unit}", x=x, y=y - 10, text_anchor="middle")
        _add(parent, "text", f"{size:,.0f} hosts", x=x, y=bottom + 16, text_anchor="middle")
    return bottom + 40


def figure(value: float) -> str:
    """With three digits, and all of those before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def plot(figures: Figures) -> str:
    """The whole plot."""
    ET.register_namespace("", "http://www.w3.org/2000/svg")
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "role": "img",
            "font-family": "sans-serif",
            "font-size": "13",
            "fill": TEXT,
        },
    )
    _add(svg, "title", "Downtime of each contender, and what ours costs the controller as the fleet grows")
    ground = _add(svg, "rect", x=-20, y=-20, fill="#ffffff")
    top = 0.0
    for rig in figures.get("rigs", {}):
        values = [(one, one, of_rig(figures, rig, one, "downtime")) for one in CONTENDERS]
        rows = [(one, name, value) for one, name, value in values if value is not None]
        top = bars(svg, top, f"Downtime of the worst host: {words_of(rig)}", rows)
    sizes = sorted(map(int, figures.get("engine", {})))
    if sizes:
        cpu = [(size, per_host(figures, size, "cpu") or 0.0) for size in sizes]
        top = lines(svg, top, "Controller CPU for each host (engine only, simulated hosts)", cpu, "s")
        memory = [(size, median(figures["engine"][str(size)]["memory"]) or 0.0) for size in sizes]
        top = lines(svg, top, "Controller memory (engine only, simulated hosts)", memory, "MB")
    height = round(top + 20)
    ground.set("width", str(WIDTH + 40))
    ground.set("height", str(height))
    svg.set("viewBox", f"-20 -20 {WIDTH + 40} {height}")
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"

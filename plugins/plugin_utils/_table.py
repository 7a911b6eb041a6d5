# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables that fit a terminal of any width. Pure functions. Private to this collection."""

from __future__ import annotations

import textwrap
import typing as t

GAP = "  "
INDENT = "    "
ROOM = 20  # columns that the last cell needs beside the others

Cells = t.Sequence[str]


def columns(head: Cells, rows: t.Sequence[Cells], width: int, room: int = ROOM) -> list[str]:
    """Rows below their heads, in lines of at most ``width``.

    The last cell of a row takes what is left of the width, and further lines if need be. Where it would get too little,
    it stands on lines of its own below the others. Where these do not fit either, each cell is a line.

    :arg rows: those with fewer cells than ``head`` have a sentence in their last one.
    :arg room: columns that the last cell needs beside the others, unless it is shorter everywhere.
    """
    last = len(head) - 1
    whole = [row for row in rows if len(row) > last]
    wide = [max(len(row[column]) for row in [head, *whole]) for column in range(last)]
    wide[0] = max(len(row[0]) for row in [head, *rows])
    before = sum(wide) + len(GAP) * last
    if before + min(max(len(row[-1]) for row in [head, *rows]), room) <= width:
        rule = ["-" * size for size in [*wide, len(head[-1])]]
        return [line for row in [head, rule, *rows] for line in _beside(row, wide, width)]
    if before - len(GAP) <= width:
        rule = [*("-" * size for size in wide), ""]
        return [line for row in [head, rule, *rows] for line in _below(row, wide, width)]
    return [line for row in rows for line in _stacked(head, row, width)]


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=False)


def _beside(row: Cells, wide: t.Sequence[int], width: int) -> list[str]:
    start = "".join(cell.ljust(size) + GAP for cell, size in zip(row[:-1], wide, strict=False))
    first, *more = _wrap(row[-1], width - len(start)) or [""]
    return [(start + first).rstrip(), *(" " * len(start) + part for part in more)]


def _below(row: Cells, wide: t.Sequence[int], width: int) -> list[str]:
    start = GAP.join(cell.ljust(size) for cell, size in zip(row[:-1], wide, strict=False))
    return [start.rstrip(), *(INDENT + part for part in _wrap(row[-1], width - len(INDENT)))]


def _stacked(head: Cells, row: Cells, width: int) -> list[str]:
    """A row as lines of ``head: cell`` below its first cell; without cells that have nothing."""
    if len(row) < len(head):
        return [row[0], *(INDENT + part for part in _wrap(row[-1], width - len(INDENT)))]
    lines = [row[0]]
    for name, cell in zip(head[1:], row[1:], strict=True):
        if cell:
            first, *more = _wrap(f"{name}: {cell}", width - 2)
            lines += ["  " + first, *(INDENT + line for part in more for line in _wrap(part, width - len(INDENT)))]
    return lines

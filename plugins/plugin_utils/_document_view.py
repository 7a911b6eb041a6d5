# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of an imported rollback document, as text. Pure functions. Private to this collection."""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Imported:
    """The plan of a change. ``written``: whether it is new; one that was there is kept. ``faults``: of `check_plan`."""

    change: str
    path: str
    written: bool
    text: str
    notes: t.Sequence[str]
    faults: t.Sequence[tuple[int, str]]


def shown(name: str, imported: t.Sequence[Imported], listed: t.Sequence[tuple[int, str, str]], dry: bool) -> str:
    """Say what became of each change, what is left to answer, and what of the document could not be placed.

    :arg listed: line of the document, its text, and why.
    :arg dry: nothing was written.
    """
    lines = [""]
    for one in imported:
        if not one.written:
            lines.append(f"{one.change}: {one.path} is there already and stays as it is. To import anew, move it away.")
            continue
        faults = len(one.faults)
        left = f"{faults} line{'s' * (faults != 1)} to answer or mend in it" if faults else "nothing left to answer"
        lines.append(f"{one.change}: {one.path} {'would be' if dry else 'was'} written; {left}.")
        lines += [f"  {note}" for note in one.notes]
        lines += [f"  {one.path}:{line}: {text}" for line, text in one.faults]
    if listed:
        lines += ["", "For you to look at:"]
        lines += [f"  {name}:{line}: {text!r} {why}{'' if why.endswith('?') else '.'}" for line, text, why in listed]
    return "\n".join(lines)

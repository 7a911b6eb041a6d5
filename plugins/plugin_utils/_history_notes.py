# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What people note of a run, and what the run notes of itself. Private to this collection.

A note is a mapping with ``at`` (time, UTC), ``by`` (a person), ``kind`` (a key of `KINDS`) and ``text``. One that was
made before there were kinds has ``at`` and ``text`` only.
"""

from __future__ import annotations

import re
import typing as t

from ..module_utils._redact import redact
from . import _history_schema as schema

if schema.HAS_SQLALCHEMY:
    import sqlalchemy as sa

if t.TYPE_CHECKING:
    from ._history import Store

NOTE, CAUSE, FIX, OUTSIDE_WINDOW, NOT_NOTIFIED = "note", "cause", "fix", "outside_window", "not_notified"
KINDS = {
    NOTE: "Note",
    CAUSE: "Cause",
    FIX: "Planned fix",
    OUTSIDE_WINDOW: "Outside of its maintenance windows, because",
    NOT_NOTIFIED: "Not notified",
}
Note = t.Mapping[str, t.Any]


def note_words(note: Note) -> str:
    """A note as people read it, as in ``Planned fix: add an index``."""
    return f"{KINDS.get(note.get('kind', NOTE), KINDS[NOTE])}: {note['text']}"


def add_notes(store: Store, run: str, notes: t.Sequence[Note]) -> bool:
    """Add notes to a run; returns whether there is such a run.

    :raises HistoryError: the store cannot be written.
    """
    runs = schema.RUNS
    with store.transaction() as connection:
        found = connection.execute(sa.select(runs.c.notes).where(runs.c.id == run).with_for_update()).first()
        if found is not None:
            fresh = [dict(note, text=redact(note["text"])) for note in notes]
            connection.execute(runs.update().where(runs.c.id == run).values(notes=[*found[0], *fresh]))
    return found is not None


def typed(name: str, given: t.Any, options: t.Iterable[t.Any]) -> str:
    """The whole text that was typed as ``-e name="some words"``, of which Ansible takes the first word only.

    :arg given: what Ansible made of it.
    :arg options: what was typed after each ``-e``.
    """
    text = str(given if given is not None else "").strip()
    for option in options:
        key, _sign, value = str(option).partition("=")
        words = value.split()
        whole = len(words) > 1 and not value.startswith(("'", '"')) and "{{" not in value
        if key == name and whole and words[0] == text and not any(re.match(r"\w+=", word) for word in words):
            return value.strip()
    return text

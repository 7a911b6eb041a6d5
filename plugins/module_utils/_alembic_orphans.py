# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database does not take back, and how that is said. Private; runs in the app's own interpreter."""

# ruff: noqa: S608  names of tables and columns are quoted by q(), and values are bound

from __future__ import annotations

import collections
import sqlite3
import typing as t

from ._alembic_sqlite import Table, q


class Held(t.NamedTuple):
    """Why a row is left as it is: ``clash``, ``parent`` (of that name, which is not there), or ``child`` (one of that
    name needs it). ``there``: whether the row is in the table at all without what was kept of it.
    """

    why: str
    other: str = ""
    there: bool = False


class Refused(t.NamedTuple):
    """A row that the database does not take."""

    put: t.Any
    key: tuple[t.Any, ...]
    held: Held


def held_words(refused: list[Refused]) -> list[str]:
    """What was not put back, as sentences."""
    names = {row.put.name: row.put.entry for row in refused}
    counted = collections.Counter((row.put.name, row.held) for row in refused)
    return [_sentence(name, names[name], held, number) for (name, held), number in sorted(counted.items())]


def _sentence(name: str, entry: dict[str, t.Any], held: Held, number: int) -> str:
    rows = f"{number} rows of {name}"
    if held.why == "child":
        return f"{rows} that the downgrade had added stay, because rows of {held.other} refer to them."
    why = "clash with what was written since"
    if held.why == "parent":
        why = f"refer to rows of {held.other} that are not there any more"
    if not held.there:
        return f"{rows} {why}, so they were not put back."
    if entry.get("dropped"):
        return f"{rows} {why}, so their values of {', '.join(entry['dropped'])} were not put back."
    return f"{rows} {why}, so they keep their present values."


def _foreign_keys(
    con: sqlite3.Connection, after: dict[str, Table]
) -> t.Iterator[tuple[str, str, list[str], list[str]]]:
    """Each foreign key of ``copy``: the table, the other one, and the columns of both."""
    names = {name.lower(): name for name in after}
    for child in after:
        found: dict[int, list[t.Any]] = {}
        for row in con.execute(f"PRAGMA copy.foreign_key_list({q(child)})").fetchall():
            found.setdefault(row[0], []).append(row)
        for rows in found.values():
            parent = names.get(rows[0][2].lower())
            if parent is None:
                continue
            rows.sort(key=lambda row: row[1])
            theirs = [row[4] for row in rows] if rows[0][4] else after[parent].key
            if len(theirs) == len(rows):
                yield child, parent, [row[3] for row in rows], theirs


def orphans(con: sqlite3.Connection, puts: list[t.Any], after: dict[str, Table]) -> list[Refused]:
    """What was put back, or taken away, and leaves a row without the one that it refers to. What refers to nothing
    anyhow, in an app that does not mind, is none of our business.
    """
    by_name = {put.name: put for put in puts}
    found: list[Refused] = []
    for child, parent, ours, theirs in _foreign_keys(con, after):
        put, other = by_name.get(child), by_name.get(parent)
        if (put is None and other is None) or (put and put.entry.get("loose")):
            continue
        filled = " AND ".join(f"c.{q(c)} IS NOT NULL" for c in ours)
        match = " AND ".join(f"p.{q(b)} = c.{q(a)}" for a, b in zip(ours, theirs))
        values = con.execute(
            f"SELECT DISTINCT {', '.join(f'c.{q(c)}' for c in ours)} FROM copy.{q(child)} c WHERE {filled}"
            f" AND NOT EXISTS (SELECT 1 FROM copy.{q(parent)} p WHERE {match})"
        ).fetchall()
        for value in values:
            rows = _put_with(con, put, ours, value) if put else []
            found += [Refused(put, key, Held("parent", parent, there=rank == 1)) for rank, key in rows]
            if not rows and other is not None and other.ranked and len(theirs) == len(other.key):
                keys = dict(zip(theirs, value))
                if set(keys) == set(other.key) and tuple(keys[k] for k in other.key) not in other.out:
                    found.append(Refused(other, tuple(keys[k] for k in other.key), Held("child", child)))
    return found


def _put_with(
    con: sqlite3.Connection, put: t.Any, columns: list[str], value: tuple[t.Any, ...]
) -> list[tuple[int, tuple[t.Any, ...]]]:
    """The rows that were put back with a value: their rank and key."""
    same = " AND ".join(f"w.{q(c)} = ?" for c in columns)
    rank = 'w.":rank"' if put.ranked else "2"
    keys = ", ".join(f"w.{q(k)}" if put.ranked else "w.rowid" for k in put.key)
    rows = con.execute(f"SELECT {rank}, {keys} FROM {put.source} w WHERE {same} AND {rank} > 0", value).fetchall()
    return [(rank, key) for rank, *rest in rows for key in [tuple(rest)] if key not in put.out]

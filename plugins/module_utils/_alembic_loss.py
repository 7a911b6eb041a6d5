# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The loss statement: what a downgrade destroys, and whether the plan accepts it. Private.

Preflight counts it in the database, while the app works, by what it knows of the schema. The downgrade itself and its
rehearsal tell it by what their export holds. All of them give one shape, and one rule says what of it is refused.

By table: ``dropped`` (whether all of it goes), ``rows`` (before), ``values`` ({column that goes: those not NULL}),
``changed``, ``deleted`` and ``added`` (rows whose other columns the migrations changed, rows that they deleted, and
added), and ``whole`` (whether it is exported whole, because no primary key tells which row became which).
"""

# ruff: noqa: S608  names of tables and columns are quoted by q()

from __future__ import annotations

import json
import re
import sqlite3
import typing as t

from ._alembic_sqlite import q

Loss = t.Dict[str, t.Any]
Statement = t.Dict[str, Loss]
ROWS = ("changed", "deleted", "added")
PLAIN = re.compile(r"[^\W\d][\w.]*")
WORDS = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")  # are something else in YAML


def statement(
    export: sqlite3.Connection, kept: dict[str, dict[str, t.Any]], shown: t.Callable[[str], str]
) -> Statement:
    """What was destroyed, told by what was kept of it.

    :arg export: where the export is attached, or open, as ``export``.
    :arg shown: the name of a table or column in the export, as the app knows it.
    """
    found = {}
    for name, entry in kept.items():
        loss = _loss(export, name, entry)
        if loss:
            values = {shown(column): number for column, number in loss["values"].items()}
            found[shown(name)] = dict(loss, values=values)
    return found


def _loss(export: sqlite3.Connection, name: str, entry: dict[str, t.Any]) -> Loss:
    """What was lost of a table; empty where nothing was."""

    def table(end: str = "") -> str:
        return q("export", name + end)

    def count(what: str) -> int:
        return int(export.execute(f"SELECT {what}").fetchone()[0])

    renamed = entry.get("renamed") or {}
    whole = entry["kind"] == "whole"
    found: Loss = {"dropped": entry["kind"] == "table", "rows": entry["rows"], "whole": whole}
    found.update(dict.fromkeys(ROWS, 0))
    if found["dropped"]:
        if renamed:
            return {}
        return dict(found, values={c: count(f"count({q(c)}) FROM {table()}") for c in entry["columns"]})
    gone = [c for c in entry["dropped"] if c not in renamed]
    values = {c: count(f"count({q(c)}) FROM {table()}") for c in gone}
    if whole:
        # without a key no row is known again, so it is told how many do not look like any before
        found["changed"] = _unlike(export, table(), table(":after"), entry) if "exported" in entry else 0
    else:
        key = " AND ".join(f"a.{q(k)} = b.{q(k)}" for k in entry["key"])
        if "changed" in entry:
            stays = f"EXISTS (SELECT 1 FROM {table(':after')} b WHERE {key})"
            found["changed"] = count(f"count(*) FROM {table(':changed')} a WHERE {stays}")
            found["deleted"] = entry["changed"] - found["changed"]
        found["added"] = entry.get("added", 0)
    lost = bool(gone) or any(found[what] for what in ROWS)
    return dict(found, values=values) if lost else {}


def _unlike(export: sqlite3.Connection, before: str, after: str, entry: dict[str, t.Any]) -> int:
    """How many rows of the table before are not there afterwards, by the columns that it has in common."""
    listed = ", ".join(f"quote({q(c)})" for c in entry["common"]) or "1"
    sides = [f"SELECT {listed}, count(*) AS n FROM {table} GROUP BY {listed}" for table in (before, after)]
    return int(export.execute(f"SELECT coalesce(sum(n), 0) FROM ({sides[0]} EXCEPT {sides[1]})").fetchone()[0])


def destroyed(found: Statement) -> list[str]:
    """The statement in words: ``invoices.total (120 values)``, ``drafts (the table, 7 rows)`` and, where it is known
    with all data, ``rows of invoices (3 changed, 2 deleted)``.
    """
    words = []
    for table, loss in sorted(found.items()):
        if loss["dropped"]:
            words.append(f"{table} (the table, {loss['rows']} rows)")
            continue
        words += [f"{table}.{column} ({number} values)" for column, number in loss["values"].items()]
        rows = [f"{loss[what]} {what}" for what in ROWS if loss.get(what)]
        words += [f"rows of {table} ({', '.join(rows)})"] if rows else []
    return words


def whole(found: Statement) -> str:
    """Say which tables are exported whole, as a sentence with a space before it; empty where none is."""
    tables = [table for table, loss in sorted(found.items()) if loss.get("whole")]
    if not tables:
        return ""
    return (
        f" No primary key tells the rows of {', '.join(tables)} apart, so all of it is exported, and it comes back as "
        "a whole, but not once the app has written to it."
    )


def not_accepted(found: Statement, accepted: t.Iterable[str]) -> Statement:
    """The part of the statement that holds data and is not among ``accepted``, as ``table`` or ``table.column``. A
    table there stands for all that is in it.
    """
    accepted = set(accepted)
    more: Statement = {}
    for table, loss in found.items():
        if table in accepted:
            continue
        values = {c: number for c, number in loss["values"].items() if number and f"{table}.{c}" not in accepted}
        rows = any(loss.get(what) for what in ROWS)
        if rows or (loss["rows"] if loss["dropped"] else values):
            more[table] = dict(loss, values=values)
    return more


def refusal(
    found: Statement, accepted: t.Sequence[str], subject: str, alone: bool = False, foreseen: t.Sequence[str] = ()
) -> str:
    """Say what is lost that the plan does not accept, and the line that accepts it; empty where there is nothing.

    :arg subject: the downgrade, as the beginning of a sentence.
    :arg alone: the role is used without a plan.
    :arg foreseen: names of what may go as well.
    """
    more = not_accepted(found, [*accepted, *foreseen])
    if not more:
        return ""
    names = list(accepted)
    for table, loss in sorted(more.items()):
        rows = loss["dropped"] or any(loss.get(what) for what in ROWS)
        names += [table] if rows else [f"{table}.{column}" for column in loss["values"]]
    listed = f"[{', '.join(map(_yaml, names))}]"
    line = f"alembic_downgrade_accept_loss: {listed}" if alone else f"rollback: {{accept_loss: {listed}}}"
    return (
        f"{subject} destroys {', '.join(destroyed(more))}, which {'nobody' if alone else 'the plan does not'} "
        f"accept{'s' if alone else ''}.{whole(more)} Nothing was changed. If that may be lost, "
        f"{'set' if alone else 'write into the plan:'} {line}"
    )


def _yaml(name: str) -> str:
    """A name as it stands in a list of YAML."""
    return name if PLAIN.fullmatch(name) and name.lower() not in WORDS else json.dumps(name, ensure_ascii=False)

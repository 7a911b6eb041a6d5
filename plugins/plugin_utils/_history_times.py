# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long the phases of a change are going to take, from its history. Private to this collection."""

from __future__ import annotations

import contextlib
import typing as t

from . import _history_schema as schema
from ._expected import eta, rehearsed_seconds
from ._outcome import FAILED, MAIN, OK, REHEARSE, SUCCEEDED

with contextlib.suppress(ImportError):
    import sqlalchemy as sa

LAST = 20  # runs; those that changed nothing do not count

Values = t.Mapping[str, t.Any]


def expected(connection: t.Any, change: str, plan: Values) -> dict[str, tuple[float, str]]:
    """By the index of each phase, as text, how many seconds its main is going to take and where that is known from.

    :arg plan: as checked. Where it has several batches, earlier runs do not tell what one of them takes.
    """
    runs = [] if len(plan.get("batches", ())) > 1 else earlier(connection, change)
    known = eta(plan["phases"], runs, rehearsed_seconds(_rehearsal(connection, change)))
    return {str(index): found for index, found in known.items()}


def earlier(connection: t.Any, change: str) -> list[dict[str, t.Any]]:
    """The last rollbacks of a change, newest first, each with one row for the main of a phase on all its hosts.

    A fleet has a row for each host, and they need not all come here.
    """
    runs, rows = schema.RUNS, schema.PHASES
    query = (
        sa.select(runs.c.id, runs.c.kind, runs.c.check_mode)
        .where(runs.c.change == change, runs.c.kind == schema.ROLLBACK, runs.c.check_mode.is_(False))
        .order_by(runs.c.started.desc(), runs.c.id.desc())
        .limit(LAST)
    )
    found = {row["id"]: {**row, "phases": []} for row in connection.execute(query).mappings()}
    whole = sa.and_(sa.func.min(rows.c.status) == OK, sa.func.max(rows.c.status) == OK)
    grouped = (
        sa.select(
            rows.c.run,
            rows.c.phase,
            sa.func.min(rows.c.started).label("started"),
            sa.func.max(rows.c.finished).label("finished"),
            sa.func.max(sa.cast(rows.c.changed, sa.Integer)).label("changed"),
            sa.case((whole, OK), else_=FAILED).label("status"),
        )
        .where(rows.c.run.in_(found), rows.c.step == MAIN)
        .group_by(rows.c.run, rows.c.phase)
    )
    for row in connection.execute(grouped).mappings():
        found[row["run"]]["phases"].append({**row, "step": MAIN})
    return list(found.values())


def _rehearsal(connection: t.Any, change: str) -> dict[str, t.Any]:
    """The rows of the last rehearsal that found a change ready."""
    runs, rows = schema.RUNS, schema.PHASES
    last = (
        sa.select(runs.c.id)
        .where(runs.c.change == change, runs.c.kind == schema.REHEARSAL, runs.c.outcome == SUCCEEDED)
        .order_by(runs.c.started.desc(), runs.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = sa.select(rows.c.index, rows.c.step, rows.c.after).where(rows.c.run == last, rows.c.step == REHEARSE)
    return {"phases": [dict(row) for row in connection.execute(query).mappings()]}

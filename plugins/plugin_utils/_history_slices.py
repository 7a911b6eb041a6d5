# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The slices of a run in the history, and where they meet. Private to this collection."""

from __future__ import annotations

import dataclasses
import datetime
import typing as t

from ..module_utils._redact import redacted
from . import _history_schema as schema
from ._history_process import Process, alive
from ._outcome import Decision, decide, rows_of
from ._slices import Part, Slice, end_of, whole_end

if schema.HAS_SQLALCHEMY:
    import sqlalchemy as sa

if t.TYPE_CHECKING:
    from ._history import Asked, Store
    from ._outcome import End

# Of a run in slices no one process tells whether it lives, so its heartbeat does.
NO_PROCESS = Process("slices", "", 0, "")
FAILURE = "failure"


def parts_of(connection: t.Any, run: str) -> list[Part]:
    """The slices of a run that have begun."""
    slices = schema.SLICES
    found = connection.execute(sa.select(slices).where(slices.c.run == run).order_by(slices.c.number)).mappings()
    return [
        Part(
            number=row["number"],
            total=row["total"],
            hosts=tuple(row["hosts"]),
            executed_from=row["executed_from"],
            process=Process(row["controller"], row["machine"], row["pid"], row["pid_started"]),
            heartbeat=row["heartbeat"],
            end=row["end"],
        )
        for row in found
    ]


def join(connection: t.Any, asked: Asked, here: Process, now: datetime.datetime, at: str) -> dict[str, t.Any] | None:
    """Note a slice as one of the run that waits for it, if there is one: same change, plan and number of slices."""
    runs, wanted = schema.RUNS, t.cast(Slice, asked.part)
    if connection.dialect.name == "postgresql":
        # One slice after the other until each has committed. Else one might not see the run that another has just
        # opened when it looks for one to join, and see it when it looks for one that is in its way.
        lock = sa.text("SELECT pg_advisory_xact_lock(7244616, hashtext(:change))")
        connection.execute(lock, {"change": asked.change})
    query = sa.select(runs).where(runs.c.change == asked.change, runs.c.outcome.is_(None), runs.c.check_mode.is_(False))
    for row in connection.execute(query).mappings().all():
        parts = parts_of(connection, row["id"])
        fits = {(part.total, row["plan_digest"]) for part in parts} == {(wanted.total, asked.plan_digest)}
        free = wanted.number not in {part.number for part in parts}
        apart = not {host for part in parts for host in part.hosts} & set(asked.hosts)
        if fits and free and apart and alive(row, here, now):
            enter(connection, row["id"], asked, here, at)
            return dict(row)
    return None


def enter(connection: t.Any, run: str, asked: Asked, here: Process, now: str) -> None:
    """Note a slice as one of the run's."""
    wanted = t.cast(Slice, asked.part)
    row = {
        **dataclasses.asdict(here),
        **{"run": run, "number": wanted.number, "total": wanted.total, "hosts": list(asked.hosts)},
        **{"executed_from": asked.executed_from, "heartbeat": now},
    }
    connection.execute(schema.SLICES.insert().values(**row))


def beat(connection: t.Any, run: str, number: int, now: str) -> None:
    """Say that a slice is alive."""
    slices = schema.SLICES
    connection.execute(slices.update().where(slices.c.run == run, slices.c.number == number).values(heartbeat=now))


def arrive(store: Store, run: str, number: int, barrier: str, told: t.Mapping[str, t.Any]) -> None:
    """Say that a slice has come to a barrier, and what it tells the others there."""
    meetings = schema.MEETINGS
    here = {"run": run, "barrier": barrier, "number": number}
    with store.transaction() as connection:
        known = sa.select(meetings.c.number).filter_by(**here)
        if connection.execute(known).first() is None:  # the answer to the first attempt may have been lost
            connection.execute(meetings.insert().values(**here, told=redacted(dict(told))))


def look(store: Store, run: str, barrier: str) -> tuple[list[Part], dict[int, t.Any], set[int]]:
    """The slices, what those that have come to ``barrier`` told there, and those that failed."""
    meetings = schema.MEETINGS
    query = sa.select(meetings).where(meetings.c.run == run, meetings.c.barrier.in_((barrier, FAILURE)))
    with store.transaction() as connection:
        found = connection.execute(query).mappings().all()
        parts = parts_of(connection, run)
    told = {row["number"]: row["told"] for row in found if row["barrier"] == barrier}
    return parts, told, {row["number"] for row in found if row["barrier"] == FAILURE}


def give_up(store: Store, run: str, numbers: t.Collection[int]) -> None:
    """Note that slices are not waited for any more, so that all others agree, and each waits only once."""
    slices = schema.SLICES
    silent = sa.and_(slices.c.run == run, slices.c.number.in_(numbers), slices.c.end.is_(None))
    with store.transaction() as connection:
        connection.execute(slices.update().where(silent).values(end={"lost": True}))


def end_slice(store: Store, run: str, number: int, end: End, here: Process, finished: str) -> Decision | None:
    """Note how a slice ended; the last one closes the run and returns how it ended, from what all of them recorded.

    :raises HistoryError: the store cannot be written.
    """
    runs, slices = schema.RUNS, schema.SLICES
    with store.transaction() as connection:
        # one slice after the other, so that one of them is the last
        connection.execute(sa.select(runs.c.id).where(runs.c.id == run).with_for_update())
        mine = slices.update().where(slices.c.run == run, slices.c.number == number)
        connection.execute(mine.values(end=redacted(end_of(end))))
        parts, now = parts_of(connection, run), store.clock()
        for part in parts:
            signs = {**dataclasses.asdict(part.process), "heartbeat": part.heartbeat}
            if part.end is None and alive(signs, here, now):
                return None
        decision = decide(rows_of(store.phases(connection, [run])[run]), whole_end(parts))
        store.end_run(connection, run, decision.outcome, decision.summary, finished)
    return decision

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the history store. Private to this collection.

Times are text, UTC, as in ``2026-11-22T23:15:00.123Z``, so that they sort and read the same in every database.
"""

from __future__ import annotations

import typing as t

ROLLBACK, REHEARSAL, UNDO = "rollback", "rehearsal", "undo"
KINDS = (ROLLBACK, REHEARSAL, UNDO)
# What is being done to a change by each.
DOING = {ROLLBACK: "rolled back", REHEARSAL: "rehearsed", UNDO: "undone"}

try:
    import sqlalchemy as sa
except ImportError:
    HAS_SQLALCHEMY = False
else:
    HAS_SQLALCHEMY = True

    SCHEMA_VERSION = 5

    METADATA = sa.MetaData()

    VERSION = sa.Table("version", METADATA, sa.Column("version", sa.Integer, primary_key=True))

    RUNS = sa.Table(
        "runs",
        METADATA,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("change", sa.Text, nullable=False, index=True),
        sa.Column("kind", sa.Text, nullable=False, server_default=ROLLBACK),
        sa.Column("plan_digest", sa.Text, nullable=False),
        # The run whose restore point is used: its own, or the one of the run that it goes on with.
        sa.Column("restore_point", sa.Text, nullable=False),
        sa.Column("resumes", sa.Text),
        sa.Column("executed_by", sa.Text, nullable=False),
        sa.Column("executed_from", sa.Text, nullable=False),
        # What AWX told of the job, as _awx.job_of gives it.
        sa.Column("job", sa.JSON(none_as_null=True)),
        # Where ansible-playbook runs: host name, what tells two machines of one name apart, process, its start.
        sa.Column("controller", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_started", sa.Text, nullable=False),
        sa.Column("check_mode", sa.Boolean, nullable=False),
        sa.Column("limit", sa.Text),
        sa.Column("started", sa.Text, nullable=False, index=True),
        sa.Column("finished", sa.Text),
        sa.Column("heartbeat", sa.Text, nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("notes", sa.JSON, nullable=False),
    )

    PHASES = sa.Table(
        "phases",
        METADATA,
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("step", sa.Text, primary_key=True),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("changed", sa.Boolean, nullable=False),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("finished", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
    )

    LOCKS = sa.Table(
        "locks",
        METADATA,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("taken", sa.Text, nullable=False),
    )

    # How the app stood on a host before a run and after it (`moment`). `found` is null where `said` says why.
    TRUTH = sa.Table(
        "truth",
        METADATA,
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("moment", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("found", sa.JSON),
    )

    # The playbooks that do a run side by side, each on its hosts. `end` is null until it has ended.
    SLICES = sa.Table(
        "slices",
        METADATA,
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("hosts", sa.JSON, nullable=False),
        sa.Column("executed_from", sa.Text, nullable=False),
        sa.Column("controller", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("pid_started", sa.Text, nullable=False),
        sa.Column("heartbeat", sa.Text, nullable=False),
        sa.Column("end", sa.JSON(none_as_null=True)),
    )

    # Which slice has come to which barrier, and what it told the others there.
    MEETINGS = sa.Table(
        "meetings",
        METADATA,
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("barrier", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("told", sa.JSON, nullable=False),
    )

    # What leads to a version from the one before it. When a table changes that is made here, its old form goes here.
    def _add_kind(connection: t.Any) -> None:
        connection.execute(sa.text(f"ALTER TABLE runs ADD COLUMN kind TEXT NOT NULL DEFAULT '{ROLLBACK}'"))

    def _add_job(connection: t.Any) -> None:
        connection.execute(sa.text("ALTER TABLE runs ADD COLUMN job JSON"))

    def _add_slices(connection: t.Any) -> None:
        METADATA.create_all(connection, [SLICES, MEETINGS])

    STEPS: dict[int, t.Callable[[t.Any], None]] = {2: TRUTH.create, 3: _add_kind, 4: _add_job, 5: _add_slices}

    def prepare(connection: t.Any) -> int:
        """Make the tables where there are none, and bring older ones up to date, in the transaction that is open.

        :returns: the version that was found, which may be newer than ``SCHEMA_VERSION``; then nothing was done.
        """
        if connection.dialect.name == "postgresql":  # two first runs at once
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7244616)"))
        if not sa.inspect(connection).has_table(VERSION.name):
            METADATA.create_all(connection)
            connection.execute(VERSION.insert().values(version=SCHEMA_VERSION))
        found = int(connection.execute(sa.select(VERSION.c.version)).scalar_one())
        for version in range(found + 1, SCHEMA_VERSION + 1):
            STEPS[version](connection)
            connection.execute(VERSION.update().values(version=version))
        return found

    def truth_of(connection: t.Any, run: str) -> dict[str, list[dict[str, t.Any]]]:
        """The truth tables of a run: rows with ``host``, ``said`` and ``found``, by moment."""
        columns = (TRUTH.c.moment, TRUTH.c.host, TRUTH.c.said, TRUTH.c.found)
        tables: dict[str, list[dict[str, t.Any]]] = {}
        for row in connection.execute(sa.select(*columns).where(TRUTH.c.run == run).order_by(TRUTH.c.host)).mappings():
            tables.setdefault(row["moment"], []).append({name: row[name] for name in ("host", "said", "found")})
        return tables

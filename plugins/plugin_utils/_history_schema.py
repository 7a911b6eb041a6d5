# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of the history store. Private to this collection.

Times are text, UTC, as in ``2026-11-22T23:15:00.123Z``, so that they sort and read the same in every database.
"""

from __future__ import annotations

try:
    import sqlalchemy as sa
except ImportError:
    HAS_SQLALCHEMY = False
else:
    HAS_SQLALCHEMY = True

    SCHEMA_VERSION = 1

    METADATA = sa.MetaData()

    VERSION = sa.Table("version", METADATA, sa.Column("version", sa.Integer, primary_key=True))

    RUNS = sa.Table(
        "runs",
        METADATA,
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("change", sa.Text, nullable=False, index=True),
        sa.Column("plan_digest", sa.Text, nullable=False),
        # The run whose restore point is used: its own, or the one of the run that it goes on with.
        sa.Column("restore_point", sa.Text, nullable=False),
        sa.Column("resumes", sa.Text),
        sa.Column("executed_by", sa.Text, nullable=False),
        sa.Column("executed_from", sa.Text, nullable=False),
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

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs in the app's own interpreter, beside the app's Alembic. Private."""

from __future__ import annotations

from . import (
    _alembic_driver,
    _alembic_export,
    _alembic_graph,
    _alembic_keep,
    _alembic_mysql,
    _alembic_pg_export,
    _alembic_pg_put,
    _alembic_pg_scratch,
    _alembic_pg_tables,
    _alembic_pg_transaction,
    _alembic_postgresql,
    _alembic_run,
    _alembic_served,
    _alembic_server,
    _alembic_sqlite,
)

DRIVER = (
    _alembic_driver,
    _alembic_export,
    _alembic_graph,
    _alembic_keep,
    _alembic_mysql,
    _alembic_pg_export,
    _alembic_pg_put,
    _alembic_pg_scratch,
    _alembic_pg_tables,
    _alembic_pg_transaction,
    _alembic_postgresql,
    _alembic_run,
    _alembic_served,
    _alembic_server,
    _alembic_sqlite,
)

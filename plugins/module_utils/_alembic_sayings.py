# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the phase ``alembic_downgrade`` says of what was found and noted. Private."""

from __future__ import annotations

import typing as t

from ._alembic_export import Loss
from ._alembic_sqlite import spoken


def destroyed(losses: dict[str, Loss]) -> list[str]:
    """What a downgrade destroys, as ``invoices.total (120 values)``, ``drafts (the table, 7 rows)``; after a rehearsal,
    which knows it, also ``rows of invoices (3 changed, 2 deleted)``.
    """
    words = []
    for table, loss in sorted(losses.items()):
        if loss["dropped"]:
            words.append(f"{table} (the table, {loss['rows']} rows)")
            continue
        words += [f"{table}.{column} ({number} values)" for column, number in loss["values"].items()]
        rows = [f"{loss[what]} {what}" for what in ("changed", "deleted", "added") if loss.get(what)]
        words += [f"rows of {table} ({', '.join(rows)})"] if rows else []
    return words


def sql_diff(found: dict[str, t.Any]) -> list[dict[str, str]]:
    """The SQL of the downgrade and what it destroys, as Ansible shows it with ``--diff``."""
    lines = [f"Downgrade of {way(found)}:", *found["sql"]]
    lines += [f"destroys: {words}" for words in destroyed(found["losses"])]
    return [{"prepared": "\n".join(lines) + "\n"}]


def untried(found: dict[str, t.Any]) -> str:
    """Say that preflight did not try the downgrade, why, and what holds nevertheless."""
    return (
        f"The downgrade of {found['database']} was not tried, because no scratch database could be made: "
        f"{found['untried']}. Its statements were worked out, and main runs them in one transaction, which exports "
        "what they destroy and is taken back if one fails. To have it tried, let the app's database user create "
        "databases (ALTER ROLE ... CREATEDB) and install psql and pg_dump on this host."
    )


def standing(noted: dict[str, t.Any]) -> str:
    return f"The database {noted['database']} stands at {spoken(noted['to'])} already."


def way(noted: dict[str, t.Any]) -> str:
    return f"{noted['database']} from {spoken(noted['from'])} to {spoken(noted['to'])}"

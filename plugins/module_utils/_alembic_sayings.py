# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the phase ``alembic_downgrade`` says of what was found and noted. Private."""

from __future__ import annotations

import typing as t

from ._alembic_loss import Statement, destroyed, whole
from ._alembic_sqlite import spoken


def proven(found: dict[str, t.Any]) -> tuple[str, list[str]]:
    """What preflight says of a downgrade that can be done, and of what it warns."""
    lost = destroyed(found["losses"]) + found.get("lost", [])
    undoes = f"undoes {spoken(found['undone'])}"
    if found.get("untried"):
        return f"The downgrade of {way(found)} {undoes}. It was not tried.", [untried(found)]
    if found["kind"] == "mysql":
        return (
            f"The downgrade of {way(found)} {undoes}, and destroys {', '.join(lost) or 'nothing'}. Nothing is "
            "exported, as the plan accepts. It was not tried."
        ), []
    return (
        f"The downgrade of {way(found)} works on a copy of its schema, and so does the upgrade after it. It {undoes}, "
        f"and destroys {', '.join(lost) + ': exported first' if lost else 'nothing'}.{whole(found['losses'])}"
    ), retyped(found["losses"])


def retyped(found: Statement) -> list[str]:
    """Warn of columns that become another type, because without data it is not known whether values change."""
    names = [f"{table}.{column}" for table, loss in sorted(found.items()) for column in loss["retyped"]]
    if not names:
        return []
    return [
        f"{', '.join(names)} become another type. Whether that changes values, only a rehearsal with all data tells; "
        "where it does and the plan does not accept the loss of the table, main stops and changes nothing."
    ]


def sql_diff(found: dict[str, t.Any]) -> list[dict[str, str]]:
    """The SQL of the downgrade and what it destroys, as Ansible shows it with ``--diff``."""
    lines = [f"Downgrade of {way(found)}:", *found["sql"]]
    lines += [f"destroys: {words}" for words in destroyed(found["losses"])]
    return [{"prepared": "\n".join(lines) + "\n"}]


def untried(found: dict[str, t.Any]) -> str:
    """Say that preflight did not try the downgrade, why, and what holds nevertheless."""
    return (
        f"The downgrade of {found['database']} was not tried, because no scratch database could be made: "
        f"{found['untried']} Its statements were worked out, and main runs them in one transaction, which exports "
        "what they destroy and is taken back if one fails, or if it destroys what the plan does not accept."
    )


def kept(exported: dict[str, int]) -> str:
    """What was exported, in words: ``audit (7 rows), invoices (120 rows)``."""
    return ", ".join(f"{name} ({rows} rows)" for name, rows in sorted(exported.items()))


def standing(noted: dict[str, t.Any]) -> str:
    return f"The database {noted['database']} stands at {spoken(noted['to'])} already."


def way(noted: dict[str, t.Any]) -> str:
    return f"{noted['database']} from {spoken(noted['from'])} to {spoken(noted['to'])}"

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed run puts back, and where. Pure functions. Private to this collection."""

from __future__ import annotations

import dataclasses
import typing as t

DATABASE = "changeops.rollback.alembic_downgrade"
# After these no app has been started yet, whatever became of a host that went away meanwhile.
NOT_STARTING = {
    f"changeops.rollback.{name}"
    for name in ("alembic_downgrade", "backup", "config_restore", "git_revert", "service_stop")
}
Databases = t.Mapping[str, t.Mapping[str, str]]


@dataclasses.dataclass(frozen=True)
class Recovery:
    """What is to be put back.

    ``left``: the hosts of all batches that are not done. ``hosts``: those that are put back. ``phases``: the ones that
    are, in the plan's order. ``database_index``: the first of them that changes a database, 0 without one.
    ``database_hosts``: where those put one back; until each has, no earlier phase is put back anywhere. Of hosts that
    share a database it is the one that works on it, so the others do without a host that went away, as long as that
    has started no app. If one of these went away itself, no phase is put back: the others stay on the release that the
    database is at, instead of on none.
    """

    left: list[str]
    hosts: list[str]
    phases: list[dict[str, t.Any]]
    database_index: int
    database_hosts: list[str]


def recovery_of(
    plan: t.Mapping[str, t.Any],
    batch: t.Mapping[str, t.Any],
    reached: int,
    resumed: bool,
    databases: Databases,
    lost: t.Collection[str] = (),
) -> Recovery:
    """Tell what a run that failed is to put back.

    :arg plan: as the lookup gives it in a play, with ``batches``, and the ``host_names`` of each phase.
    :arg batch: the one at work, with ``index`` from 1 on (0 before the first) and ``hosts``.
    :arg reached: the index of the phase that started last in this batch.
    :arg resumed: the run goes on with one that was interrupted. What that left half-way may be of any batch that is not
        done, and in any phase.
    :arg databases: of each host of the play, in its order, what its databases are known by: phase id to identity.
    :arg lost: the hosts that went away.
    """
    left = [host for hosts in plan["batches"][max(batch["index"], 1) - 1 :] for host in hosts]
    hosts = left if resumed else list(batch["hosts"])
    phases: list[dict[str, t.Any]] = []
    if plan["on_failure"] != "stop":
        phases = list(plan["phases"] if resumed else plan["phases"][:reached])
    database = [phase for phase in phases if phase["role"] == DATABASE]
    stopped = all(phase["role"] in NOT_STARTING for phase in phases)

    def works_on_one(host: str, phase: t.Mapping[str, t.Any]) -> bool:
        """Whether this host is to put the database back itself; in doubt it is."""
        identity = databases.get(host, {}).get(phase["id"])
        sharing = [other for other, known in databases.items() if identity and known.get(phase["id"]) == identity]
        first = next((other for other in sharing if other in phase["host_names"]), host)
        return host in phase["host_names"] and not (stopped and first != host and first in hosts)

    database_hosts = [host for host in hosts if any(works_on_one(host, phase) for phase in database)]
    return Recovery(
        left=left,
        hosts=hosts,
        phases=[] if set(database_hosts) & set(lost) else phases,
        database_index=min((phase["index"] for phase in database), default=0),
        database_hosts=database_hosts,
    )

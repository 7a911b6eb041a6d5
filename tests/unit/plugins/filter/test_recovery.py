# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a failed run puts back, and where."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.filter.recovery import FilterModule
from ansible_collections.changeops.rollback.plugins.plugin_utils._recovery import DATABASE, recovery_of

ALL = ["web1", "web2", "web3", "db1"]
WEB = ALL[:3]


def phase(index: int, role: str, host_names: list[str]) -> dict[str, t.Any]:
    return {"index": index, "id": f"{index}-{role.rpartition('.')[2]}", "role": role, "host_names": host_names}


PHASES = [
    phase(1, "changeops.rollback.service_stop", WEB),
    phase(2, DATABASE, ["db1"]),
    phase(3, "changeops.rollback.git_revert", WEB),
    phase(4, DATABASE, ["web2", "db1"]),
]


class Case(t.NamedTuple):
    """Which batch failed at which phase, and what is put back: hosts, phases, the database's index and hosts."""

    batch: int
    reached: int
    hosts: list[str]
    phases: list[int]
    index: int
    database: list[str]
    left: list[str] = ALL
    resumed: bool = False
    on_failure: str = "recover"
    batches: t.Sequence[list[str]] = (ALL,)
    plan: list[dict[str, t.Any]] = PHASES
    databases: t.Mapping[str, dict[str, str]] = types.MappingProxyType({})
    lost: tuple[str, ...] = ()


# Each host downgrades; web2 and web3 share a database, web1 and db1 have files of their own.
EACH = [
    phase(1, "changeops.rollback.service_stop", ALL),
    phase(2, DATABASE, ALL),
    phase(3, "changeops.rollback.git_revert", ALL),
    phase(4, "changeops.rollback.service_start", ALL),
]
KNOWN = {
    host: {"2-alembic_downgrade": "shared" if host in ("web2", "web3") else ""}
    for host in ["web1", "web2", "web3", "db1"]
}
WITHOUT_WEB3 = ["web1", "web2", "db1"]
OF_A_BATCH = {host: {"2-alembic_downgrade": "shared"} for host in ALL}
ROLLING = (["web1"], ["web2", "web3"], ["db1"])
CASES = {
    "before the database": Case(1, 1, ALL, [1], 0, []),
    "at the database": Case(1, 2, ALL, [1, 2], 2, ["db1"]),
    "after the database": Case(1, 3, ALL, [1, 2, 3], 2, ["db1"]),
    "two databases: the first counts, and the hosts of both": Case(1, 4, ALL, [1, 2, 3, 4], 2, ["web2", "db1"]),
    "before the first phase": Case(0, 0, [], [], 0, []),
    "a batch": Case(2, 3, ["web2", "web3"], [1, 2, 3], 2, [], ["web2", "web3", "db1"], batches=ROLLING),
    "the database of a batch": Case(2, 4, ["web2", "web3"], [1, 2, 3, 4], 2, ["web2"], ALL[1:], batches=ROLLING),
    "the last batch": Case(3, 1, ["db1"], [1], 0, [], ["db1"], batches=ROLLING),
    "resumed: all phases": Case(1, 1, ALL, [1, 2, 3, 4], 2, ["web2", "db1"], resumed=True),
    "resumed, before the first batch": Case(0, 0, ALL, [1, 2, 3, 4], 2, ["web2", "db1"], resumed=True),
    "resumed: all batches that are not done": Case(
        2, 1, ALL[1:], [1, 2, 3, 4], 2, ["web2", "db1"], ALL[1:], resumed=True, batches=ROLLING
    ),
    "a shared database: the first host that has it": Case(
        1, 3, ALL, [1, 2, 3], 2, WITHOUT_WEB3, plan=EACH, databases=KNOWN
    ),
    "a shared database, and an app may run": Case(1, 4, ALL, [1, 2, 3, 4], 2, ALL, plan=EACH, databases=KNOWN),
    "a shared database, resumed: an app may run": Case(
        1, 3, ALL, [1, 2, 3, 4], 2, ALL, resumed=True, plan=EACH, databases=KNOWN
    ),
    "a phase of somebody else, which may have started one": Case(
        1, 3, ALL, [1, 2, 3], 2, ALL, plan=[*EACH[:2], phase(3, "acme.own.work", ALL)], databases=KNOWN
    ),
    "a shared database whose first host is not put back": Case(
        2, 3, ALL[1:3], [1, 2, 3], 2, ALL[1:3], ALL[1:], batches=ROLLING, plan=EACH, databases=OF_A_BATCH
    ),
    "a shared database that one host is named for": Case(
        1, 3, ALL, [1, 2, 3], 2, ["db1"], plan=PHASES, databases=OF_A_BATCH
    ),
    "lost, and the database belongs to others": Case(1, 3, ALL, [1, 2, 3], 2, ["db1"], lost=("web3",)),
    "the host of the database is lost": Case(1, 3, ALL, [], 2, ["db1"], lost=("db1",)),
    "lost, and an app may run on a shared database": Case(
        1, 4, ALL, [], 2, ALL, plan=EACH, databases=KNOWN, lost=("web3",)
    ),
    "lost before the database": Case(1, 1, ALL, [1], 0, [], lost=("web1", "db1")),
    "the plan says stop": Case(1, 3, ALL, [], 0, [], on_failure="stop"),
    "the plan says stop, resumed": Case(1, 3, ALL, [], 0, [], resumed=True, on_failure="stop"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_recovery(case: Case) -> None:
    plan = {"on_failure": case.on_failure, "phases": case.plan, "batches": list(case.batches)}
    batch = {"index": case.batch, "hosts": case.batches[case.batch - 1] if case.batch else []}
    found = recovery_of(plan, batch, case.reached, case.resumed, case.databases, case.lost)
    assert found.left == case.left
    assert found.hosts == case.hosts
    assert [phase["index"] for phase in found.phases] == case.phases
    assert (found.database_index, found.database_hosts) == (case.index, case.database)
    filtered = FilterModule().filters()["recovery"](
        plan, batch, str(case.reached), case.resumed, case.databases, case.lost
    )
    assert filtered == vars(found)

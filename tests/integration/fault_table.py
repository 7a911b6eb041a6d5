# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault matrix: what happens when something breaks, in which phase, where in it, and with which ``on_failure``.

Each combination of fault, phase, position and policy has either an `Expected` end or a `LeftOut` reason, never both
(tests/unit/test_reliability.py). ``test_fault_matrix.py`` brings each about; docs/reliability.md is made of this.
"""

from __future__ import annotations

import itertools
import typing as t

PHASES = ("backup", "service_stop", "alembic_downgrade", "git_revert", "config_restore", "service_start", "verify")
POSITIONS = ("start", "middle", "end")
POLICIES = ("recover", "stop")

# The release on every host that can be reached, when the command has ended. Half-way: no app runs that could meet a
# database of another release, and the next run goes on from there.
# But for one: the host that was harmed may be half-way.
OLD, NEW, HALF_WAY = "rolled back", "as before", "half-way"
OLD_BUT_ONE, NEW_BUT_ONE = "rolled back, but for one", "as before, but for one"
FREE, ADOPTABLE = "free", "adoptable"


class End(t.NamedTuple):
    """How a case ends.

    ``outcome``: in the history. ``release``: OLD, NEW, HALF_WAY, or OLD or NEW but for one host. ``code``: of
    ansible-playbook, as a shell has it. ``lock``: of the hosts that can be reached. ``says``: words of the summary,
    with ``{phase}``, ``{host}``.
    """

    outcome: str
    release: str
    code: int
    lock: str
    says: tuple[str, ...]


class Rule(t.NamedTuple):
    """The same for all combinations of these; an empty tuple stands for all."""

    faults: tuple[str, ...]
    phases: tuple[str, ...]
    positions: tuple[str, ...]
    policies: tuple[str, ...]

    def covers(self, case: Case) -> bool:
        return all(
            not wanted or is_ in wanted
            for wanted, is_ in zip(self, (case.fault, case.phase, case.position, case.policy), strict=True)
        )


class Case(t.NamedTuple):
    """One case of the matrix."""

    fault: str
    phase: str
    position: str
    policy: str

    @property
    def id(self) -> str:
        """As pytest shows it, and takes it with ``-k``."""
        return "-".join([self.phase, self.position, self.fault.replace(" ", "_"), self.policy])


# What breaks, and what that means here.
FAULTS = {
    "task fails": "a program of the phase fails on one host: at the start the first one, in the middle the one that"
    " does the work, at the end that one after its work was done",
    "sshd killed": "sshd and its sessions are killed on one host, and sshd does not come back before the run has ended",
    "sshd restarted": "the same, and sshd is back as soon as the run has noticed",
    "network cut": "no packet reaches or leaves one host until the run has ended",
    "host frozen": "one host stands still (podman pause) until the run has ended",
    "all hosts lost": "sshd and its sessions are killed on all hosts until the run has ended",
    "SIGINT": "ansible-playbook gets SIGINT, as from Ctrl-C",
    "SIGTERM": "ansible-playbook gets SIGTERM",
    "SIGKILL": "ansible-playbook gets SIGKILL, as from AWX or when the controller is lost",
    "history lost": "the history store cannot be opened, and is back as soon as the run has noticed",
    "disk full": "the file system with the restore points of one host fills up until the run has ended",
    "PostgreSQL stopped": "PostgreSQL is stopped until the run has ended",
    "table locked": "a session holds a lock on the table that the downgrade changes, until the run has ended",
    "service refuses": "the release that is gone back to does not start on one host until the run has ended",
    "service dies": "the release that is gone back to dies after three seconds, until the run has ended",
    "clock an hour off": "the clock of one host is set an hour ahead and stays so",
}
LOST_ONE = ("sshd killed", "sshd restarted", "network cut", "host frozen")
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
HARMLESS = ("history lost", "clock an hour off")
DATABASE_LOST = ("PostgreSQL stopped", "table locked")
SERVICE_BROKEN = ("service refuses", "service dies")
FAULTS_AT_START_AND_MIDDLE = tuple(fault for fault in FAULTS if fault not in ("task fails", "SIGKILL"))
NOT_CHANGING = tuple(phase for phase in PHASES if phase not in ("alembic_downgrade", "git_revert"))
UP_OR_DATABASE = ("alembic_downgrade", "service_start")
NOT_STARTED = ("backup", "service_stop", "config_restore")
UNTIL_START = ("service_stop", "git_revert", "config_restore")
# What all are on where nothing is put back: the first phase changes nothing that counts, the last comes after the rest.
LEFT_AS_IT_IS = (("backup", NEW), ("verify", OLD), (None, HALF_WAY))
_Words = str | tuple[str, ...] | None

# The downgrade is done on the first host for all, so that one is lost; in every other phase it is the second.
DATABASE_PHASE = "alembic_downgrade"


class Expected(t.NamedTuple):
    """One row of the table."""

    rule: Rule
    end: End


class LeftOut(t.NamedTuple):
    """Combinations that are not tried, and why not."""

    rule: Rule
    reason: str


class _Rows:
    """Makes rows: of faults, phases, positions and policies, each ``None`` for all, a word or a tuple of words."""

    def __init__(self) -> None:
        self.rows: list[Expected | LeftOut] = []

    def add(self, faults: _Words, phases: _Words, positions: _Words, policies: _Words, end: End | str) -> None:
        rule = Rule(*((one,) if isinstance(one, str) else one or () for one in (faults, phases, positions, policies)))
        self.rows.append(LeftOut(rule, end) if isinstance(end, str) else Expected(rule, end))


def _table() -> list[Expected | LeftOut]:
    """All rows; of those that cover a case the first counts."""
    rows = _Rows()
    add = rows.add
    failed = ("{phase} failed on {host}",)
    lost = ("{phase} stopped on {host}", "unreachable")
    once = "The end of a phase is followed by the start of the next one, and nothing is done between."
    add(FAULTS_AT_START_AND_MIDDLE, PHASES[:-1], "end", None, once)

    add("task fails", "verify", ("start", "end"), None, "Verify changes nothing, so a check fails there in one way.")
    add("task fails", UP_OR_DATABASE, "end", None, "In the middle of this one the work has been done.")
    # It is looked at whether the unit is gone, whatever systemctl says.
    add("task fails", "service_stop", "end", "recover", End("succeeded", OLD, 0, FREE, ()))
    add("task fails", "service_stop", "end", "stop", "The run does not fail, so on_failure is not asked.")
    add("task fails", None, None, "recover", End("recovered", NEW, 2, FREE, failed))
    add("task fails", "service_start", None, "stop", End("failed", OLD_BUT_ONE, 2, FREE, failed))
    for phase, release in LEFT_AS_IT_IS:
        add("task fails", phase, None, "stop", End("failed", release, 2, FREE, failed))

    # All is verified then, and the run only gives the hosts back.
    outside = ("It failed on {host}",)
    add("sshd killed", "verify", "end", None, End("failed", OLD, 4, FREE, outside))
    add("all hosts lost", "verify", "end", "recover", End("failed", OLD, 4, ADOPTABLE, ("It failed on",)))

    others = [fault for fault in LOST_ONE if fault != "sshd killed"]
    add(tuple(others), NOT_CHANGING, None, None, "How a host is lost was tried where the most is at stake.")
    add(tuple(others), None, None, "stop", "How a host is lost does not matter where nothing is put back.")
    # Where a lost host works on the database of all, or may have started its app, nothing is put back.
    add(LOST_ONE, UNTIL_START, None, "recover", End("failed", NEW_BUT_ONE, 4, FREE, lost))
    add(LOST_ONE, "service_start", None, None, End("failed", OLD_BUT_ONE, 4, FREE, lost))
    add("all hosts lost", None, None, "stop", "No host is left that could be put back, so both policies are one.")
    for phase, release in LEFT_AS_IT_IS:
        add(LOST_ONE, phase, None, None, End("failed", release, 4, FREE, lost))
        add("all hosts lost", phase, None, "recover", End("failed", release, 4, ADOPTABLE, ("{phase}", "unreachable")))

    add(SIGNALS, None, None, "stop", "Nothing runs after the signal, so on_failure is not asked.")
    for name, code, how in (("SIGINT", 99, "SIGINT"), ("SIGTERM", 143, "SIGTERM"), ("SIGKILL", 137, "process ended")):
        for phase, release in LEFT_AS_IT_IS:
            add(name, phase, None, None, End("interrupted", release, code, ADOPTABLE, (how, "{phase}")))

    add(HARMLESS, None, None, "stop", "The run does not fail, so on_failure is not asked.")
    add("clock an hour off", None, ("middle", "end"), None, "The clock is set once, at the start.")
    add(HARMLESS, None, None, "recover", End("succeeded", OLD, 0, FREE, ()))

    # Each phase has room in reserve for its recovery.
    add("disk full", "verify", "end", "recover", End("succeeded", OLD, 0, FREE, ()))
    add("disk full", "verify", "end", "stop", "The run does not fail, so on_failure is not asked.")
    add("disk full", None, None, "recover", End("recovered", NEW, 2, FREE, failed))
    add("disk full", "service_start", None, "stop", End("failed", OLD_BUT_ONE, 2, FREE, failed))
    for phase, release in LEFT_AS_IT_IS:
        add("disk full", phase, None, "stop", End("failed", release, 2, FREE, failed))

    add(DATABASE_LOST, ("backup", "service_stop"), None, None, "As at the start of the downgrade, which asks it first.")
    add(DATABASE_LOST, ("config_restore", "service_start"), None, None, "As at git_revert: verify asks it next.")
    add(DATABASE_LOST, "verify", ("middle", "end"), None, "As at the start: each check asks the database anew.")
    add("PostgreSQL stopped", DATABASE_PHASE, "start", None, End("failed", HALF_WAY, 2, FREE, failed))
    seen = ("alembic_downgrade failed on web2",)  # web1 has downgraded, and web2 looks
    add("PostgreSQL stopped", DATABASE_PHASE, "middle", None, End("failed", HALF_WAY, 2, FREE, seen))
    named = (*failed, "psql")
    add("table locked", DATABASE_PHASE, "start", "recover", End("recovered", NEW, 2, FREE, named))
    add("table locked", DATABASE_PHASE, "start", "stop", End("failed", HALF_WAY, 2, FREE, named))
    add(DATABASE_LOST, "verify", None, "stop", End("failed", OLD, 2, FREE, ("verify failed on",)))
    add(
        "PostgreSQL stopped",
        ("git_revert", "verify"),
        None,
        "recover",
        End("failed", OLD, 2, FREE, ("verify failed on",)),
    )
    add(DATABASE_LOST, None, None, None, End("failed", HALF_WAY, 2, FREE, ("verify failed on",)))

    add(SERVICE_BROKEN, NOT_STARTED, None, None, "As at git_revert: it is not started yet.")
    add(SERVICE_BROKEN, "verify", None, None, "By then it has been started.")
    add(SERVICE_BROKEN, "service_start", ("middle", "end"), None, "By then it has been started.")
    add("service refuses", None, None, "recover", End("recovered", NEW, 2, FREE, ("service_start failed on {host}",)))
    add("service refuses", None, None, "stop", End("failed", OLD_BUT_ONE, 2, FREE, ("service_start failed on {host}",)))
    # By service_start, which names the unit, or by verify, which names a check: who is there when it dies.
    add("service dies", None, None, "recover", End("recovered", NEW, 2, FREE, ("failed on {host}",)))
    add("service dies", None, None, "stop", End("failed", OLD_BUT_ONE, 2, FREE, ("failed on {host}",)))
    return rows.rows


TABLE = _table()


def cases() -> list[Case]:
    """All that are not left out, in the order of phase, position, fault, policy."""
    everything = (Case(f, p, o, y) for p, o, f, y in itertools.product(PHASES, POSITIONS, FAULTS, POLICIES))
    return [case for case in everything if isinstance(row_of(case), Expected)]


def row_of(case: Case) -> Expected | LeftOut | None:
    """The first row that covers a case."""
    return next((row for row in TABLE if row.rule.covers(case)), None)


def end_of(case: Case) -> End:
    row = row_of(case)
    assert isinstance(row, Expected), f"{case.id} is not in the table"
    return row.end


def selected(wanted: str) -> list[Case]:
    """The environment variable FAULTS says what is ``wanted``: all, else what is `in_short`."""
    return [case for case in cases() if wanted == "all" or in_short(case)]


def in_short(case: Case) -> bool:
    """What every run of the tests tries: every fault at the downgrade and at git_revert, and three in every phase."""
    at_stake = case.phase in (DATABASE_PHASE, "git_revert")
    everywhere = case.fault in ("task fails", "sshd killed", "SIGKILL")
    position = "start" if case.fault in ("clock an hour off", "table locked", "PostgreSQL stopped") else "middle"
    return case.policy == "recover" and case.position == position and (at_stake or everywhere)

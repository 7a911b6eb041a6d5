# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/reliability.md from the fault matrix: python tests/integration/reliability.py"""

from __future__ import annotations

import typing as t
from pathlib import Path

import fault_table
from fault_table import FAULTS, PHASES, POLICIES, POSITIONS, Case, LeftOut

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
HEAD = """\
# What a rollback does when something breaks

Made from the fault matrix by `python tests/integration/reliability.py`. `make faults` tries each case on two hosts that
boot systemd and share one PostgreSQL; `make test` tries the short matrix. All the while clients work with the app on
each host, and what it acknowledged is compared with what is there afterwards. Then one more run has to finish the job;
in the short matrix once only where hosts ended as before, or as SIGINT and SIGTERM leave them.

The table says how each case has to end. Which of them did when they were run, the last lines of
`make faults` tell.

## What is promised

- **Nothing that the app acknowledged is lost.** Rows stay. Values of a column that the downgrade drops are in the
  database, or in the export of the restore point that the downgrade was made with.
- **No release runs beside a database of another one.** Hosts are all on the old release, all as before but for one that
  was lost, or half-way: then an app either is stopped or fits the database.
- **The history tells the end** as soon as the command has ended: outcome, phase, host and cause. After SIGKILL
  it does as soon as the next command looks.
- **The exit code is 0 only for `succeeded`.**
- **The next `ansible-playbook rollback.yml -e change=...` finishes the job**, once the cause is gone, also on
  hosts that were lost and are back.

## What is not promised

- A host that was lost is not put back in the same run: Ansible does not come back to it. The others are, unless it
  worked on the database of all, or may have started its app: then nothing is put back, and the next run goes on.
- Where a database does not answer, nothing is put back: hosts stay where they are, for the next run. For a full disk,
  each phase has 1 MiB in reserve beside the restore point, which is enough to put its own work back.
- ssh notices that a host stands still only where it is told to: set `ServerAliveInterval` in `ansible_ssh_common_args`.
- While apps are stopped, clients are turned away. What was not acknowledged is not kept.

## The cases

Start: the history says that the phase runs, and no host has begun. Middle: the program that does the work is held on a
host, where harm does most. End: every host is done with the phase.

`on_failure: recover` is the default; `stop` leaves all as it is. *As before*: the release that was being rolled back
runs again. *Half-way*: the next run goes on from there.
*But for one*: the host that was harmed may be half-way. A lock that is *adoptable* is taken over by the next run.
"""


def _of(words: t.Sequence[str], everything: t.Sequence[str]) -> str:
    return "all" if not words or list(words) == list(everything) else ", ".join(words)


def _gathered(cases: t.Iterable[Case]) -> t.Iterator[tuple[str, fault_table.End, tuple[str, str, str]]]:
    """The rows of the table: fault, end, and in words the phases, positions and policies that have it."""
    positions: dict[tuple[str, fault_table.End, str, str], list[str]] = {}
    for case in cases:
        positions.setdefault((case.fault, fault_table.end_of(case), case.policy, case.phase), []).append(case.position)
    phases: dict[tuple[str, fault_table.End, str, str], list[str]] = {}
    for (fault, end, policy, phase), found in positions.items():
        phases.setdefault((fault, end, policy, ", ".join(found)), []).append(phase)
    policies: dict[tuple[str, fault_table.End, str, str], list[str]] = {}
    for (fault, end, policy, where), found in phases.items():
        policies.setdefault((fault, end, _of(found, PHASES), where), []).append(policy)
    for (fault, end, which, where), found in policies.items():
        yield fault, end, (which, where, ", ".join(found))


def page() -> str:
    """The whole page."""
    lines = [HEAD, "| fault | what happens |", "|---|---|", *(f"| {name} | {what} |" for name, what in FAULTS.items())]
    lines += ["", "| fault | phase | position | on_failure | outcome | hosts | exit code | lock | the history says |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    rows = sorted(_gathered(fault_table.cases()), key=lambda row: list(FAULTS).index(row[0]))
    for fault, end, (phases, positions, policies) in rows:
        said = ", ".join(end.says).replace("{phase}", "<phase>").replace("{host}", "<host>").replace("<", "\\<")
        lines.append(
            f"| {fault} | {phases} | {positions} | {policies} | {end.outcome} | {end.release} | {end.code} "
            f"| {end.lock} | {said or 'how many phases were done'} |"
        )
    number = len(fault_table.cases())
    short = len(fault_table.selected(""))
    lines += [
        "",
        f"These are {number} cases, of which `make test` runs {short}, as `make faults FAULTS=short` does.",
        "",
        "## What is left out, and why",
        "",
    ]
    lines += ["| fault | phase | position | on_failure | why it is not tried |", "|---|---|---|---|---|"]
    for row in fault_table.TABLE:
        if isinstance(row, LeftOut):
            rule = row.rule
            faults = "all others" if rule.faults == fault_table.FAULTS_AT_START_AND_MIDDLE else _of(rule.faults, ())
            lines.append(
                f"| {faults} | {_of(rule.phases, PHASES)} | {_of(rule.positions, POSITIONS)} "
                f"| {_of(rule.policies, POLICIES)} | {row.reason} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

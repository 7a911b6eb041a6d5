# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a plan under the eight steps of the plan document. Pure functions. Private to this collection."""

from __future__ import annotations

import typing as t

from ..module_utils._redact import redact
from ..module_utils._words import listed
from ._history_process import seconds_between
from ._outcome import MAIN, OK, RECOVER, name_of
from ._plan import COLLECTION
from ._report_checks import box, evidence_words
from ._report_commands import Options, account, commands

Values = t.Mapping[str, t.Any]
Box = dict[str, t.Any]

# Title of each step in the document, its name in the time table, and the phases that it has.
STEPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Pre-Rollback Preparation", "Preparation", ("backup",)),
    ("Stop Services", "Stop Services", ("service_stop",)),
    ("Revert Code Changes", "Revert Code", ("git_revert",)),
    ("Revert Database Changes", "Revert Database", ("alembic_downgrade",)),
    ("Revert Configuration", "Revert Config", ("config_restore",)),
    ("Restart Services", "Restart Services", ("service_start",)),
    ("Verification", "Verification", ("verify",)),
    ("Post-Rollback", "", ()),
)
# The time table has preparation, stop, code, database, config, restart, verification, in this order of the template.
TIMED = tuple(short for _title, short, _names in STEPS if short)
OF_NAME = {name: number for number, (_title, _short, names) in enumerate(STEPS, 1) for name in names}
NOT_PLANNED = "not in this plan"


def step_of(phases: t.Sequence[Values]) -> dict[int, int]:
    """The number of the step under which each phase stands, by the phase's index.

    A role that is not one of this collection's stands with the phase before it, and before all of them with the
    preparation.
    """
    found, last = {}, 1
    for phase in phases:
        ours = phase["role"] == f"{COLLECTION}.{phase['name']}"
        last = OF_NAME.get(phase["name"], last) if ours else last
        found[phase["index"]] = last
    return found


class Steps:
    """Fills the steps.

    :arg hosts: the variables of each host.
    :arg run: the last rollback that did something, as ``Store.runs`` gives it; None: there was none.
    :arg checks: as ``_report_checks.results`` gives them.
    :arg truth: the truth tables of that run, by moment.
    """

    def __init__(
        self, plan: Values, hosts: t.Mapping[str, Values], run: Values | None, truth: Values, checks: t.Sequence[Values]
    ) -> None:
        self.plan, self.hosts, self.run, self.truth, self.checks = plan, hosts, run, truth, checks
        self.phases: t.Sequence[Values] = plan["phases"]
        self.number = step_of(self.phases)

    def all(self) -> list[dict[str, t.Any]]:
        """The eight steps, each as the view has it."""
        boxes = (
            self._prepared,
            self._stopped,
            self._code,
            self._database,
            self._config,
            self._started,
            self._verified,
            self._afterwards,
        )
        return [
            {
                "number": number,
                "title": title,
                "boxes": boxes[number - 1](),
                "phases": [phase["id"] for phase in self.phases if self.number[phase["index"]] == number],
                "commands": [
                    block
                    for phase in self.phases
                    if self.number[phase["index"]] == number
                    for block in self._blocks(phase)
                ],
            }
            for number, (title, _short, _names) in enumerate(STEPS, 1)
        ]

    def _blocks(self, phase: Values) -> list[dict[str, t.Any]]:
        """Commands of a phase, once for all hosts with the same ones."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for host in phase["host_names"] or [""]:
            alike.setdefault(tuple(commands(phase, self.plan, self.hosts.get(host, {}))), []).append(host)
        return [
            {
                "phase": phase["id"],
                "hosts": [host for host in hosts if host],
                "user": account(phase),
                "lines": list(lines),
            }
            for lines, hosts in alike.items()
        ]

    def of(self, name: str) -> list[Values]:
        """The phases of one of this collection's roles."""
        return [phase for phase in self.phases if phase["role"] == f"{COLLECTION}.{name}"]

    def options(self, name: str) -> list[Options]:
        """What they are told, phase by phase and host by host."""
        return [Options(phase, self.hosts.get(host, {})) for phase in self.of(name) for host in phase["host_names"]]

    def _any(self, name: str, option: str, shared: str = "") -> bool:
        return any(of.get(option, shared) for of in self.options(name))

    def rows(self, name: str, step: str = MAIN) -> list[Values]:
        """What the last run did in phases of a role."""
        if self.run is None:
            return []
        return [row for row in self.run["phases"] if row["step"] == step and name_of(row["phase"]) == name]

    def _phase_box(self, text: str, name: str, more: str = "") -> Box:
        """A box for a phase, ticked where the last run did it on every host of it."""
        mine = self.of(name)
        if not mine:
            return box(text, False, [NOT_PLANNED])
        rows = self.rows(name)
        done = bool(rows) and all(row["status"] == OK for row in rows)
        where = list(dict.fromkeys(host for phase in mine for host in phase["host_names"]))
        words = [
            f"phase {listed([str(phase['index']) for phase in mine])}, {name}, on {listed(where) or 'no host'}",
            more,
        ]
        return box(text, done, [*words, *self._trouble(rows)])

    def _trouble(self, rows: t.Sequence[Values]) -> list[str]:
        return [f"{row['host']}: {row['status']}, {row['message']}" for row in rows if row["status"] != OK]

    def _check_box(self, text: str, *kinds: str) -> Box:
        """A box for checks of some kinds."""
        mine = [check for check in self.checks if check["kind"] in kinds or (check["core"] and "core" in kinds)]
        if not mine:
            return box(text, False, [NOT_PLANNED])
        return box(text, all(check["ok"] for check in mine), map(evidence_words, mine))

    def _notes(self, *kinds: str) -> list[str]:
        notes = self.run["notes"] if self.run else []
        return [redact(note["text"]) for note in notes if note.get("kind", "note") in kinds]

    def _prepared(self) -> list[Box]:
        windows = list(dict.fromkeys(map(_window_words, self._windows())))
        before = self.truth.get("before") or []
        return [
            self._phase_box("Backup current state", "backup"),
            self._told(),
            box("Schedule maintenance window", bool(windows), windows or ["no maintenance window is named"]),
            box(
                "Document current state",
                bool(before),
                [
                    f"of {listed([row['host'] for row in before])}, in the run's record"
                    if before
                    else "each run does it"
                ],
            ),
        ]

    def _windows(self) -> list[Values]:
        mine = self.plan.get("maintenance") or [
            one
            for host in self.hosts.values()
            for one in host.get("rollback_maintenance") or []
            if isinstance(one, dict)
        ]
        return list(mine)

    def _told(self) -> Box:
        places = [place for host in self.hosts.values() for place in host.get("notify_places") or []]
        missed = self._notes("not_notified")
        said = "places are told at the start and at the end" if places else "no place to tell in the inventory"
        return box("Notify stakeholders", bool(places) and bool(self.run) and not missed, [said, *missed])

    def _stopped(self) -> list[Box]:
        return [
            self._phase_box("Stop application", "service_stop"),
            box("Stop database", False, [self._database_stays()]),
            self._related("Stop related services", "service_stop"),
        ]

    def _database_stays(self) -> str:
        return "it works on, as the downgrade needs it" if self.of("alembic_downgrade") else NOT_PLANNED

    def _related(self, text: str, name: str) -> Box:
        many = any(len(of.items("services", "rollback_services")) > 1 for of in self.options(name))
        return self._phase_box(text, name) if many else box(text, False, ["there is one service only"])

    def _code(self) -> list[Box]:
        install = self._any("git_revert", "install", "rollback_install")
        return [
            self._phase_box("Revert code changes", "git_revert"),
            self._phase_box("Restore previous version", "git_revert"),
            self._phase_box("Update dependencies", "git_revert")
            if install
            else box("Update dependencies", False, [NOT_PLANNED]),
        ]

    def _database(self) -> list[Box]:
        put_back = self.rows("alembic_downgrade", RECOVER)
        restored = bool(put_back) and all(row["status"] == OK for row in put_back)
        planned = bool(self.of("alembic_downgrade"))
        words = "what is lost is exported, and put back if the rollback fails or is undone" if planned else NOT_PLANNED
        return [
            self._phase_box("Rollback migrations", "alembic_downgrade"),
            box("Restore data if needed", restored, [words, *(row["message"] for row in put_back)]),
            self._check_box("Verify data integrity", "rows", "content", "sql"),
        ]

    def _config(self) -> list[Box]:
        of = self.options("config_restore")
        items = [item for one in of for item in one.items("paths", "rollback_config")]
        files = [item["path"] for item in items if isinstance(item, dict) and (item.get("keys") or _is_env(item))]
        return [
            self._phase_box("Restore configuration files", "config_restore"),
            self._phase_box("Update environment variables", "config_restore", f"in {listed(sorted(set(files)))}")
            if files
            else box("Update environment variables", False, [NOT_PLANNED]),
            self._phase_box("Verify settings", "config_restore", "each file is compared with what it has to be"),
        ]

    def _started(self) -> list[Box]:
        return [
            box("Start database", False, ["it was not stopped" if self.of("service_start") else NOT_PLANNED]),
            self._phase_box("Start application", "service_start"),
            self._related("Start related services", "service_start"),
        ]

    def _verified(self) -> list[Box]:
        return [
            self._phase_box("Verify application starts", "service_start"),
            self._check_box("Verify health checks pass", "http"),
            self._check_box("Verify data integrity", "rows", "content", "files", "sql"),
            self._check_box("Verify functionality", "core"),
        ]

    def _afterwards(self) -> list[Box]:
        ended = self.run and f"run {self.run['id']}: {self.run['outcome'] or 'running'}"
        causes, fixes = self._notes("cause"), self._notes("fix")
        command = f"ansible-playbook history_note.yml -e run={self.run['id']}" if self.run else ""
        return [
            self._told(),
            box("Document rollback", bool(self.run and self.run["outcome"]), [ended or "each run goes on record"]),
            box("Analyze failure", bool(causes), causes or [command and f"{command} -e cause=..."]),
            box("Plan fix", bool(fixes), fixes or [command and f"{command} -e fix=..."]),
        ]


def _window_words(window: Values) -> str:
    days = f"{listed([str(day) for day in window['days']])}, " if window.get("days") else ""
    return f"{days}{window.get('start')} to {window.get('end')}, {window.get('zone')}"


def _is_env(item: Values) -> bool:
    return str(item.get("path", "")).rpartition("/")[2].endswith(".env") or str(item.get("path", "")).endswith(
        "/environment"
    )


def times(
    phases: t.Sequence[Values], run: Values | None, preflight: float | None, number: t.Mapping[int, int]
) -> list[dict[str, t.Any]]:
    """The time table of the document: for each of `TIMED`, and then "Total", ``estimated`` and ``actual`` in seconds.

    :arg phases: as the view has them, with ``expected`` and ``actual``.
    :arg run: the last rollback that did something.
    :arg preflight: how long all preflights take, of earlier runs; counted as preparation.
    """
    now = preflight_seconds(run) if run else None
    rows: list[dict[str, t.Any]] = []
    for place, short in enumerate(TIMED, 1):
        mine = [phase for phase in phases if number[phase["index"]] == place]
        estimated = [phase["expected"] for phase in mine] + ([preflight] if place == 1 else [])
        actual = [phase["actual"] for phase in mine] + ([now] if place == 1 else [])
        rows.append({"step": short, "estimated": _sum(estimated), "actual": _sum(actual)})
    total = {"step": "Total", "estimated": _sum(row["estimated"] for row in rows)}
    return [*rows, {**total, "actual": run["duration"] if run else None}]


def _sum(values: t.Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 3) if known else None


def preflight_seconds(run: Values) -> float | None:
    """From the start of a run until the last preflight ended."""
    ended = [row["finished"] for row in run["phases"] if row["step"] == "preflight" and row["finished"]]
    return seconds_between(run["started"], max(ended)) if ended else None

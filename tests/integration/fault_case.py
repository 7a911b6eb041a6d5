# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings one case of the fault matrix about, and looks how it ended."""

from __future__ import annotations

import copy
import json
import os
import signal
import threading
import time
import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from fault_harm import (
    BROKEN_SERVICE,
    CLOCK,
    STATE,
    broken_service,
    cut,
    end_connections,
    filled,
    hidden,
    kill_sshd,
    locked,
    python_with_clock,
    small_disk,
    start_sshd,
    uncut,
)
from fault_rig import PROGRAMS, WORK, Place, Run, Writers, wait_for
from fault_table import (
    ADOPTABLE,
    DATABASE_LOST,
    DATABASE_PHASE,
    HALF_WAY,
    LOST_ONE,
    NEW,
    NEW_BUT_ONE,
    OLD,
    OLD_BUT_ONE,
    SIGNALS,
    Case,
    end_of,
)
from fleet import Fleet, FleetOps
from hosts import Host, podman

# Where a fault goes away by itself it stays until the run has noticed it, and says so.
NOTICED = {"sshd restarted": "UNREACHABLE!", "history lost": "The rollback goes on"}
# What the short matrix goes on from at the downgrade only: a downgrade that was put back, what a full disk has left
# half-written, and two signals that end a run as SIGKILL does, which is gone on from in every phase.
GONE_ON_FROM_ONCE = ("service refuses", "disk full", "SIGINT", "SIGTERM")
# From such a host comes no answer at all, not even that nobody listens.
SILENT = ("network cut", "host frozen")
EXPORTED = """\
import glob, json, sqlite3
found = []
for path in glob.glob("/var/lib/changeops/*/*alembic_downgrade/export.sqlite"):
    db = sqlite3.connect("file:" + path + "?mode=ro", uri=True)
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [row[1] for row in db.execute("PRAGMA table_info(\\"" + table + "\\")")]
        if "id" in columns and "total" in columns:
            rows = db.execute("SELECT id, total FROM \\"" + table + "\\" WHERE total IS NOT NULL").fetchall()
            found += [(int(id_), int(total)) for id_, total in rows]  # those of PostgreSQL are kept as text
print(json.dumps(found))
"""


class Trial:
    """One case: ``run`` it, ``mend`` what was broken, ``check`` how it ended.

    ``result``: for the summary of the matrix.
    """

    def __init__(self, fleet: Fleet, ops: FleetOps, case: Case) -> None:
        self.fleet, self.ops, self.case, self.expected = fleet, ops, case, end_of(case)
        self.result: dict[str, t.Any] = {"policy": case.policy, "outcome": "", "lost": 0, "mixed": 0}
        self.facts = fleet.facts
        self.hosts: list[Host] = list(fleet.hosts.values())
        self.victim = self.hosts[0 if case.phase == DATABASE_PHASE else -1]
        self.work = WORK[case.phase]
        programs = {**PROGRAMS, "shop-python": f"{self.facts['repo']}/.venv/bin/python"}
        # a rollback runs git hundreds of times
        chosen = {name: real for name, real in programs.items() if name in (self.work.program, "shop-check")}
        self.places = {host: Place(host, chosen) for host in self.hosts}
        for place in self.places.values():
            place.prepare()
        self._configure()
        self.ending: list[t.Callable[[], object]] = []
        if case.fault == "disk full":
            self.ending.append(small_disk(self.victim))
        self.writers = Writers(dict.fromkeys(self.hosts, self.facts["port"]))
        self.mending: list[t.Callable[[], object]] = []

    def _configure(self) -> None:
        """What the wrappers need of the plan, an ssh that notices a host which falls silent, and checks that give up.

        A busy machine may take ten seconds for a login, so no other case is in a hurry.
        """
        if self.case.phase == DATABASE_PHASE:
            # A script is started in the phase; in all other cases preflight starts the app's own interpreter ahead.
            python = ["/usr/local/bin/shop-python"]
            self.ops.phase(DATABASE_PHASE).setdefault("vars", {})["alembic_downgrade_python"] = python
        self.ops.check("not told to fail")["command"] = {"argv": ["shop-check"]}
        if self.case.fault == "clock an hour off":
            self.ops.hosts[self.victim.name]["ansible_python_interpreter"] = python_with_clock(self.victim)
        self.patient = copy.deepcopy((self.ops.hosts, self.ops.group_vars))
        if self.case.fault in SILENT:
            end_connections(self.victim)  # those of the case before do not notice it
            for host in self.ops.hosts.values():
                host["ansible_ssh_common_args"] += " -o ServerAliveInterval=5 -o ServerAliveCountMax=3"
                host["ansible_timeout"] = 15
        if self.case.fault in DATABASE_LOST:
            for check in self.ops.group_vars["rollback_checks"]:
                check["retries"] = 1
        if self.case.policy == "stop":
            self.ops.extra["on_failure"] = "stop"
        self.ops.write()

    # What goes wrong

    def run(self) -> None:
        """Start the rollback, break something at the place, and wait until the command has ended."""
        self.before = self.fleet.state()
        self.writers.start()
        self.mending.append(self.writers.stop)
        time.sleep(1)
        run = self.started = Run(self.ops, self.case.phase)
        self.mending.append(lambda: run.ended or run.process.kill())
        run.wait_for("start")
        position = self.case.position
        if self.case.fault == "task fails":
            word = "" if position == "start" else self.work.word
            self.places[self.victim].arm(self.work.program, word, "fail-after" if position == "end" else "fail-before")
            run.go("start", "end")
        elif position == "middle":
            place = self.places[self.victim]
            place.arm(self.work.program, self.work.word, f"wait-{self.work.middle}")
            run.go("start", "end")
            wait_for(lambda: place.reached() or run.ended, run.said)
            assert not run.ended, run.said()
            self.harm()
            self.release(place)
        else:
            if position == "end":
                run.go("start")
                run.wait_for("end")
            self.harm()
            run.go("start", "end")
        self.code = run.result()

    def release(self, place: Place) -> None:
        """Let the program in the middle go on; a host that stands still does when it is mended."""
        if self.case.fault == "host frozen":
            self.mending.append(place.go)
        else:
            place.go()

    def harm(self) -> None:
        """Bring the fault about, and note how it is mended."""
        fault, lost = self.case.fault, [self.victim]
        if fault in SIGNALS:
            self.started.process.send_signal(getattr(signal, fault))
            if fault == "SIGKILL":
                self.started.process.wait(10)
        elif fault in ("sshd killed", "sshd restarted", "all hosts lost"):
            lost = self.hosts if fault == "all hosts lost" else lost
            for host in lost:
                kill_sshd(host)
            self.mend_later(lambda: [start_sshd(host) for host in lost])
        elif fault == "network cut":
            cut(self.victim)
            self.mend_later(lambda: uncut(self.victim))
        elif fault == "host frozen":
            podman("pause", self.victim.container)
            self.mend_later(lambda: podman("unpause", self.victim.container))
        elif fault == "history lost":
            self.mend_later(hidden(self.ops.root / "history.sqlite"))
        elif fault == "disk full":
            self.mend_later(filled(self.victim))
        elif fault == "PostgreSQL stopped":
            self.fleet.db.sh("systemctl stop postgresql")
            self.mend_later(lambda: self.fleet.db.sh("systemctl start postgresql"))
        elif fault == "table locked":
            self.mend_later(locked(self.fleet.db))
        elif fault in BROKEN_SERVICE:
            self.mend_later(broken_service(self.victim, BROKEN_SERVICE[fault]))
        elif fault == "clock an hour off":
            self.victim.sh(f"echo +1h >{CLOCK}")
        else:
            raise AssertionError(f"nobody knows how to bring about: {fault}")

    def mend_later(self, mend: t.Callable[[], object]) -> None:
        """Mend it after the run, or as soon as the run has noticed a fault of NOTICED."""
        noticed, run = NOTICED.get(self.case.fault, ""), self.started

        def mend_in_the_run() -> None:
            while not run.ended and noticed not in " ".join(run.said().split()):
                time.sleep(0.05)
            mend()

        thread = threading.Thread(target=mend_in_the_run)
        if noticed:
            thread.start()
        self.mending.insert(0, thread.join if noticed else mend)

    def mend(self) -> None:
        """Take the fault away."""
        while self.mending:
            self.mending.pop(0)()

    def close(self) -> None:
        """Leave the hosts as they were found."""
        self.mend()
        for end in self.ending:
            end()

    # How it ended

    def check(self) -> None:
        """Look at the end of the run, then let one more finish the job where there is one."""
        wanted = self.expected
        self.mend()
        run = self.last_run()
        self.result["outcome"] = run["outcome"]
        assert run["outcome"] == wanted.outcome, run["summary"]
        for word in wanted.says:
            assert word.format(phase=self.case.phase, host=self.victim.name) in run["summary"], run["summary"]
        assert self.code == wanted.code, run["summary"]
        self.check_lock(run)
        self.check_hosts(wanted.release)
        self.check_acknowledged()
        if self.has_more_to_do():
            end_connections(self.victim)
            self.ops.hosts, self.ops.group_vars = self.patient
            self.ops.write()
            done = self.ops.rollback()
            assert done.returncode == 0
            assert self.last_run()["outcome"] == "succeeded"
            self.check_hosts(OLD)
            self.check_acknowledged()

    def has_more_to_do(self) -> bool:
        """Whether one more run says something. In the short matrix hosts that are as before are one and the same."""
        if self.expected.outcome == "succeeded":
            return False
        alike = self.expected.outcome == "recovered" or self.case.fault in GONE_ON_FROM_ONCE
        here = self.case.phase == DATABASE_PHASE and self.case.fault in GONE_ON_FROM_ONCE
        return not alike or here or os.environ.get("FAULTS") == "all"

    def last_run(self) -> dict[str, t.Any]:
        """The newest run, as the next command sees it."""
        store = Store(self.ops.group_vars["rollback_history_url"])
        return store.runs(this_process(os.getpid()), last=1)[0]

    def check_lock(self, run: t.Mapping[str, t.Any]) -> None:
        """A lock that is left says whose it is, and that run is known to be over."""
        left = {host.name: host.sh(f"cat {STATE}/lock.json 2>/dev/null || true") for host in self.hosts}
        for name, lock in left.items():
            lost = name == self.victim.name and self.case.fault in LOST_ONE
            if self.expected.lock == ADOPTABLE or lost:
                assert not lock or json.loads(lock)["run"] == run["id"]
            else:
                assert not lock, f"{name} is still locked"

    def check_hosts(self, release: str) -> None:
        """All on one release and at work; or half-way, and then no app runs beside a database of another release."""
        now = self.fleet.state()
        database = now.pop("database")
        known = {self.facts["revisions"]["bad"]: NEW, self.facts["revisions"]["good"]: OLD}
        stands = known[database["revision"]]
        code = {name: NEW if one["commit"] == self.facts["commits"]["bad"] else OLD for name, one in now.items()}
        active = [name for name, one in now.items() if one["service"][0] == "active"]
        mixed = [name for name in active if code[name] != stands]
        self.result["mixed"] += len(mixed)
        assert not mixed, f"the database is {stands}, and another release runs on {', '.join(mixed)}"
        if release == HALF_WAY:
            return
        but_one = {OLD_BUT_ONE: OLD, NEW_BUT_ONE: NEW}
        if release in but_one:
            release, _harmed = but_one[release], now.pop(self.victim.name)
        assert stands == release
        for name, one in now.items():
            assert (code[name], one["service"], one["dirty"]) == (release, ["active", "enabled"], ""), name
            assert one["health"] == (503 if release == NEW else 200), name
            if release == NEW:
                assert one == self.before[name]

    def check_acknowledged(self) -> None:
        """No acknowledged row is missing, and no total: in the database or in an export."""
        database = self.fleet.database()
        exports = [json.loads(one.run("python3", "-c", EXPORTED).stdout) for one in self.hosts]
        kept = {(id_, total) for export in exports for id_, total in export}
        acknowledged = self.writers.acknowledged()
        assert acknowledged, "the writers have written nothing"
        lost = []
        for id_, number, total in acknowledged:
            there = database["rows"].get(id_, {}).get("number") == number
            known = total is None or (database["totals"] or {}).get(id_) == total or (id_, total) in kept
            if not there or not known:
                lost.append((id_, number, total))
        self.result["lost"] += len(lost)
        assert not lost, f"{len(lost)} acknowledged rows or totals are missing: {lost[:3]}"

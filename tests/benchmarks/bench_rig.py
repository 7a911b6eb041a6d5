# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts that all contenders roll back, how each contender is started, and one round of one of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import yaml
from bench_probe import probe
from fleet import Fleet, FleetOps
from harness import BIN, Ops
from systemd_shop import HostOps

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CONFIG = ROOT / "roles" / "sample_app" / "templates" / "ops" / "ansible.cfg.j2"
CALLBACKS = HERE / "callbacks"
MEASURES = ("downtime", "total", "cpu", "memory", "largest")
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
Round = dict[str, float]


class WrongEnd(Exception):
    """A rollback did not end as it should have, in a sentence."""


def faults(state: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> list[str]:
    """What of a host's state is not as wanted, in words; a wanted ``packages`` is the one that must be gone."""
    words = []
    for name, want in wanted.items():
        found = state.get(name)
        if name == "packages":
            if any(package.startswith(f"{want}-") for package in found or ()):
                words.append(f"{want} is still installed")
        elif found != want:
            words.append(f"{name} is {found!r:.60}, not {want!r:.60}")
    return words


class Rig:
    """Hosts with the bad release of the sample app, and a directory to start contenders in.

    :arg fleet: the hosts; what lets the tests' Python skip the compiling of modules is taken off them.
    :arg place: a short path, since ssh's sockets lie below it.
    """

    def __init__(self, fleet: Fleet, place: Path) -> None:
        self.fleet = fleet
        self.place = place
        self.name = rig_name(len(fleet.hosts), fleet.shared)
        fleet.each(lambda one: one.sh("rm -rf /usr/ansiballz"))
        self.addresses = {name: one.address for name, one in fleet.hosts.items()}
        self.key = next(iter(fleet.hosts.values())).key
        self.facts = {**fleet.facts, "shared": fleet.shared}
        for name in ("home", "script", "pyinfra", "playbook", "ours"):
            (place / name).mkdir(parents=True, exist_ok=True)
        self.environ = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(place / "home"),
            "LANG": "C.UTF-8",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_INVENTORY": "inventory",
        }
        self.ops = ops_repository(place / "ours", fleet)
        fleet.reset()
        self.wanted = self._wanted()
        self._write_inventories()

    def _wanted(self) -> dict[str, t.Any]:
        """The state in which each host has to be in the end."""
        first = next(iter(self.fleet.hosts.values()))
        repo, good = self.facts["repo"], self.facts["commits"]["good"]
        before = self.fleet.state()
        rows = before["database" if self.fleet.shared else first.name]["rows"]
        database = {"revision": self.facts["revisions"]["good"], "rows": rows, "totals": None}
        wanted = {
            "tree": first.sh(f"git -C {repo} rev-parse {good}^{{tree}}", user="shop"),
            "dirty": "",
            "branch": before[first.name]["branch"],
            "env_file": first.sh(f"sha256sum {self.facts['kept_env_file']}").split()[0],
            "packages": "humanize",
            "service": ["active", "enabled"],
            "health": 200,
        }
        return {"host": wanted if self.fleet.shared else {**wanted, **database}, "database": database}

    def check(self) -> None:
        """See that each host has the earlier release.

        :raises WrongEnd: one has not.
        """
        found = self.fleet.state()
        wrong = [
            f"{name}: {', '.join(words)}"
            for name, state in found.items()
            if (words := faults(state, self.wanted["database" if name == "database" else "host"]))
        ]
        if wrong:
            raise WrongEnd("; ".join(wrong))

    def _write_inventories(self) -> None:
        facts = {name: self.facts[name] for name in self.facts if name not in ("root", "uv", "python")}
        (self.place / "pyinfra" / "facts.json").write_text(json.dumps(facts))
        own = {
            "ssh_user": "deploy",
            "ssh_key": str(self.key),
            "ssh_strict_host_key_checking": "no",
            "ssh_known_hosts_file": "/dev/null",
        }
        listed = [(name, {"ssh_hostname": address, **own}) for name, address in self.addresses.items()]
        (self.place / "pyinfra" / "inventory.py").write_text(f"shop = {listed!r}\n")
        shutil.copy(HERE / "contenders" / "pyinfra_deploy.py", self.place / "pyinfra" / "deploy.py")
        inventory = self.place / "playbook" / "inventory" / "hosts.yml"
        inventory.parent.mkdir(exist_ok=True)
        inventory.write_text(yaml.safe_dump({"shop": {"hosts": reached(self.fleet), "vars": facts}}))
        shutil.copy(HERE / "contenders" / "playbook.yml", self.place / "playbook" / "rollback.yml")

    def command(self, contender: str) -> tuple[list[str], dict[str, str]]:
        """What starts a contender in its directory, and what it finds in its environment besides."""
        facts = self.facts
        if contender == "script":
            settings = {
                "REPO": facts["repo"],
                "ENV_FILE": facts["env_file"],
                "KEPT_ENV_FILE": facts["kept_env_file"],
                "FROM_COMMIT": facts["commits"]["bad"],
                "TO_REVISION": facts["revisions"]["good"],
                "PORT": str(facts["port"]),
            }
            words = shlex.join(f"{name}={value}" for name, value in settings.items())
            argv = [str(HERE / "contenders" / "script.sh"), "shared" if self.fleet.shared else "own"]
            return [*argv, *self.addresses.values()], {"SETTINGS": words, "SSH": f"-i {self.key} {SSH}"}
        if contender == "pyinfra":
            return [str(pyinfra()), "--yes", "inventory.py", "deploy.py"], {}
        if contender == "playbook":
            return [str(BIN / "ansible-playbook"), "rollback.yml"], {}
        return [str(BIN / "ansible-playbook"), "rollback.yml", "-e", "change=C001"], {}

    def run(self, contender: str, directory: Path | None = None, **environ: str) -> Round:
        """Start a contender and wait for its end; returns what it cost.

        :raises WrongEnd: its exit code was not 0; with the end of what it said.
        """
        argv, own = self.command(contender)
        log, cost = self.place / f"{contender}.log", self.place / "cost.json"
        with log.open("w") as out:
            done = subprocess.run(
                [sys.executable, HERE / "measured.py", cost, *argv],
                cwd=directory or self.place / contender,
                env={**self.environ, **own, **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            raise WrongEnd(
                f"{contender} on {self.name} ended with exit code {done.returncode}:\n{log.read_text()[-4000:]}"
            )
        return t.cast("Round", json.loads(cost.read_text()))

    def round(self, contender: str, **environ: str) -> Round:
        """The bad release as it was shipped, a rollback of it, and what that cost; ``downtime`` is of the worst host.

        :raises WrongEnd: it did not end with the earlier release on each host.
        """
        self.fleet.reset()
        self.fleet.each(lambda one: one.sh("rm -rf /srv/shop/.cache"))  # whoever goes first would unpack for the others
        with probe(self.facts["port"], list(self.addresses.values())) as downtimes:
            time.sleep(0.5)
            cost = self.run(contender, **environ)
            time.sleep(0.5)
        worst = [seconds for seconds in downtimes.values() if seconds is not None]
        if len(worst) < len(self.addresses) or not min(worst):
            raise WrongEnd(f"{contender} on {self.name}: an app was never away or did not come back: {downtimes}")
        self.check()
        return {**cost, "downtime": round(max(worst), 3)}

    def steps(self) -> dict[str, float]:
        """Seconds that each step of the last run of ours took on all hosts together, as its history has it."""
        with sqlite3.connect(self.place / "ours" / "history.sqlite") as database:
            (run,) = database.execute("SELECT id FROM runs ORDER BY started DESC, id DESC LIMIT 1").fetchone()
            query = (
                "SELECT step || ' ' || replace(role, 'changeops.rollback.', ''), "
                "(julianday(max(finished)) - julianday(min(started))) * 86400 FROM phases WHERE run = ? "
                'GROUP BY step, "index" ORDER BY min(started)'
            )
            return {name: round(seconds, 2) for name, seconds in database.execute(query, (run,))}


def rig_name(count: int, shared: bool) -> str:
    """What the figures of so many hosts are under."""
    return f"{'postgresql' if shared else 'sqlite'}-{count}"


def reached(fleet: Fleet) -> dict[str, dict[str, t.Any]]:
    """Hosts of an inventory with no more than it takes to reach them."""
    return {
        name: {
            "ansible_host": one.address,
            "ansible_user": "deploy",
            "ansible_ssh_private_key_file": str(one.key),
            "ansible_ssh_common_args": SSH,
        }
        for name, one in fleet.hosts.items()
    }


def ops_repository(root: Path, fleet: Fleet) -> Ops:
    """The repository that a user of ours has, with the ansible.cfg that the sample one has."""
    ops = FleetOps(root, fleet, "deploy") if fleet.shared else HostOps(root, fleet.shop, "deploy")
    ops.hosts = reached(fleet)
    ops.group_vars.pop("rollback_state_dir", None)
    ops.write()
    (root / "ansible.cfg").write_text(CONFIG.read_text())
    return ops


def pyinfra() -> Path:
    """The program, in a virtual environment of its own that is made where it is missing."""
    venv = ROOT / ".cache" / "bench" / "pyinfra"
    program = venv / "bin" / "pyinfra"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
        pip = [venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "pyinfra>=3.5,<4"]
        subprocess.run(pip, check=True)
    return program

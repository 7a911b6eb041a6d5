# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real app that runs, a bad release of it, and an ops repository that rolls it back.

The app is deployed and the bad release shipped once; each test gets a copy of its own, on a port of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

import yaml

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
DEPLOY = HERE.parents[1] / "roles" / "sample_app" / "files" / "deploy.py"
ROWS = 2000


def once() -> dict[str, str]:
    """What an ansible-playbook with an environment of its own needs to find what is made once for all of them."""
    return {name: os.environ[name] for name in ("ANSIBLE_CALLBACK_PLUGINS", "MODULES_ONCE", "TEMPLATES_ONCE")}


def ansible_cfg() -> str:
    """The sample's own, with the output that Ansible has by default, where tests look for it."""
    text = (HERE.parents[1] / "roles" / "sample_app" / "templates" / "ops" / "ansible.cfg.j2").read_text()
    shown = "\n".join(line for line in text.splitlines() if "callback" not in line)
    # Ansible looks for results every millisecond, which is a fifth of the controller's work.
    return shown.replace("[defaults]", "[defaults]\ninternal_poll_interval = 0.02") + "\n"


def deploy(*args: str | Path) -> None:
    done = subprocess.run([sys.executable, DEPLOY, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Shop:
    """The sample app as it stands on this machine, looked at from outside."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.facts = json.loads((root / "instance.json").read_text())
        self.repo = Path(self.facts["repo"])
        self.database = Path(self.facts["database"])
        self.env_file = root / "etc" / "shop.env"
        self.kept_env_file = root / "etc" / "kept" / "C001" / "shop.env"

    def git(self, *args: str) -> str:
        return subprocess.run(
            ["git", "-C", self.repo, *args], capture_output=True, text=True, check=True
        ).stdout.strip()

    def select(self, query: str) -> list[tuple]:
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()

    def revision(self) -> str:
        return self.select("SELECT version_num FROM alembic_version")[0][0]

    def totals(self) -> dict[int, t.Any] | None:
        """The values of the column that the downgrade drops; None where there is no such column."""
        if "total" not in [row[1] for row in self.select("PRAGMA table_info(invoices)")]:
            return None
        return dict(self.select("SELECT id, total FROM invoices"))

    def rows(self) -> list[tuple]:
        """Everything that both releases know of."""
        columns = [row[1] for row in self.select("PRAGMA table_info(invoices)") if row[1] != "total"]
        return self.select(f"SELECT {', '.join(columns)} FROM invoices ORDER BY id")

    def files(self) -> dict[str, str]:
        """Digest and mode of every tracked file in the work tree, and of the file outside git."""
        paths = [self.repo / name for name in self.git("ls-files").splitlines()] + [self.env_file]
        return {
            str(path.relative_to(self.root)): f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mode:o}"
            for path in paths
            if path.exists()
        }

    def health(self) -> tuple[int, dict]:
        url = f"http://127.0.0.1:{self.facts['port']}/health"
        for _attempt in range(50):
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as answer:
                return answer.code, json.load(answer)
            except OSError:
                time.sleep(0.1)
        return 0, {}

    def state(self) -> dict[str, t.Any]:
        """All that a rollback may change, as one value to compare."""
        return {
            "commit": self.git("rev-parse", "HEAD"),
            "branch": self.git("symbolic-ref", "HEAD"),
            "dirty": self.git("status", "--porcelain"),
            "revision": self.revision(),
            "totals": self.totals(),
            "rows": self.rows(),
            "files": self.files(),
            "health": self.health()[0],
        }


class Ops:
    """The user's own repository: inventory, plan, and what is typed there."""

    def __init__(self, root: Path, shop: Shop) -> None:
        self.root = root
        self.shop = shop
        self.flag = root / "flag"
        self.reached = root / "reached"
        self.slow = root / "slow"
        facts = shop.facts
        supervisord = {
            "name": "shop-web",
            "manager": "supervisord",
            "config": facts["supervisord_config"],
            "supervisorctl": str(self.wrapper("supervisorctl", BIN / "supervisorctl")),
            "port": facts["port"],
        }
        health = f"http://127.0.0.1:{facts['port']}/health"
        self.group_vars: dict[str, t.Any] = {
            "rollback_repo": str(shop.repo),
            "rollback_install": [str(BIN / "uv"), "sync", "--frozen"],
            "rollback_services": [supervisord],
            "rollback_config": ["config/", {"path": str(shop.env_file), "source": str(shop.kept_env_file)}],
            "rollback_app": {
                "command": [".venv/bin/uvicorn", "--factory", "shop.main:create_app", "--port", "{port}"],
                "environment": {"DATABASE_URL": "{database_url}", "SHOP_ENV_FILE": f"{{config}}{shop.env_file}"},
                "health": "http://127.0.0.1:{port}/health",
            },
            "rollback_checks": [
                {"name": "healthy", "http": {"url": health}},
                {"name": "rows kept", "rows": {"database": str(shop.database), "tables": ["invoices"]}},
                {"name": "not told to fail", "command": {"argv": ["sh", str(self.check_script())]}, "retries": 0},
            ],
            "rollback_state_dir": str(root / "state"),
            "rollback_history_url": f"sqlite:///{root}/history.sqlite",
        }
        self.phases: list[dict[str, t.Any]] = [
            {"role": "backup", "estimate": "1m"},
            {"role": "service_stop"},
            {
                "role": "alembic_downgrade",
                "vars": {
                    "alembic_downgrade_from": facts["revisions"]["bad"],
                    "alembic_downgrade_to": facts["revisions"]["good"],
                },
                "environment": {"SHOP_ENV_FILE": str(shop.env_file)},
            },
            {"role": "git_revert", "vars": {"git_revert_commits": [facts["commits"]["bad"]]}},
            {"role": "config_restore"},
            {"role": "service_start"},
            {"role": "verify"},
        ]
        self.extra: dict[str, t.Any] = {}
        self.hosts: dict[str, dict[str, t.Any]] = {
            "shop1": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        }
        self.wrapper("git", Path("/usr/bin/git"))

    def wrapper(self, name: str, real: Path) -> Path:
        """A program that takes its time, once, when it is called with the word that stands in the file `slow`."""
        path = self.root / "slow-bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            "#!/bin/sh\n"
            f'if [ -e {self.slow} ]; then case "$*" in *"$(cat {self.slow})"*)\n'
            f"  rm -f {self.slow}; echo $$ > {self.reached}; sleep 4 ;; esac; fi\n"
            f'exec {real} "$@"\n'
        )
        path.chmod(0o755)
        return path

    def check_script(self) -> Path:
        """A check that fails while the flag says so, and takes its time when told to."""
        path = self.root / "check.sh"
        path.write_text(
            f'if [ "$(cat {self.slow} 2>/dev/null)" = check ]; then\n'
            f"  rm -f {self.slow}; echo $$ > {self.reached}; sleep 4\n"
            "fi\n"
            f'[ "$(cat {self.flag} 2>/dev/null)" != verify ]\n'
        )
        return path

    def phase(self, name: str) -> dict[str, t.Any]:
        return next(phase for phase in self.phases if phase["role"] == name)

    def before(self, name: str, **vars_: t.Any) -> None:
        """Put a phase of the user's own, which does harm, right before a phase."""
        self.phases.insert(
            self.phases.index(self.phase(name)),
            {"role": "acme.own.sabotage", "vars": {"sabotage_flag": str(self.flag), **vars_}},
        )

    def write(self) -> None:
        """Write the repository as a user would have it (DESIGN, section 1)."""
        (self.root / "inventory" / "group_vars").mkdir(parents=True, exist_ok=True)
        (self.root / "changes").mkdir(exist_ok=True)
        (self.root / "ansible.cfg").write_text(ansible_cfg())
        for name in ("rollback", "rehearse", "undo", "history", "status", "new_change", "report"):
            (self.root / f"{name}.yml").write_text(
                f"---\n- name: Run {name}\n  ansible.builtin.import_playbook: changeops.rollback.{name}\n"
            )
        (self.root / "inventory" / "hosts.yml").write_text(yaml.safe_dump({"shop": {"hosts": self.hosts}}))
        (self.root / "inventory" / "group_vars" / "shop.yml").write_text(yaml.safe_dump(self.group_vars))
        plan = {
            "title": "Add invoice totals",
            "date": "2026-11-20",
            "implemented_by": "Dana Ng",
            "hosts": "shop",
            "rollback": {"possible": True, "method": "automated", "accept_loss": ["invoices.total"]},
            "phases": self.phases,
            **self.extra,
        }
        (self.root / "changes" / "C001.yml").write_text(yaml.safe_dump(plan, sort_keys=False))

    def start(self, playbook: str, *args: str) -> subprocess.Popen[str]:
        environ = {
            **os.environ,
            "PATH": f"{self.root / 'slow-bin'}:{BIN}:{os.environ['PATH']}",
            "ANSIBLE_COLLECTIONS_PATH": str(HERE / "collections"),
            "ANSIBLE_NOCOLOR": "1",
            "HOME": str(self.root),
            "UV_CACHE_DIR": subprocess.check_output([BIN / "uv", "cache", "dir"], text=True).strip(),
        }
        return subprocess.Popen(
            [BIN / "ansible-playbook", playbook, *args],
            cwd=self.root,
            env=environ,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, playbook: str, *args: str) -> subprocess.CompletedProcess[str]:
        process = self.start(playbook, *args)
        out = process.communicate(timeout=600)[0]
        print(out)
        return subprocess.CompletedProcess(process.args, process.returncode, out)

    def rollback(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("rollback.yml", "-e", "change=C001", *args)

    def rehearse(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("rehearse.yml", "-e", "change=C001", *args)

    def undo(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.run("undo.yml", "-e", "change=C001", *args)

    def killed(self, playbook: str = "rollback.yml") -> int:
        """Start a playbook, wait until the slow program works, kill ansible-playbook; returns the program's PID."""
        process = self.start(playbook, "-e", "change=C001")
        until = time.monotonic() + 90
        while not (self.reached.exists() and self.reached.read_text().strip()):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, "the slow program was never called"
            time.sleep(0.02)
        child = int(self.reached.read_text())
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()
        return child

    def waiting(self) -> list[int]:
        """The interpreters that a preflight started ahead for main, and that are still there."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if any(w.startswith(f"{self.root}/state/") and w.endswith("driver/wait.json") for w in words):
                    found.append(int(entry.name))
        return found

    def history(self) -> list[dict[str, t.Any]]:
        """The runs, oldest first, with what each phase did, as the database has them."""
        with contextlib.closing(sqlite3.connect(self.root / "history.sqlite")) as db:
            db.row_factory = sqlite3.Row
            runs = [dict(row) for row in db.execute("SELECT * FROM runs ORDER BY started, id")]
            for run in runs:
                run["phases"] = [dict(row) for row in db.execute("SELECT * FROM phases WHERE run = ?", (run["id"],))]
            return runs


def tables(text: str, first: str, second: str) -> list[str]:
    """What is printed of the tables before and after a run, each on one line of single spaces."""
    before, after = text.index(first), text.index(second)
    return [" ".join(part.split()) for part in (text[before:after], text[after:])]


def assert_nobody_waits(ops: Ops) -> None:
    """No interpreter that was started ahead outlives the run, in which it looks each second whether that has ended."""
    until = time.monotonic() + 20
    while ops.waiting():
        assert time.monotonic() < until, "it is still there"
        time.sleep(0.05)


def assert_rolled_back(shop: Shop, before: dict[str, t.Any]) -> None:
    """The good release runs, at its commit's content, revision and config, with every row."""
    after = shop.state()
    good, bad = shop.facts["commits"]["good"], shop.facts["commits"]["bad"]
    assert shop.git("diff", "--stat", good, after["commit"]) == ""
    assert shop.git("rev-parse", f"{after['commit']}^") == bad
    assert after["branch"] == before["branch"]
    assert after["dirty"] == ""
    assert after["revision"] == shop.facts["revisions"]["good"]
    assert after["totals"] is None
    assert after["rows"] == before["rows"]
    assert shop.env_file.read_bytes() == shop.kept_env_file.read_bytes()
    assert after["health"] == 200

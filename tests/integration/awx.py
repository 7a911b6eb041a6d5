# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A job as AWX runs it, without a server: transmit on one node, worker on another, process on the first again.

A job has a private data directory with the project, an inventory script, extra variables that are all ``!unsafe``, what
AWX itself adds to variables and environment, a HOME of its own, and nothing else of ours. It is ended with SIGKILL.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import sqlalchemy as sa
import yaml
from harness import BIN, HERE, once

RUNNER = BIN / "ansible-runner"
SERVER = "https://awx.example.com"
REVISION = "d718bbe54455e7c86b49103800bf3bce786e2dfe"
LEE = {"user_id": 7, "user_name": "lee", "user_email": "lee@example.com", "user_first_name": "", "user_last_name": ""}
WORKFLOW = {"workflow_job_id": 3, "workflow_job_name": "Rehearse, approve, roll back"}
# What AWX tells a job of its launch, as awx_... and tower_...
LAUNCHES: dict[str, dict[str, t.Any]] = {
    "user": {"job_launch_type": "manual", **LEE},
    "schedule": {"job_launch_type": "scheduled", "schedule_id": 5, "schedule_name": "weekly"},
    "webhook": {"job_launch_type": "webhook", "webhook_event_type": "push", "webhook_event_guid": "8a1f"},
    "relaunch": {"job_launch_type": "relaunch", **LEE},
    "workflow": {"job_launch_type": "workflow", **WORKFLOW, "workflow_job_launch_type": "manual", **LEE},
}


class _Unsafe(yaml.SafeDumper):
    """Tags every text, keys too, as AWX does with all that does not stand in the template itself."""

    def represent_data(self, data: t.Any) -> yaml.Node:
        return self.represent_scalar("!unsafe", data) if isinstance(data, str) else super().represent_data(data)


def family(pid: int) -> list[int]:
    """A process and all that came of it, as far as it is still there."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def _kill(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Job:
    """A job at work, or done.

    ``root``: with ``control`` and ``node``, the private data directories on the two nodes.
    """

    def __init__(self, ident: int, root: Path, process: subprocess.Popen[bytes], environ: dict[str, str]) -> None:
        self.ident = ident
        self._root = root
        self._process = process
        self._environ = environ

    def _signal(self, number: int) -> None:
        _kill(family(self._process.pid), number)

    def freeze(self) -> None:
        """Nothing of it works on, and nothing of it ends."""
        self._signal(signal.SIGSTOP)

    def cancel(self) -> None:
        """Cancel it: the container goes, with all that is in it."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def run_out(self) -> None:
        """Wait until its time is out: the runner kills the playbook, and the container goes with all that is left."""
        there = family(self._process.pid)
        self._process.wait(120)
        _kill(there, signal.SIGKILL)

    def wait(self, seconds: float = 600) -> int:
        """Its exit code, once what it sent is processed; -1 where it was killed."""
        self._process.wait(seconds)
        with (self._root / "sent").open("rb") as sent:
            done = subprocess.run(
                [RUNNER, "process", self._root / "processed", "-i", str(self.ident)],
                stdin=sent, env=self._environ, capture_output=True, check=False,
            )  # fmt: skip
        print(self.stdout, done.stderr.decode())
        code = self._artifact("rc")
        return int(code) if code else -1

    def _artifact(self, name: str) -> str:
        path = self._root / "processed" / "artifacts" / str(self.ident) / name
        return path.read_text() if path.exists() else ""

    def wait_for(self, path: Path, seconds: float = 300) -> None:
        """Wait until a file is there, which the job is to make."""
        until = time.monotonic() + seconds
        while not path.exists():
            assert time.monotonic() < until and self._process.poll() is None, f"{path} was not made: {self.wait()}"
            time.sleep(0.05)

    @property
    def stdout(self) -> str:
        """What AWX shows of it."""
        return self._artifact("stdout")

    @property
    def status(self) -> str:
        """How the runner says that it ended: successful, failed, timeout, canceled or error."""
        return self._artifact("status")

    def events(self) -> list[dict[str, t.Any]]:
        """Its events, in their order."""
        folder = self._root / "processed" / "artifacts" / str(self.ident) / "job_events"
        events = [json.loads(path.read_text()) for path in folder.glob("*.json")]
        return sorted(events, key=lambda event: event["counter"])

    def artifacts(self) -> dict[str, t.Any]:
        """What AWX hands to later nodes of a workflow."""
        for event in self.events():
            if event["event"] == "playbook_on_stats":
                return dict(event["event_data"]["artifact_data"])
        return {}

    def saw(self, words: str) -> bool:
        """Whether ``words`` are in what it printed, however the lines are broken."""
        return " ".join(words.split()) in " ".join(self.stdout.split())


class Project(t.Protocol):
    """An ops repository in ``root``, and the inventory of its hosts."""

    root: Path
    hosts: dict[str, dict[str, t.Any]]
    group_vars: dict[str, t.Any]


class Awx:
    """A server that starts jobs of the project in ``ops``, on its inventory.

    :arg url: of the history, which a credential gives to jobs; empty: there is none.
    """

    def __init__(self, root: Path, ops: Project, url: str) -> None:
        self._root = root
        self._ops = ops
        self.url = url
        self._numbers = itertools.count(41)

    def start(
        self,
        playbook: str,
        launch: str = "user",
        limit: str = "",
        check: bool = False,
        verbosity: int = 0,
        timeout: int = 0,
        part: tuple[int, int] = (1, 1),
        template: str = "",
        **survey: t.Any,
    ) -> Job:
        """Start a job.

        :arg launch: a key of `LAUNCHES`.
        :arg timeout: of the job, in seconds; 0: none.
        :arg part: which slice of how many.
        :arg survey: the answers to the survey of the template.
        """
        ident = next(self._numbers)
        root = self._root / f"job-{ident}"
        control, node = root / "control", root / "node"
        for folder in ("env", "inventory", "project"):
            (control / folder).mkdir(parents=True)
        node.mkdir()
        template = template or Path(playbook).stem
        meta = {
            "job_id": ident, "job_template_id": 9, "job_template_name": template, "inventory_id": 4,
            "inventory_name": "production", "project_revision": REVISION, "project_scm_branch": "main",
            **LAUNCHES[launch],
        }  # fmt: skip
        if part[1] > 1:  # AWX runs slices as nodes of a workflow that has the name of the template
            meta.update(LAUNCHES["workflow"], workflow_job_name=template)
        told = {f"{prefix}_{name}": value for prefix in ("awx", "tower") for name, value in meta.items()}
        texts = [yaml.dump({name: value}, Dumper=_Unsafe) for name, value in {**told, **survey}.items()]
        (control / "env" / "extravars").write_text("".join(texts))
        (control / "env" / "envvars").write_text(yaml.safe_dump(self._environment(ident, node)))
        settings = {"job_timeout": timeout, "suppress_ansible_output": True, "pexpect_timeout": 1}
        (control / "env" / "settings").write_text(yaml.safe_dump(settings))
        words = [*(["--check"] if check else []), *(["-l", limit] if limit else [])]
        words += [f"-{'v' * verbosity}"] if verbosity else []
        if words:
            (control / "env" / "cmdline").write_text(" ".join(words))
        self._write_inventory(control / "inventory" / "hosts", *part)
        for path in (*self._ops.root.glob("*.yml"), self._ops.root / "changes"):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, control / "project" / path.name)
        (control / "requirements_collections").symlink_to(HERE / "collections")
        return self._send(ident, root, playbook)

    def run(self, playbook: str, *args: t.Any, **options: t.Any) -> Job:
        """Start a job and wait for its end."""
        job = self.start(playbook, *args, **options)
        job.wait()
        return job

    def _environment(self, ident: int, node: Path) -> dict[str, str]:
        """What AWX itself and its credentials put into the environment of a job."""
        return {
            "ANSIBLE_COLLECTIONS_PATH": f"{node}/requirements_collections",
            "ANSIBLE_FORCE_COLOR": "False",  # as AWX has it, but for the colours
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            "AWX_HOST": SERVER,
            "HOME": str(node),
            "INVENTORY_ID": "4",
            "JOB_ID": str(ident),
            "MAX_EVENT_RES": "700000",
            "PROJECT_REVISION": REVISION,
            **({"CHANGEOPS_HISTORY_URL": self.url} if self.url else {}),
        }

    def _write_inventory(self, path: Path, number: int, count: int) -> None:
        """The inventory as a script, each slice with its hosts only."""
        hosts = sorted(self._ops.hosts)[number - 1 :: count]
        group_vars = {name: v for name, v in self._ops.group_vars.items() if name != "rollback_history_url"}
        found = {
            "all": {"hosts": hosts},
            "shop": {"hosts": hosts, "vars": group_vars},
            "_meta": {"hostvars": {host: self._ops.hosts[host] for host in hosts}},
        }
        path.write_text(f"#!{sys.executable}\nprint({json.dumps(found)!r})\n")
        path.chmod(0o700)

    def _send(self, ident: int, root: Path, playbook: str) -> Job:
        environ = {
            "PATH": f"{self._ops.root / 'slow-bin'}:{BIN}:{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "HOME": str(root),
            **once(),
            "UV_CACHE_DIR": subprocess.check_output([BIN / "uv", "cache", "dir"], text=True).strip(),
        }
        transmit = [RUNNER, "transmit", root / "control", "-p", playbook, "-i", str(ident)]
        # The node has a host name of its own, so that a run is known by its heartbeat as in another container.
        mine = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
        named = ["unshare", "--uts", *mine, "sh", "-c", 'hostname "$0" && exec "$@"', f"automation-job-{ident}"]
        worker = [*named, RUNNER, "worker", "--private-data-dir", root / "node"]
        with (root / "stream").open("wb") as stream:
            subprocess.run(transmit, stdout=stream, env=environ, check=True)
        with (root / "stream").open("rb") as stream, (root / "sent").open("wb") as sent:
            process = subprocess.Popen(worker, stdin=stream, stdout=sent, env=environ)
        return Job(ident, root, process, environ)

    def _engine(self) -> sa.Engine:
        return sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.pool.NullPool)

    def history(self) -> list[dict[str, t.Any]]:
        """The runs, oldest first, with what each phase did, as the database has them."""
        with self._engine().connect() as db:
            runs = [dict(row) for row in db.exec_driver_sql("SELECT * FROM runs ORDER BY started, id").mappings()]
            for run in runs:
                rows = db.exec_driver_sql("SELECT * FROM phases WHERE run = %s", (run["id"],)).mappings()
                run["phases"] = [dict(row) for row in rows]
            return runs

    def wait_a_minute(self) -> None:
        """As if a minute had passed since the last sign of life of all that is dead."""
        with self._engine().begin() as db:
            db.exec_driver_sql("UPDATE runs SET heartbeat = '2026-01-01T00:00:00.000Z' WHERE outcome IS NULL")

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put the sample app on this machine, ship a bad release, copy it, stop it. For the demo and the tests only.

    python deploy.py deploy DIR [--rows N] [--port N] [--database-url URL]    release 1.2.0 with its history, afresh
    python deploy.py release DIR                         ship C001 (1.3.0), whose /health fails
    python deploy.py clone SOURCE DIR                    a running copy with another port
    python deploy.py stop DIR                            leave nothing running

An instance is DIR/shop (git, .venv), DIR/origin.git (what it pushes to), DIR/etc (outside git) and DIR/var (database,
logs, supervisord). With a URL like postgresql+psycopg://USER@HOST/NAME the database is there, and empty to begin with.
DIR/instance.json says what a rollback plan needs to know; it is also what is printed.
The Python that runs this decides where uv, supervisord and supervisorctl are found: beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FILES = Path(__file__).resolve().parent
CACHES = ("__pycache__", ".*_cache")  # what tools leave in a checkout
# The interpreter behind the virtual environment that runs this; the app's own environment is made from it.
BASE_PYTHON: str = getattr(sys, "_base_executable", sys.executable)

GOOD, BAD = "1.2.0", "1.3.0"
GOOD_REVISION, BAD_REVISION = "51b7d9aa", "8ae1f0c2"

# Release, date, commit message, and the files of app/ that did not exist then.
HISTORY = [
    (
        "1.0.0",
        "2026-06-01T09:00:00Z",
        "First release: invoices",
        ["customers.py", "listing.py", "51b7d9aa_customers.py"],
    ),
    ("1.1.0", "2026-08-10T09:00:00Z", "Add customers", ["listing.py"]),
    (GOOD, "2026-10-05T09:00:00Z", "List the newest invoices", []),
]
C001 = (BAD, "2026-11-20T09:00:00Z", "Add invoice totals (C001)")
# What an app on PostgreSQL needs besides, as the beginning of its dependencies.
DEPENDENCIES = "dependencies = [\n"
POSTGRESQL_DEPENDENCIES = DEPENDENCIES + '  "psycopg[binary]>=3.1",\n'

# Entered by people after the release: totals of these invoices, and invoices that did not exist before it.
ENTERED = {id_: 100_000 + id_ for id_ in range(1, 26)}
NEW_INVOICES = 3


class Trouble(Exception):
    """What went wrong, in a sentence."""


def tool(name: str) -> str:
    """Return the absolute path of a program that stands beside this Python, or on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise Trouble(
            f"There is no {name} beside {sys.executable} nor on PATH. Type: {sys.executable} -m pip install {name}"
        )
    return found


def run(*argv: str | Path, cwd: Path, **env: str) -> str:
    """Run a command, independent of the user's git configuration and virtual environment; return what it printed."""
    environ = {
        k: v for k, v in os.environ.items() if not k.startswith("GIT_") and k not in ("VIRTUAL_ENV", "DATABASE_URL")
    }
    environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "UV_PYTHON_DOWNLOADS": "never"}
    environ |= {"UV_PYTHON": BASE_PYTHON, "UV_SYSTEM_CERTS": "true"}
    if "PIP_INDEX_URL" in environ:
        environ.setdefault("UV_DEFAULT_INDEX", environ["PIP_INDEX_URL"])
    command = [str(part) for part in argv]
    done = subprocess.run(command, cwd=cwd, env=environ | env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Trouble(f"'{' '.join(command)}' in {cwd} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


class Instance:
    """The sample app in one directory."""

    def __init__(self, root: str) -> None:
        self.root = Path(root).absolute()
        self.repo = self.root / "shop"
        self.env_file = self.root / "etc" / "shop.env"
        self.var = self.root / "var"
        self.database = self.var / "shop.db"
        self.config = self.var / "supervisord.conf"
        self.facts_file = self.root / "instance.json"

    def facts(self) -> dict[str, Any]:
        """Return instance.json."""
        if not self.facts_file.exists():
            raise Trouble(
                f"There is no sample app in {self.root}. Type: {sys.executable} {__file__} deploy {self.root}"
            )
        facts: dict[str, Any] = json.loads(self.facts_file.read_text())
        return facts

    def database_url(self) -> str:
        """Return where the app's database is, as its env file has it; it may have a password."""
        return re.findall("^DATABASE_URL=(.*)$", self.env_file.read_text(), re.MULTILINE)[0]

    def write_facts(self, **facts: Any) -> None:
        """Write instance.json whole or not at all."""
        scratch = self.facts_file.with_suffix(".new")
        scratch.write_text(json.dumps(facts, indent=2) + "\n")
        scratch.replace(self.facts_file)

    def git(self, *args: str, date: str = "") -> str:
        """Run git in the app's repository; commits are the same on every machine."""
        who = {"NAME": "Dana Ng", "EMAIL": "dana@shop.example"} | ({"DATE": date} if date else {})
        env = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        return run("git", *args, cwd=self.repo, **env)

    def python(self, *args: str | Path) -> str:
        """Run the app's own interpreter."""
        env = {"SHOP_ENV_FILE": str(self.env_file), "PYTHONPATH": str(self.repo)}
        return run(self.repo / ".venv" / "bin" / "python", *args, cwd=self.repo, **env)

    def alembic(self, *args: str) -> str:
        """Run the app's own Alembic."""
        return self.python("-m", "alembic", *args)

    def commit(self, release: str, date: str, message: str) -> str:
        """Commit everything as a release and push it; return the commit."""
        project = self.repo / "pyproject.toml"
        text = project.read_text().replace(f'version = "{GOOD}"', f'version = "{release}"')
        if self.database_url().startswith("postgresql"):
            text = text.replace(DEPENDENCIES, POSTGRESQL_DEPENDENCIES)
        project.write_text(text)
        run(tool("uv"), "lock", "--quiet", cwd=self.repo)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message, date=date)
        self.git("push", "--quiet", "--set-upstream", "origin", "main")
        return self.git("rev-parse", "HEAD")

    # --- the service

    def start(self, port: int) -> dict[str, Any]:
        """Start supervisord with the app on ``port``; return the facts about it."""
        (self.var / "log").mkdir(exist_ok=True)
        # A socket's path may have 107 characters at most, so it is not kept in the instance.
        sockets = tempfile.mkdtemp(prefix="shop-", dir="/tmp")
        template = string.Template((FILES / "supervisord.conf").read_text())
        places = {"var": self.var, "repo": self.repo, "env_file": self.env_file}
        self.config.write_text(template.substitute(places, sockets=sockets, port=port))
        run(tool("supervisord"), "-c", self.config, cwd=self.var)
        self.wait_for_answer(port)
        return {
            "port": port,
            "service": "shop-web",
            "supervisord_config": str(self.config),
            "supervisorctl": tool("supervisorctl"),
            "sockets": sockets,
        }

    def wait_for_answer(self, port: int, seconds: float = 30) -> None:
        """Wait until supervisord says that the app runs and /health answers, whatever it says."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if request(port, "GET", "/health")[0]:
                state = subprocess.run(
                    [tool("supervisorctl"), "-c", self.config, "status", "shop-web"],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if "RUNNING" in state.stdout:
                    return
            time.sleep(0.1)
        log = self.var / "log" / "shop-web.log"
        said = log.read_text()[-1000:] if log.exists() else "nothing"
        raise Trouble(
            f"The app in {self.root} did not answer on port {port} within {seconds:g} s. Its log says: {said}"
        )

    def stop(self) -> int:
        """End supervisord and the app, also when supervisord had died before; return how many processes there were."""
        running = len(self.processes())
        for sig in (signal.SIGTERM, signal.SIGKILL):
            until = time.monotonic() + 10
            processes = self.processes()
            for pid in processes:
                os.kill(pid, sig)
            while processes and time.monotonic() < until:
                time.sleep(0.05)
                processes = self.processes()
        if self.facts_file.exists() and self.facts().get("sockets"):
            shutil.rmtree(self.facts()["sockets"], ignore_errors=True)
        return running

    def processes(self) -> list[int]:
        """Return the processes of this instance: its supervisord first, then the app."""
        found: list[tuple[bool, int]] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                argv = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")[:4]
            except OSError:
                continue  # it ended meanwhile
            is_app = f"{self.repo}/.venv/bin/uvicorn" in argv
            if is_app or (str(self.config) in argv and any(part.endswith("/supervisord") for part in argv)):
                found.append((is_app, int(entry.name)))
        return [pid for _is_app, pid in sorted(found)]


def request(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Ask the app; return the status and the decoded answer, or 0 and {} when nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return 0, {}
    finally:
        connection.close()


def free_port(wanted: int = 0) -> int:
    """Return ``wanted`` when it is free, else a port that is."""
    for port in (wanted, 0):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(sock.getsockname()[1])
    raise Trouble("There is no free port on this machine.")


def deploy(root: str, rows: int, port: int, database_url: str) -> dict[str, Any]:
    """Deploy the good release afresh; what was in ``root`` before must be an instance and is replaced."""
    app = Instance(root)
    earlier: dict[str, Any] = {}
    if app.root.exists() and any(app.root.iterdir()):
        earlier = app.facts()
        app.stop()
        for name in ("shop", "origin.git", "etc", "var"):
            shutil.rmtree(app.root / name, ignore_errors=True)
    for directory in (app.repo, app.env_file.parent, app.var):
        directory.mkdir(parents=True)
    app.write_facts()  # from now on it is known as an instance, and can be deployed again
    database_url = database_url or f"sqlite:///{app.database}"
    app.env_file.write_text(f"DATABASE_URL={database_url}\nSHOP_NAME=The corner shop\n")
    app.env_file.chmod(0o640)
    run("git", "init", "--quiet", "--bare", "--initial-branch=main", "origin.git", cwd=app.root)
    app.git("init", "--quiet", "--initial-branch=main")
    app.git("remote", "add", "origin", "../origin.git")
    for release, date, message, missing in HISTORY:
        for layer in filter(Path.exists, (FILES / "app", FILES / "history" / release)):
            shutil.copytree(layer, app.repo, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*missing, *CACHES))
        good = app.commit(release, date, message)
    run(tool("uv"), "sync", "--frozen", "--quiet", cwd=app.repo)
    app.alembic("upgrade", "head")
    app.python(FILES / "seed.py", str(rows))
    service = app.start(free_port(port or earlier.get("port", 0)))
    status, said = request(service["port"], "GET", "/health")
    if status != 200:
        raise Trouble(f"The good release is not healthy: {said}")
    return {
        "root": str(app.root),
        "repo": str(app.repo),
        "env_file": str(app.env_file),
        "database": str(app.database) if database_url.startswith("sqlite") else None,
        "database_url": database_url,
        "uv": tool("uv"),
        "python": BASE_PYTHON,
        "rows": rows,
        "release": GOOD,
        "commits": {"good": good},
        "revisions": {"good": GOOD_REVISION, "bad": BAD_REVISION},
        **service,
    }


def release(root: str) -> dict[str, Any]:
    """Ship C001: code, a dependency, a migration, config in git and outside it; then people work with it."""
    app = Instance(root)
    facts = app.facts()
    if facts.get("release") != GOOD or app.git("rev-parse", "HEAD") != facts["commits"]["good"]:
        raise Trouble(f"{root} is not at release {GOOD}. For a fresh start: {sys.executable} {__file__} deploy {root}")
    kept = app.env_file.parent / "kept" / "C001"
    kept.mkdir(parents=True)
    shutil.copy2(app.env_file, kept)
    with app.env_file.open("a") as stream:
        stream.write("SHOP_TOTALS=show\n")
    shutil.copytree(FILES / "c001", app.repo, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*CACHES))
    facts["commits"]["bad"] = app.commit(*C001)
    run(tool("uv"), "sync", "--frozen", "--quiet", cwd=app.repo)
    app.alembic("upgrade", "head")
    # Accounting's fees: given once and not kept, so that the totals cannot be computed again.
    fees = app.var / "fees.csv"
    digests = ((id_, hashlib.sha256(f"fee {id_}".encode()).digest()) for id_ in range(1, facts["rows"] + 1))
    fees.write_text("".join(f"{id_},{int.from_bytes(digest[:2], 'big') % 500}\n" for id_, digest in digests))
    app.python("-m", "shop.backfill", fees)
    fees.unlink()
    run(facts["supervisorctl"], "-c", app.config, "restart", "shop-web", cwd=app.var)
    app.wait_for_answer(facts["port"])
    totals = dict(ENTERED)
    for number in range(1, NEW_INVOICES + 1):
        new = {"number": f"2026-{number:05}", "issued": "2026-11-20", "amount": 1000 * number}
        totals[request(facts["port"], "POST", "/invoices", new)[1]["id"]] = 200_000 + number
    for id_, total in totals.items():
        status, said = request(facts["port"], "POST", f"/invoices/{id_}/total", {"total": total})
        if status != 200:
            raise Trouble(f"The total of invoice {id_} could not be entered: {said}")
    return facts | {"release": BAD, "rows": facts["rows"] + NEW_INVOICES, "kept_env_file": str(kept / "shop.env")}


def link(source: str, target: str) -> None:
    """Share a file of the environment with its copy where the file system can; programs name their environment."""
    if Path(source).parent.name == "bin":
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def clone(source: str, root: str) -> dict[str, Any]:
    """Make ``root`` a running copy of ``source``, which may be running and is left alone."""
    one, two = Instance(source), Instance(root)
    if two.root.exists() and any(two.root.iterdir()):
        raise Trouble(f"{two.root} is not empty.")
    if not one.database.exists():
        raise Trouble(f"The database of {one.root} is on a server, and only an app on SQLite can be copied.")
    ignore = shutil.ignore_patterns(".venv")
    for name in ("shop", "origin.git", "etc"):
        shutil.copytree(one.root / name, two.root / name, symlinks=True, ignore=ignore)
    two.var.mkdir()
    shutil.copytree(one.repo / ".venv", two.repo / ".venv", symlinks=True, copy_function=link)
    programs = [path for path in (two.repo / ".venv" / "bin").iterdir() if not path.is_symlink()]
    for path in [*programs, two.env_file, *two.env_file.parent.glob("kept/*/shop.env")]:
        path.write_bytes(path.read_bytes().replace(os.fsencode(one.root), os.fsencode(two.root)))
    with sqlite3.connect(one.database) as origin, sqlite3.connect(two.database) as copy:
        origin.backup(copy)
    origin.close()
    copy.close()
    text = json.dumps(one.facts()).replace(json.dumps(str(one.root))[1:-1], json.dumps(str(two.root))[1:-1])
    facts: dict[str, Any] = json.loads(text)
    return facts | two.start(free_port())


def main() -> int:
    """Do what the arguments say; print the instance's facts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["deploy", "release", "clone", "stop"])
    parser.add_argument("directories", nargs="+", metavar="DIR")
    parser.add_argument("--rows", type=int, default=12_000, help="invoices to begin with (default: 12000)")
    parser.add_argument("--database-url", default="", metavar="URL", help="of PostgreSQL (default: a file of SQLite)")
    parser.add_argument(
        "--port", type=int, default=0, help="port of the app (default: the earlier one, else a free one)"
    )
    options = parser.parse_args()
    if len(options.directories) != (2 if options.command == "clone" else 1):
        parser.error("clone wants SOURCE and DIR, the others DIR")
    root = options.directories[-1]
    try:
        if options.command == "stop":
            print(json.dumps({"ended": Instance(root).stop()}))
            return 0
        if options.command == "clone":
            facts = clone(options.directories[0], root)
        else:
            new = options.rows, options.port, options.database_url
            facts = release(root) if options.command == "release" else deploy(root, *new)
    except Trouble as exc:
        if options.command in ("deploy", "clone"):
            Instance(root).stop()
        print(exc, file=sys.stderr)
        return 1
    Instance(root).write_facts(**facts)
    print(json.dumps(facts, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())

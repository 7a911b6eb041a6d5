# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Database servers for the tests that need one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import typing as t
from pathlib import Path

import pytest


def _as_postgres(args: list[str]) -> None:
    command = args if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *args]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"


@pytest.fixture(scope="session")
def postgresql() -> t.Iterator[str]:
    """The folder of a PostgreSQL server's socket."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True) + [
        Path(name).parent for name in [shutil.which("initdb")] if name
    ]
    if not found:
        pytest.skip("PostgreSQL is not installed here (apt-get install postgresql), so only SQLite is tried.")
    place = Path(tempfile.mkdtemp(prefix="changeops-pg-"))
    if not os.geteuid():
        shutil.chown(place, "postgres", "postgres")
    server = f"-c listen_addresses='' -c unix_socket_directories={place} -c max_prepared_transactions=4"
    server += " -c fsync=off -c full_page_writes=off -c wal_level=minimal -c max_wal_senders=0"  # nothing is to survive
    try:
        _as_postgres([str(found[0] / "initdb"), "-D", str(place / "data"), "-A", "trust", "-U", "postgres", "-N"])
        control = [str(found[0] / "pg_ctl"), "-D", str(place / "data"), "-w"]
        _as_postgres([*control, "-o", server, "-l", str(place / "log"), "start"])
        yield str(place)
        _as_postgres([*control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="session")
def mariadb() -> t.Iterator[str]:
    """The socket of a MariaDB server; ``root`` needs no password."""
    program = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if not program:
        pytest.skip("MariaDB is not installed here (apt-get install mariadb-server-core mariadb-client-core).")
    place = Path(tempfile.mkdtemp(prefix="changeops-my-"))
    user = ["--user=nobody"] if not os.geteuid() else []
    if user:
        shutil.chown(place, "nobody")
    data, socket = place / "data", place / "s"
    common = ["--no-defaults", f"--datadir={data}", *user]
    install = ["mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    small = ["--skip-networking", "--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0"]
    with (place / "log").open("w") as log:
        server = subprocess.Popen([program, *common, f"--socket={socket}", *small], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 30
        while not socket.exists():
            assert server.poll() is None and time.monotonic() < until, (place / "log").read_text()
            time.sleep(0.05)
        yield str(socket)
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(place)

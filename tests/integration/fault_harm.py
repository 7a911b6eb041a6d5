# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a host, to PostgreSQL and to the history in the fault matrix. What mends it is returned."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import typing as t
from pathlib import Path

from hosts import Host, as_root

STATE = "/var/lib/changeops"
CLOCK = "/run/fault/clock"
Mend = t.Callable[[], object]


def network(host: Host, *argv: str) -> None:
    """Run a command in the host's network with this machine's rights."""
    as_root(*host.enter, "--net", *argv)


def cut(host: Host) -> None:
    """Nothing reaches the host any more, and nothing leaves it."""
    iptables = shutil.which("iptables") or "/usr/sbin/iptables"
    network(host, iptables, "--insert", "INPUT", "!", "--in-interface", "lo", "--jump", "DROP")
    network(host, iptables, "--insert", "OUTPUT", "!", "--out-interface", "lo", "--jump", "DROP")


def uncut(host: Host) -> None:
    """The network is back."""
    iptables = shutil.which("iptables") or "/usr/sbin/iptables"
    for chain in ("INPUT", "OUTPUT"):
        network(host, iptables, "--flush", chain)


def kill_sshd(host: Host) -> None:
    """End sshd with every session."""
    host.sh("/usr/bin/systemctl stop ssh.socket ssh 2>/dev/null || true; pkill -KILL -x sshd || true")


def start_sshd(host: Host) -> None:
    host.sh("/usr/bin/systemctl start ssh")


def end_connections(host: Host) -> None:
    """End what ssh keeps open for a minute: people do not come back to a lost host sooner."""
    kept = f"^ssh: {host.key.parent}/"
    subprocess.run(["pkill", "--full", kept], check=False)
    # whoever meets one that is about to end is turned away
    until = time.monotonic() + 60
    while subprocess.run(["pgrep", "--full", kept], check=False, stdout=subprocess.DEVNULL).returncode == 0:
        assert time.monotonic() < until, "ssh keeps its connections"
        time.sleep(0.05)


def small_disk(host: Host) -> Mend:
    """Give the restore points a file system of their own."""
    host.sh(f"mkdir -p {STATE}")
    host.as_machine("mount", "-t", "tmpfs", "-o", "size=512m,mode=700", "tmpfs", STATE)
    return lambda: host.as_machine("umount", "--lazy", STATE)


def filled(host: Host) -> Mend:
    """Leave not one byte on it."""
    host.sh(f"dd if=/dev/zero of={STATE}/filler bs=1M 2>/dev/null || true; cat /dev/zero >>{STATE}/filler || true")
    return lambda: host.sh(f"rm -f {STATE}/filler")


# Whether the code is the release that is gone back to: only the bad one has totals.
BROKEN_SERVICE = {
    "service refuses": "[Service]\nExecStartPre=/bin/sh -c 'test -e shop/totals.py'\n",
    "service dies": "[Service]\nExecStart=\n"
    "ExecStart=/bin/sh -c 'test -e shop/totals.py || exec timeout --signal=KILL 3 {start}; exec {start}'\n",
}


def broken_service(host: Host, unit: str) -> Mend:
    """Add lines to the unit."""
    place = "/etc/systemd/system/shop-web.service.d"
    start = host.sh("sed -n 's/^ExecStart=//p' /etc/systemd/system/shop-web.service")
    host.sh(
        f"mkdir -p {place}; cat >{place}/50-fault.conf; /usr/bin/systemctl daemon-reload",
        stdin=unit.replace("{start}", start),
    )
    return lambda: host.sh(f"rm -f {place}/50-fault.conf; /usr/bin/systemctl daemon-reload")


# libfaketime lets no Python sleep, but lets it wait.
SLEEP = """\
import threading
import time


def sleep(seconds):
    threading.Event().wait(seconds)


time.sleep = sleep
"""


def python_with_clock(host: Host) -> str:
    """A Python for Ansible whose clock, and that of all it starts, goes as the file CLOCK says."""
    path, library = "/usr/local/bin/python3-clock", "/usr/local/lib/python3-clock"
    host.sh(f"mkdir -p {library}; cat >{library}/sitecustomize.py", stdin=SLEEP)
    host.sh(
        f"cat >{path}; chmod 755 {path}; echo +0 >{CLOCK}; chmod 644 {CLOCK}",
        stdin="#!/bin/sh\n"
        "for lib in /usr/lib/*/faketime/libfaketime.so.1; do export LD_PRELOAD=$lib; done\n"
        f"export FAKETIME_TIMESTAMP_FILE={CLOCK} FAKETIME_NO_CACHE=1 DONT_FAKE_MONOTONIC=1 PYTHONPATH={library}\n"
        'exec /usr/bin/python3 "$@"\n',
    )
    return path


def hidden(history: Path) -> Mend:
    """Put a directory in the place of the history's file, so that it cannot be opened."""
    kept = history.with_name("hidden.sqlite")
    os.replace(history, kept)
    history.mkdir()

    def back() -> None:
        history.rmdir()
        os.replace(kept, history)

    return back


LOCKER = """\
{ echo "BEGIN; LOCK TABLE invoices; SELECT 'held';"; exec sleep 600; } |
  runuser -u postgres -- psql --quiet --no-psqlrc shop >/run/locker
"""


def locked(database: Host) -> Mend:
    """A session of somebody's holds the table of invoices."""
    database.sh("cat >/run/locker.sh; rm -f /run/locker", stdin=LOCKER)
    database.sh("systemd-run --quiet --collect --property=TimeoutStopSec=1 --unit=locker sh /run/locker.sh")
    database.sh("for n in $(seq 200); do grep -q held /run/locker 2>/dev/null && exit; sleep 0.05; done; exit 1")
    return lambda: database.sh("systemctl stop locker")

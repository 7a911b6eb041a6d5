# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test hosts: containers of Debian that boot systemd and are reached by ssh, as a real host is.

The image is made by ``tests/hosts/image``. It has the accounts ``root``, ``deploy`` (sudo without a password) and
``shop`` (owns /srv/shop, no sudo, no login shell).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import socket
import subprocess
import time
import typing as t
from pathlib import Path

HOSTS = Path(__file__).parents[1] / "hosts"
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n", "--preserve-env=CONTAINERS_CONF"]
NUMBERS = itertools.count(1)
# What hosts write stays in memory where this has so many bytes: thousands of files are made and removed in each test.
MEMORY, ENOUGH = Path("/dev/shm"), 8 << 30
SSH = (
    "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "
    "-o ControlMaster=auto -o ControlPersist=60s"
)
KEEP_BYTECODE = "tee /etc/python3.*/sitecustomize.py >/dev/null; mkdir -m 1777 /usr/ansiballz"


class NoHosts(Exception):
    """Why this machine cannot run test hosts, in a sentence."""


def as_root(*argv: str | Path, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command on this machine with root's rights and the settings of the test hosts."""
    done = subprocess.run(
        [*SUDO, *map(str, argv)],
        env={**os.environ, "CONTAINERS_CONF": str(HOSTS / "containers.conf")},
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(map(str, argv))}: {done.stderr or done.stdout}")
    return done


def podman(*args: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run podman on the test hosts and their networks."""
    return as_root("podman", *storage(), *args, check=check)


@functools.cache
def storage() -> list[str]:
    """podman's options for where the hosts' files are; their image stays in its usual place."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).total < ENOUGH:
        return []
    asked = as_root("podman", "info", "--format={{.Store.GraphDriverName}} {{.Store.GraphRoot}}")
    driver, images = asked.stdout.split()
    if driver != "overlay":
        return []
    place = MEMORY / "changeops-hosts"
    image_store = f"--storage-opt=overlay.imagestore={images}"
    return [f"--root={place}/storage", f"--runroot={place}/run", "--storage-driver=overlay", image_store]


def network() -> str:
    """Make a network of which no container but the caller's gets an address; returns its name.

    :raises NoHosts: there can be no hosts here.
    """
    image()
    name = f"changeops-{os.getpid()}-{next(NUMBERS)}"
    podman("network", "create", name)
    return name


def image() -> str:
    """The name of the image, which is made where it is missing (a minute).

    :raises NoHosts: it cannot be made here.
    """
    missing = [name for name in ("podman", "mmdebstrap", "ssh", "ssh-keygen") if not shutil.which(name)]
    if missing:
        raise NoHosts(f"Test hosts need {', '.join(missing)}: run tests/system-packages.")
    made = subprocess.run([HOSTS / "image"], capture_output=True, text=True, check=False)
    if made.returncode:
        raise NoHosts(f"The image of the test hosts could not be made: {made.stderr[-2000:]}")
    return made.stdout.strip()


class Host:
    """One running test host.

    :arg name: as it is called in the inventory; the container's name has the session's process id and a number as well,
        so that none meets another.
    :arg keys: a directory of this session, for the ssh key.
    :arg volumes: ``/from:/to[:options]``, as podman takes them.
    :arg options: more of what ``podman run`` takes.
    """

    def __init__(self, name: str, keys: Path, volumes: t.Sequence[str] = (), options: t.Sequence[str] = ()) -> None:
        self.name = name
        self.container = f"changeops-{name}-{os.getpid()}-{next(NUMBERS)}"
        self.key = keys / "id_ed25519"
        if not self.key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key], check=True)
        mounts = [f"--volume={volume}" for volume in volumes]
        started = podman(
            *("run", "--detach", "--systemd=always", f"--name={self.container}", f"--hostname={name}", *mounts),
            *(*options, image(), "/sbin/init"),
            check=False,
        )
        if started.returncode:
            podman("rm", "--force", self.container, check=False)
            raise NoHosts(f"podman cannot start a test host here: {started.stderr}")
        try:
            self.wait_until_booted()
            self.sh(KEEP_BYTECODE, stdin=(HOSTS / "keep_bytecode.py").read_text())
            for account in ("root", "deploy"):
                home = f"~{account}/.ssh"
                self.sh(
                    f"mkdir -p -m 700 {home} && cat > {home}/authorized_keys && chown -R {account}: {home}",
                    stdin=self.key.with_suffix(".pub").read_text(),
                )
        except BaseException:
            self.close()
            raise

    def run(
        self, *argv: str | Path, user: str = "root", stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there as ``user`` or ``user:group``, as `podman exec` does, without its 0.15 s each time."""
        name, group = [*user.split(":"), user][:2]
        account = [f"--reuid={name}", f"--regid={group}", "--init-groups", "--reset-env"]
        return as_root(*self.enter, "--all", "setpriv", *account, *argv, stdin=stdin, check=check)

    def sh(self, script: str, user: str = "root", stdin: str | None = None) -> str:
        """Run lines of shell on the host; returns what they print."""
        return self.run("sh", "-ec", script, user=user, stdin=stdin).stdout.strip()

    def as_machine(self, *argv: str) -> None:
        """Run a command in the host's file system with the rights of this machine's root: a host may not mount."""
        as_root(*self.enter, "--mount", "--pid", *argv)

    def put(self, source: Path, target: str) -> None:
        """Copy a file, or a directory's content into an existing one, to the host; root owns it there."""
        podman("cp", f"{source}/." if source.is_dir() else source, f"{self.container}:{target}")

    def inventory(self, user: str = "root") -> dict[str, t.Any]:
        """The host's variables for an inventory, connected as ``user``."""
        return {
            "ansible_host": self.address,
            "ansible_user": user,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_common_args": SSH,
            "ansible_control_path_dir": str(self.key.parent),
            "ansible_ssh_pipelining": True,
            "ansible_timeout": 60,
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    @functools.cached_property
    def enter(self) -> list[str]:
        """The command that enters the host, up to what of it; it is another one after a reboot."""
        pid = podman("inspect", "--format={{.State.Pid}}", self.container).stdout.strip()
        return ["nsenter", f"--target={pid}"]

    @property
    def address(self) -> str:
        """The host's IP address; another one after a reboot, perhaps."""
        shown = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return podman("inspect", f"--format={shown}", self.container).stdout.strip()

    def wait_until_booted(self, seconds: float = 60) -> None:
        """Wait until systemd has tried to start all that is enabled, sshd too."""
        until = time.monotonic() + seconds
        state = ""
        while time.monotonic() < until:
            state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
            if state in ("running", "degraded"):
                return
            time.sleep(0.2)
        raise NoHosts(f"The test host {self.name} did not boot within {seconds:g} s; systemd says: {state}")

    def reboot(self) -> None:
        """Boot it again: what is enabled starts, /run and /tmp are empty."""
        podman("restart", "--time=5", self.container)
        del self.enter
        self.wait_until_booted()
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection((self.address, 22), timeout=1):
                return
            time.sleep(0.2)
        raise AssertionError(f"{self.name} cannot be reached over ssh after its reboot.")

    def close(self) -> None:
        """Remove it with all that is on it."""
        podman("rm", "--force", "--time=0", "--volumes", self.container, check=False)


@contextlib.contextmanager
def host(name: str, keys: Path, volumes: t.Sequence[str] = ()) -> t.Iterator[Host]:
    """A test host for as long as the block runs."""
    with contextlib.ExitStack() as undo:
        its = network()
        undo.callback(podman, "network", "rm", "--force", its, check=False)
        one = Host(name, keys, volumes, [f"--network={its}"])
        undo.callback(one.close)
        yield one

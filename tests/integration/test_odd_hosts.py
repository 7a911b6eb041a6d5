# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The same rollback on hosts that are odd. Each case shows that the host is odd, and what the rollback did there.

Cases that do not touch each other share a run, since a run takes its time.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from systemd_shop import CACHE, ROOT, HostOps, SystemdShop, assert_rolled_back

GIT = "git_2.30.2-1+deb11u2"
Odd = t.Callable[[SystemdShop, HostOps], "contextlib.AbstractContextManager[None]"]


def everywhere(ops: HostOps, **environment: str) -> None:
    for phase in ops.phases:
        phase["environment"] = {**phase.get("environment", {}), **environment}


def own_interpreter(shop: SystemdShop, ops: HostOps, command: str) -> None:
    """Whatever runs on the host is started by ``command``."""
    shop.host.sh(
        "cat > /opt/odd-python; chmod 755 /opt/odd-python", stdin=f'#!/bin/sh\n{command} /usr/bin/python3 "$@"\n'
    )
    ops.hosts[shop.host.name]["ansible_python_interpreter"] = "/opt/odd-python"


@contextlib.contextmanager
def closed_up(shop: SystemdShop, ops: HostOps) -> t.Iterator[None]:
    """Nothing may be executed in /tmp, processes of others are hidden, and sudo's PATH has no uv."""
    host = shop.host
    host.as_machine("mount", "-o", "remount,noexec", "/tmp")
    host.as_machine("mount", "-o", "remount,hidepid=2", "/proc")
    host.sh("echo 'Defaults secure_path=/usr/bin:/bin' > /etc/sudoers.d/path")
    host.sh(
        "mkdir -p /srv/shop/.local/bin; cp -L /opt/tools/bin/uv /srv/shop/.local/bin; chown -R shop: /srv/shop/.local"
    )
    ops.group_vars["rollback_install"] = ["uv", "sync", "--frozen"]
    try:
        assert host.run("sh", "-c", "cp /bin/true /tmp/t; /tmp/t", check=False).returncode == 126
        assert host.run("ls", "/proc/1", user="shop", check=False).returncode != 0
        assert host.run("sudo", "-u", "shop", "sh", "-c", "command -v uv", check=False).returncode != 0
        yield
    finally:
        host.sh("rm -f /etc/sudoers.d/path /tmp/t")
        host.as_machine("mount", "-o", "remount,exec", "/tmp")
        host.as_machine("mount", "-o", "remount,hidepid=0", "/proc")


@contextlib.contextmanager
def old_and_german(shop: SystemdShop, ops: HostOps) -> t.Iterator[None]:
    """git 2.30, as Debian 11 has it, and messages in another language."""
    host = shop.host
    sources = host.sh("cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true")
    mirror = re.search(r"^(?:URIs:|deb\b).*?(https?://\S+?)/?(?:\s|$)", sources, re.MULTILINE)[1]
    machine = host.sh("dpkg --print-architecture")
    package = CACHE / f"{GIT}_{machine}.deb"
    if not package.exists():
        url = f"{mirror}/pool/main/g/git/{package.name}"
        if subprocess.run(["curl", "-sSfL", "--retry", "2", "-o", f"{package}.new", url], check=False).returncode:
            pytest.skip(f"git 2.30 could not be had from {url}")
        Path(f"{package}.new").rename(package)
    host.put(package, "/opt/git.deb")
    host.sh("dpkg -x /opt/git.deb /opt/git-2.30; cat > /usr/local/bin/git; chmod 755 /usr/local/bin/git", stdin=OLD_GIT)
    everywhere(ops, LC_ALL="de_DE.UTF-8", LANGUAGE="de")
    try:
        assert host.sh("sudo -u shop git --version") == "git version 2.30.2"
        said = host.run("env", "LC_ALL=de_DE.UTF-8", "LANGUAGE=de", "git", "-C", "/", "status", check=False).stderr
        assert "kein Git-Repository" in said.replace("Kein", "kein")
        yield
    finally:
        host.sh("rm /usr/local/bin/git")


OLD_GIT = '#!/bin/sh\nGIT_EXEC_PATH=/opt/git-2.30/usr/lib/git-core exec /opt/git-2.30/usr/bin/git "$@"\n'


@contextlib.contextmanager
def ahead_of_time(shop: SystemdShop, ops: HostOps) -> t.Iterator[None]:
    """The clock is an hour ahead, nobody but the owner gets rights to new files, and the owner's home is read-only."""
    own_interpreter(shop, ops, "umask 077; exec faketime -f +1h")
    everywhere(ops, UV_CACHE_DIR=f"{ROOT}/var/uv-cache")
    shop.host.sh("chown root: /srv/shop")
    try:
        assert "Permission denied" in shop.host.run("touch", "/srv/shop/x", user="shop", check=False).stderr
        ahead = shop.host.sh("/opt/odd-python -c 'import time; print(time.time())'")
        assert float(ahead) - float(shop.host.sh("date +%s")) == pytest.approx(3600, abs=30)
        yield
        noted = json.loads(shop.host.sh("cat /var/lib/changeops/*/run.json"))
        assert 0 < noted["closed"] - noted["opened"] < 600
    finally:
        shop.host.sh("chown shop: /srv/shop")


@contextlib.contextmanager
def names_that_are_not_ascii(shop: SystemdShop, ops: HostOps) -> t.Iterator[None]:
    """Names of files with umlauts, no locale that could show them, and everybody gets rights to new files."""
    own_interpreter(shop, ops, "umask 000; exec")
    everywhere(ops, LC_ALL="C")
    ops.phase("git_revert")["environment"]["LC_ALL"] = "xx_XX.UTF-8"
    ops.phase("alembic_downgrade")["environment"]["LC_ALL"] = "xx_XX.UTF-8"
    wanted, source = f"{ROOT}/etc/größe.conf", f"{ROOT}/etc/kept/größe.conf"
    ops.group_vars["rollback_config"].append({"path": wanted, "source": source})
    shop.host.sh(f"echo größer > {wanted}; echo groß > {source}; chmod 600 {wanted}", user="shop")
    yield
    assert shop.host.sh(f"cat {wanted}") == "groß"
    open_to_all = shop.host.sh("find /var/lib/changeops -maxdepth 2 -perm /007 -printf '%f %m\\n' | sort")
    assert open_to_all.split("\n") == ["changeops 711", "hold.json 644"]
    kept = shop.host.sh("find /var/lib/changeops -name 'gr*.conf'")
    assert kept.endswith("/etc/größe.conf")
    assert "Permission denied" in shop.host.run("cat", kept, user="nobody:nogroup", check=False).stderr


ODD = [closed_up, old_and_german, ahead_of_time, names_that_are_not_ascii]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_rolled_back_all_the_same(systemd_shop: SystemdShop, tmp_path: Path, odd: Odd) -> None:
    ops = HostOps(tmp_path, systemd_shop, "deploy")
    before = systemd_shop.state()
    with odd(systemd_shop, ops):
        ops.write()
        assert ops.rollback().returncode == 0
        assert_rolled_back(systemd_shop, before)


@contextlib.contextmanager
def no_uv(shop: SystemdShop, ops: HostOps) -> t.Iterator[None]:
    ops.group_vars["rollback_install"] = ["uv", "sync", "--frozen"]
    ops.phases = [ops.phase("git_revert")]
    yield


REFUSALS = [
    Refusal(
        "a host without uv",
        "C001 was refused: There is no program 'uv' on the PATH of this task (<path>), nor in ~/.local/bin, "
        "~/.cargo/bin, /usr/local/bin, /opt/poetry/bin. Install it, or give its full path: git_revert_install: "
        "[/path/to/uv, ...] Nothing was changed. Correct it (git_revert_install), or do without the trial: "
        "git_revert_rehearse_install: false | Nothing was touched.",
        no_uv,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_refused_in_words(systemd_shop: SystemdShop, tmp_path: Path, row: Refusal) -> None:
    ops = HostOps(tmp_path, systemd_shop, "deploy")
    before = systemd_shop.state()
    with row.given(systemd_shop, ops):
        ops.write()
        done = ops.rollback()
    assert done.returncode != 0
    assert row.found_in(done.stdout)
    assert systemd_shop.state() == before

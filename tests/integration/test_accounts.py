# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Phases that work as several accounts on one host: systemctl as root, all else as an owner who may nothing else."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal
from systemd_shop import HostOps, SystemdShop, assert_rolled_back

STATE = "/var/lib/changeops"
# In the app's interpreter: one that was started ahead notes that it was asked.
NOTE = """\
import atexit, sys
def note():
    with open("/proc/self/cmdline") as stream:
        ahead = "driver/wait.json" in stream.read()
    if ahead and sys.argv[1].endswith("request.json"):
        open("/tmp/asked", "w").close()
atexit.register(note)
"""


@pytest.fixture
def as_deploy(systemd_shop: SystemdShop, tmp_path: Path) -> HostOps:
    """The user's repository, connected as an administrator who may sudo."""
    return HostOps(tmp_path, systemd_shop, "deploy")


def owners(shop: SystemdShop, point: str) -> dict[str, str]:
    """Whom each part of the restore point belongs to, and its mode."""
    listed = shop.host.sh(f"stat --format='%n %U %a' {point}/*/")
    return {line.split()[0].split("/")[-2]: line.split(" ", 1)[1] for line in listed.splitlines()}


def test_rolled_back_by_root_and_an_owner_who_share_one_restore_point(
    as_deploy: HostOps, systemd_shop: SystemdShop
) -> None:
    as_deploy.write()
    before = systemd_shop.state()
    assert before["health"] == 503
    packages = f"{systemd_shop.facts['repo']}/.venv/lib/python3*/site-packages"
    note = "cat >asked_note.py; echo import asked_note >asked_note.pth"
    systemd_shop.host.sh(f"cd {packages}; {note}", user="shop", stdin=NOTE)
    assert as_deploy.rollback().returncode == 0
    assert_rolled_back(systemd_shop, before)
    # with ssh and sudo, whose variables are others in each task, main is not taken for another one than preflight saw
    assert systemd_shop.host.sh("stat --format=%U /tmp/asked; rm /tmp/asked") == "shop"
    point = systemd_shop.host.sh(f"ls -d {STATE}/*-C001-*")
    assert owners(systemd_shop, point) == {
        "1-backup": "shop 700",
        "2-service_stop": "root 700",
        "3-alembic_downgrade": "shop 700",
        "4-git_revert": "shop 700",
        "5-config_restore": "shop 700",
        "6-service_start": "root 700",
        "7-verify": "shop 700",
    }
    kept = systemd_shop.host.sh(f"find {STATE} -type f -name shop.env")
    assert kept, "the file with the app's settings was kept"
    for user in ("nobody:nogroup", "deploy"):
        for command in (["ls", STATE], ["ls", point], ["cat", kept.splitlines()[0]], ["cat", f"{STATE}/work.lock"]):
            done = systemd_shop.host.run(*command, user=user, check=False)
            assert "Permission denied" in done.stderr, (user, command)
    theirs = systemd_shop.host.run("cat", f"{point}/2-service_stop/state.json", user="shop", check=False)
    assert "Permission denied" in theirs.stderr
    open_to_all = systemd_shop.host.sh(f"find {STATE} -maxdepth 2 -perm /007 -printf '%f %m\\n' | sort")
    assert open_to_all.split("\n") == ["changeops 711", "hold.json 644"]
    for user in ("shop", "nobody:nogroup"):
        held = json.loads(systemd_shop.host.run("cat", f"{STATE}/hold.json", user=user).stdout)["held"]
        assert [one["commits"][0][:7] for one in held] == [systemd_shop.facts["commits"]["bad"][:7]]


def test_put_back_when_it_fails(as_deploy: HostOps, systemd_shop: SystemdShop) -> None:
    """Connected as root this time; whoever started a phase, its owner puts it back."""
    as_deploy.hosts = {systemd_shop.host.name: systemd_shop.host.inventory("root")}
    as_deploy.write()
    before = systemd_shop.state()
    systemd_shop.host.sh("touch /tmp/fail")
    try:
        assert as_deploy.rollback().returncode != 0
    finally:
        systemd_shop.host.sh("rm /tmp/fail")
    assert systemd_shop.state() == before
    assert systemd_shop.not_owned() == ""
    assert as_deploy.history()[-1]["outcome"] == "recovered"


def test_one_owner_alone_needs_no_root(as_deploy: HostOps, systemd_shop: SystemdShop) -> None:
    as_deploy.phases = [{"role": name, "become_user": "shop"} for name in ("backup", "config_restore")]
    del as_deploy.group_vars["rollback_config"][0]
    as_deploy.write()
    systemd_shop.host.sh(f"rm -rf {STATE}")
    assert as_deploy.rollback().returncode == 0
    parts = systemd_shop.host.sh("stat --format='%n %U %a' /srv/shop/.local/state/changeops/*/1-backup")
    assert parts.endswith("/1-backup shop 700")
    assert systemd_shop.host.run("test", "-e", STATE, check=False).returncode == 1


def unknown(ops: HostOps) -> None:
    ops.phases = [{"role": "backup"}, {"role": "verify", "become_user": "nosuch"}]


def strangers(ops: HostOps) -> None:
    ops.phases = [{"role": "backup", "become_user": "shop"}, {"role": "verify"}]


def overruled(ops: HostOps) -> None:
    ops.phases = [{"role": "backup", "become_user": "shop"}, {"role": "verify"}]
    ops.group_vars |= {"ansible_become": True, "ansible_become_user": "root"}


def closed_in(ops: HostOps) -> str:
    ops.phases = [{"role": "service_stop", "become": True}, {"role": "verify", "become_user": "shop"}]
    ops.group_vars["rollback_state_dir"] = "/srv/closed/state"
    ops.on.host.sh("mkdir -m 700 /srv/closed")
    return "rm -r /srv/closed"


def without_a_tty(ops: HostOps) -> str:
    ops.phases = [{"role": "verify", "become_user": "shop"}]
    ops.on.host.sh("echo 'Defaults requiretty' > /etc/sudoers.d/tty")
    return "rm /etc/sudoers.d/tty"


TOUCHED = " | Nothing was touched."
REFUSALS = [
    Refusal(
        "`become_user` is no account of the host",
        "C001 was refused: 2-verify cannot work as nosuch on this host: sudo: unknown user nosuch" + TOUCHED,
        unknown,
    ),
    Refusal(
        "phases work as several accounts, and none of them is root",
        "C001 was refused: On this host the phases work as deploy and shop, and none as root, so they cannot keep one "
        "restore point. Give all of them the same become_user, or connect as root." + TOUCHED,
        strangers,
    ),
    Refusal(
        "a variable in the inventory beats `become_user`",
        "C001 was refused: 1-backup cannot work as shop on this host: it works as root, because ansible_become or "
        "ansible_become_user is set in the inventory and beats the plan; take it out there." + TOUCHED,
        overruled,
    ),
    Refusal(
        "an account of the run cannot reach the restore point",
        "C001 was refused: /srv/closed/state/<run>/2-verify/state.json: Permission denied. shop cannot keep a restore "
        "point there. Set rollback_state_dir to a directory that this account may enter and write to, such as "
        "/var/tmp/changeops." + TOUCHED,
        closed_in,
    ),
    Refusal(
        "the sudoers of a host have `requiretty`, and `ansible.cfg` has pipelining",
        "C001 was refused: 1-verify cannot work as shop on this host: sudo: sorry, you must have a tty to run sudo. "
        "Its sudoers have requiretty, which pipelining cannot do with. Put ANSIBLE_PIPELINING=false before the "
        "command, or for good `Defaults !requiretty` into its sudoers." + TOUCHED,
        without_a_tty,
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=lambda row: row.case)
def test_refused_in_words(as_deploy: HostOps, systemd_host: t.Any, row: Refusal) -> None:
    """What brings a refusal about may return what takes that away again, as a line of shell."""
    undone = row.given(as_deploy)
    try:
        as_deploy.write()
        done = as_deploy.rollback()
    finally:
        systemd_host.sh(undone or "")
    assert done.returncode != 0
    assert row.found_in(done.stdout)

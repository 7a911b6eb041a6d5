# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_stop and service_start on a host with a real systemd."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import ansible
import pytest
from hosts import Host, NoHosts, host

ROOT = Path(__file__).parents[2]
COLLECTION = "/opt/ansible_collections/changeops/rollback"

Result = dict[str, t.Any]


class Systemd:
    """Does things on the host, see systemd_steps.py."""

    def __init__(self, one: Host) -> None:
        self.host = one
        self.shop = one.run("id", "-u", "shop").stdout.strip()

    def do(self, *things: t.Sequence[t.Any], user: str = "root", env: t.Sequence[str] = ()) -> list[t.Any]:
        """Do things in that order; returns what each came to."""
        if user == "shop":
            env = [f"XDG_RUNTIME_DIR=/run/user/{self.shop}", "HOME=/srv/shop", *env]
        argv = [
            "env",
            "PYTHONPATH=/site:/opt",
            *env,
            "python3",
            "-B",
            f"{COLLECTION}/tests/integration/systemd_steps.py",
        ]
        done = self.host.run("timeout", "60", *argv, user=user, stdin=json.dumps(things), check=False)
        assert done.stdout.startswith("["), done.stdout + done.stderr
        return t.cast("list[t.Any]", json.loads(done.stdout))


@pytest.fixture(scope="module")
def booted(keys: Path) -> t.Iterator[Systemd]:
    """One host for all tests here; other than ``systemd_host`` it is rebooted, and sees the checkout."""
    core = Path(ansible.__file__).parent
    try:
        with host("services", keys, [f"{ROOT}:{COLLECTION}:ro", f"{core}:/site/ansible:ro"]) as one:
            one.sh("loginctl enable-linger shop")
            yield Systemd(one)
    except NoHosts as exc:
        pytest.skip(str(exc))


@pytest.fixture
def systemd(booted: Systemd) -> t.Iterator[Systemd]:
    yield booted
    booted.do(["clear"])


SLEEP = "[Service]\nExecStart=sleep 1000\n"
INSTALL = "[Install]\nWantedBy=multi-user.target default.target\n"
SOCKET = "[Socket]\nListenStream=127.0.0.1:18080\n[Install]\nWantedBy=sockets.target\n"
NOTIFY = (
    "[Service]\nType=notify\nExecStart=sh -c 'sleep 0.5; systemd-notify --ready; exec sleep 1000'\nNotifyAccess=all\n"
)
JOB = "[Service]\nType=oneshot\nExecStart=true\n"
PART = "[Unit]\nPartOf=shop.target\n" + SLEEP + "[Install]\nWantedBy=shop.target\n"


STATES = {"root": "/var/lib/changeops/R1", "shop": "/srv/shop/state/R1"}


class Case(t.NamedTuple):
    """Units, how they are brought up, what is listed, and which of them are then down and held."""

    units: dict[str, str]
    up: str
    services: list[t.Any]
    down: list[str]
    user: str = "root"


CASES = {
    "enabled and restarted always": Case(
        {"shop-web.service": SLEEP + "Restart=always\n" + INSTALL}, "enable --now shop-web", ["shop-web"], ["shop-web"]
    ),
    "disabled": Case({"shop-web.service": SLEEP + INSTALL}, "start shop-web", ["shop-web"], ["shop-web"]),
    "static": Case({"shop-web.service": SLEEP}, "start shop-web", ["shop-web.service"], ["shop-web.service"]),
    "stopped on purpose, enabled": Case(
        {"shop-web.service": SLEEP + INSTALL, "shop-off.service": SLEEP + INSTALL},
        "enable shop-off; start shop-web",
        ["shop-web", "shop-off"],
        ["shop-web", "shop-off"],
    ),
    "a socket, its service idle": Case(
        {"shop-web.service": SLEEP, "shop-web.socket": SOCKET},
        "enable --now shop-web.socket",
        [{"name": "shop-web", "port": 18080}],
        ["shop-web.socket", "shop-web.service"],
    ),
    "a socket, its service at work": Case(
        {"shop-web.service": SLEEP + INSTALL, "shop-web.socket": SOCKET},
        "enable --now shop-web.socket; enable --now shop-web",
        [{"name": "shop-web", "port": 18080}],
        ["shop-web.socket", "shop-web.service"],
    ),
    "a socket that is listed itself": Case(
        {"shop-web.service": SLEEP, "shop-web.socket": SOCKET},
        "start shop-web.socket; start shop-web",
        [{"name": "shop-web.socket", "port": 18080}],
        ["shop-web.socket", "shop-web.service"],
    ),
    "a path": Case(
        {"shop-in.service": JOB, "shop-in.path": "[Path]\nPathExists=/run/shop-in\n" + INSTALL},
        "enable --now shop-in.path",
        ["shop-in"],
        ["shop-in.path", "shop-in.service"],
    ),
    "a timer": Case(
        {
            "shop-cleanup.service": JOB,
            "shop-cleanup.timer": "[Timer]\nOnUnitInactiveSec=1d\nOnActiveSec=1d\n" + INSTALL,
        },
        "enable --now shop-cleanup.timer",
        ["shop-cleanup.timer"],
        ["shop-cleanup.timer", "shop-cleanup.service"],
    ),
    "instances by pattern": Case(
        {"shop-worker@.service": SLEEP + INSTALL},
        "enable --now shop-worker@1; start shop-worker@2; start shop-worker@b-c",
        ["shop-worker@*.service"],
        ["shop-worker@1.service", "shop-worker@2.service", "shop-worker@b-c.service"],
    ),
    "one instance": Case(
        {"shop-worker@.service": SLEEP},
        "start shop-worker@1 shop-worker@2",
        ["shop-worker@2.service"],
        ["shop-worker@2.service"],
    ),
    "a target, one of its units stopped by hand": Case(
        {"shop.target": INSTALL, "shop-a.service": PART, "shop-b.service": PART, "shop-c.service": PART},
        "enable shop.target shop-a shop-b shop-c; start shop.target; stop shop-c",
        ["shop.target"],
        ["shop-a.service", "shop-b.service", "shop-c.service"],
    ),
    "a target that requires a job": Case(
        {
            "shop.target": "[Unit]\nRequires=shop-job.service\n" + INSTALL,
            "shop-job.service": "[Unit]\nPartOf=shop.target\n" + JOB,
            "shop-a.service": PART,
        },
        "enable shop-a; start shop.target",
        ["shop.target"],
        ["shop-a.service", "shop-job.service"],
    ),
    "a part that is not listed": Case(
        {"shop-web.service": SLEEP, "shop-part.service": "[Unit]\nPartOf=shop-web.service\n" + SLEEP},
        "start shop-web shop-part",
        ["shop-web"],
        ["shop-web.service", "shop-part.service"],
    ),
    "one that says when it is ready, and one that stays": Case(
        {"shop-web.service": NOTIFY, "shop-net.service": JOB + "RemainAfterExit=yes\n" + INSTALL},
        "start shop-web; enable --now shop-net",
        ["shop-web", "shop-net"],
        ["shop-web", "shop-net"],
    ),
    "found starting up": Case(
        {"shop-web.service": NOTIFY.replace("0.5", "3")}, "start --no-block shop-web", ["shop-web"], ["shop-web"]
    ),
    "masked": Case(
        {"shop-web.service": SLEEP},
        "mask systemd-timesyncd; start shop-web",
        ["shop-web", "systemd-timesyncd"],
        ["shop-web", "systemd-timesyncd"],
    ),
    "a user's": Case(
        {"shop-web.service": SLEEP + INSTALL, "shop-web.socket": SOCKET},
        "enable --now shop-web.socket; enable --now shop-web",
        [{"name": "shop-web", "port": 18080}],
        ["shop-web.socket", "shop-web.service"],
        "shop",
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_stopped_stays_stopped_and_is_put_back_as_it_was(systemd: Systemd, case: Case) -> None:
    names = sorted({name for name in [*case.units, *case.down] if "@." not in name})
    up = [["ctl", *command.split()] for command in case.up.split(";")]
    stop = ["stop", "preflight", case.services], ["start", "preflight", case.services], ["look", *names]
    stopped = ["stop", "main", case.services], ["ctl", "start", *case.down], ["look", *names], ["holds"]
    ways = {
        way: [*stop, *stopped, ["stop", "main", case.services], *[[way, step, case.services]] * 2, ["look", *names]]
        for way, step in (("stop", "recover"), ("start", "main"))
    }
    found = systemd.do(["add", case.units], *up, ["look", *names], *ways["stop"], ["holds"], user=case.user)
    before, *found = found[1 + len(up) :]
    found_again = systemd.do(["sh", f"rm -r {STATES[case.user]}"], *ways["start"], ["holds"], user=case.user)[1:]
    systemd.do(["clear"], user=case.user)
    settled = {name: ["active" if s[0] == "activating" else s[0], s[1]] for name, s in before.items()}
    for first, (_stop, _start, looked, done, _tried, down, held, again, put, put_again, after, left) in (
        (before, found),
        (settled, found_again),
    ):
        assert looked == first, "preflight changed something"
        assert done["changed"], done
        assert {name: down[name][0] for name in case.down} == dict.fromkeys(case.down, "inactive")
        assert {name: s[1] for name, s in down.items()} == {name: s[1] for name, s in first.items()}
        assert [name for name in held if name.split(".")[0] in [n.split(".")[0] for n in case.down]] == held
        assert not again["changed"], again
        assert put["changed"] and not put_again["changed"], (put, put_again)
        assert after == settled
        assert left == []

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_stop and service_start on a host with a real systemd."""

from __future__ import annotations

import typing as t

import pytest
from systemd_units import SLEEP, Systemd

Result = dict[str, t.Any]


INSTALL = "[Install]\nWantedBy=multi-user.target default.target\n"
SOCKET = "[Socket]\nListenStream=127.0.0.1:18080\n[Install]\nWantedBy=sockets.target\n"
# One process, not a shell with a child: with cgroup v1 nobody tells systemd in a container that a cgroup is empty, so a
# stop that ends the main process before its child can wait for ever.
NOTIFY = (
    "[Service]\nType=notify\nExecStart=python3 -c 'import os, socket, time; time.sleep(0.5);"
    ' socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"]);'
    " time.sleep(1000)'\n"
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
    "disabled": Case(
        {"shop-web.service": SLEEP + INSTALL},
        "start shop-web",
        [{"name": "shop-web", "manager": "service", "scope": None}],
        ["shop-web"],
    ),
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
        {"shop-web.service": NOTIFY.replace("sleep(0.5)", "sleep(3)")},
        "start --no-block shop-web",
        ["shop-web"],
        ["shop-web"],
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


WEB = {"shop-web.service": SLEEP + INSTALL, "shop-web.socket": SOCKET}
WEB_UP = [["add", WEB], ["ctl", "enable", "--now", "shop-web.socket"], ["ctl", "enable", "--now", "shop-web.service"]]


@pytest.mark.parametrize(
    ("before", "kill", "then"),
    [
        ([], ("stop", "main"), ("stop", "recover")),
        ([("stop", "main")], ("start", "main"), ("start", "main")),
        ([("stop", "main")], ("stop", "recover"), ("stop", "recover")),
    ],
    ids=["stop, then recovered", "start, then finished", "recover, then finished"],
)
def test_a_step_that_is_killed_anywhere_can_be_put_back_or_finished(
    systemd: Systemd, before: list[tuple[str, str]], kill: tuple[str, str], then: tuple[str, str]
) -> None:
    web = ["shop-web"]
    first = [[*step, web] for step in (("stop", "preflight"), ("start", "preflight"), *before)]
    after = [[*then, web], ["look", *WEB], ["holds"]]
    # the way back to where it began, for the next time
    again = [["stop", "recover", web], ["sh", "rm -r /var/lib/changeops/R1"], ["look", *WEB]]
    begun, times = systemd.do(*WEB_UP, ["look", *WEB], ["killed", first, [*kill, web], [*after, *again]])[len(WEB_UP) :]
    assert len(times) > 4
    for result, looked, held, *_back, at_last in times:
        assert not result.get("failed"), result
        assert looked == begun and held == []
        assert at_last == begun


def test_a_host_that_reboots_meanwhile_starts_nothing(systemd: Systemd) -> None:
    """The socket, the service and a user's unit are enabled, and the host boots between stop and start."""
    mine, theirs = [["shop-web"], ["look", *WEB]], [["shop-mine"], ["look", "shop-mine"]]
    theirs_up = [["add", {"shop-mine.service": SLEEP + INSTALL}], ["ctl", "enable", "--now", "shop-mine"]]
    before = {}
    for user, up, (services, look) in (("root", WEB_UP, mine), ("shop", theirs_up, theirs)):
        find = [["stop", "preflight", services], ["start", "preflight", services], ["stop", "main", services]]
        before[user] = systemd.do(*up, look, *find, user=user)[len(up)]
    systemd.host.reboot()
    systemd.host.sh(f"until test -S /run/user/{systemd.shop}/systemd/private; do sleep 0.2; done")
    for user, (services, look) in (("root", mine), ("shop", theirs)):
        down, resumed, started, up = systemd.do(
            look, ["stop", "main", services], ["start", "main", services], look, user=user
        )
        assert {name: state[0] for name, state in down.items()} == dict.fromkeys(down, "inactive")
        assert not resumed["changed"] and not started.get("failed"), (resumed, started)
        assert up == before[user]
    systemd.do(["clear"], user="shop")


def test_what_holds_a_unit_says_so_and_removing_it_is_enough(systemd: Systemd) -> None:
    path = "/etc/systemd/system/shop-web.service.d/99-changeops-rollback-stopped.conf"
    *_up, done, tried, status, text, started = systemd.do(
        *WEB_UP,
        ["stop", "main", ["shop-web"], {"root": "standalone"}],
        ["ctl", "start", "shop-web"],
        ["ctl", "status", "--no-pager", "shop-web"],
        ["sh", f"cat {path}"],
        ["sh", f"rm {path} && systemctl start shop-web.service && systemctl is-active shop-web"],
    )
    assert done["facts"]["holds"] == [path.replace("web.service", "web.socket"), path]
    assert done["msg"].endswith(f" and {path}.")
    assert tried.startswith("Assertion failed on job for shop-web.service")
    assert f"AssertPathExists=!{path} was not met" in status
    assert f"#     rm {path}\n#     systemctl start shop-web.service\n" in text
    assert started.splitlines()[-1] == "active"


@pytest.mark.parametrize(
    ("options", "held"), [({}, ["shop-web.service", "shop-web.socket"]), ({"hold": False}, [])], ids=["hold", "no hold"]
)
def test_alone_the_roles_stop_and_start_what_is_listed_and_its_enabled_socket(
    systemd: Systemd, options: Result, held: list[str]
) -> None:
    alone: Result = {"root": "standalone"}
    before, stopped, found, started, after, again, left = systemd.do(
        *WEB_UP,
        ["look", *WEB],
        ["stop", "main", ["shop-web"], {**alone, **options}],
        ["holds"],
        ["start", "main", ["shop-web"], alone],
        ["look", *WEB],
        ["start", "main", ["shop-web"], alone],
        ["holds"],
    )[len(WEB_UP) :]
    assert stopped["facts"]["stopped"] == ["shop-web.socket", "shop-web"] and found == held
    assert started["facts"]["started"] == ["shop-web.socket", "shop-web"] and after == before
    assert not again["changed"] and left == []


def test_check_mode_changes_nothing(systemd: Systemd) -> None:
    before, stop, start, after, held = systemd.do(
        *WEB_UP,
        ["look", *WEB],
        ["stop", "main", ["shop-web"], {"check": True}],
        ["start", "main", ["shop-web"], {"check": True}],
        ["look", *WEB],
        ["holds"],
    )[len(WEB_UP) :]
    assert stop["msg"] == "Would stop shop-web.socket then shop-web." and start["changed"]
    assert after == before and held == []


def test_a_job_at_work_is_stopped_and_not_done_again(systemd: Systemd) -> None:
    units = {
        "shop-job.service": "[Service]\nType=oneshot\nExecStart=sh -c 'echo >>/run/shop-ran; exec sleep 1000'\n",
        "shop-job.timer": "[Timer]\nOnActiveSec=1d\n",
    }
    found, _stopped, down, _back, after, ran = systemd.do(
        ["add", units],
        ["ctl", "start", "shop-job.timer"],
        ["ctl", "start", "--no-block", "shop-job.service"],
        ["sh", "until test -e /run/shop-ran; do sleep 0.1; done"],
        ["stop", "preflight", ["shop-job.timer"]],
        ["stop", "main", ["shop-job.timer"]],
        ["look", *units],
        ["stop", "recover", ["shop-job.timer"]],
        ["look", *units],
        ["sh", "wc -l </run/shop-ran"],
    )[4:]
    assert found["before"]["services"] == {"shop-job.timer": "running", "shop-job.service": "working"}
    assert down["shop-job.timer"][0] == "inactive" and down["shop-job.service"][0] == "failed"  # it was ended
    assert after["shop-job.timer"][0] == "active" and after["shop-job.service"] == down["shop-job.service"]
    assert ran == "1"


# It runs once what it needs is there; until then it fails, until it has failed too often.
BROKEN = "[Service]\nExecStart=sh -c 'test -e /run/shop-good && exec sleep 1000'\nRestart=always\nRestartSec=10ms\n"


def test_what_a_bad_release_broke_is_started_though_it_had_failed_too_often(systemd: Systemd) -> None:
    found, _good, started, after = systemd.do(
        ["add", {"shop-web.service": BROKEN}],
        ["ctl", "start", "shop-web"],
        ["sh", "until systemctl is-failed shop-web; do sleep 0.1; done"],
        ["start", "preflight", ["shop-web"]],
        ["sh", "touch /run/shop-good"],
        ["start", "main", ["shop-web"]],
        ["look", "shop-web"],
    )[3:]
    assert found["before"]["services"] == {"shop-web": "failed"}
    assert not started.get("failed"), started
    assert after["shop-web"][0] == "active"


def test_a_user_who_is_not_root_is_told_what_he_cannot_do(systemd: Systemd) -> None:
    systemd.do(*WEB_UP)
    (found,) = systemd.do(["stop", "preflight", [{"name": "shop-web", "scope": "system"}]], user="shop")
    assert found["msg"].endswith(
        "shop-web.socket and shop-web cannot be kept from starting at boot or by another unit, because this user "
        "may not write /etc/systemd/system."
    )
    assert "this user is not root. Set become: true" in found["warnings"][0]


def test_a_target_that_wants_what_keeps_running_is_warned_of(systemd: Systemd) -> None:
    units = {"shop.target": "[Unit]\nWants=shop-db.service\n", "shop-db.service": SLEEP, "shop-a.service": PART}
    found = systemd.do(
        ["add", units],
        ["ctl", "enable", "shop-a"],
        ["ctl", "start", "shop.target"],
        ["stop", "preflight", ["shop.target"]],
        ["stop", "main", ["shop.target"]],
        ["look", "shop-a", "shop-db"],
    )[3:]
    assert found[0]["warnings"] == [
        "shop.target wants shop-db.service, which keeps running when shop.target is stopped, because it has no "
        "PartOf=shop.target. List it too if it is part of the app."
    ]
    assert [state[0] for state in found[2].values()] == ["inactive", "active"]

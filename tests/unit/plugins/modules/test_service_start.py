# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_start against real services: supervisord and given commands."""

from __future__ import annotations

import fcntl
import os
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _service_start as phases
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

START = {"preflight": phases.start_preflight, "main": phases.start_main, "recover": phases.start_recover}


def listens(port):
    return probe("127.0.0.1", port) is True


@pytest.fixture
def shop(rig):
    """web and worker ran when preflight looked, idle did not; now all are stopped."""
    rig.ports = [rig.supervised("web", late=0.3), rig.commanded("worker")]
    rig.supervised("idle", autostart=False)
    rig.start_supervisord()
    rig.run("worker", "start")
    rig.until(lambda: all(listens(port) for port in rig.ports))
    rig.found = rig.step(START, "preflight")
    rig.ctl("stop", "web")
    rig.run("worker", "stop")
    rig.until(lambda: not any(listens(port) for port in rig.ports))
    rig.started()
    return rig


def test_starts_in_reverse_what_ran_before_and_recover_stops_it(shop):
    assert shop.found.before["services"] == {"web": "running", "worker": "running", "idle": "stopped"}
    assert shop.found.msg.endswith("What is stopped now is not started by this run: idle.")

    done = shop.step(START, "main")
    assert done.changed and done.facts["started"] == ["worker", "web"] == shop.started()
    assert done.after["services"] == {"web": "running", "worker": "running", "idle": "stopped"}
    assert all(listens(port) for port in shop.ports)
    assert done.diff[0]["before"].startswith("web: stopped") and done.diff[0]["after"].startswith("web: running")

    again = shop.step(START, "main")
    assert not again.changed and again.facts["started"] == [] == shop.started()

    back = shop.step(START, "recover")
    assert back.changed and back.facts["stopped"] == ["web", "worker"]
    assert not any(listens(port) for port in shop.ports)
    # service_stop's recovery starts them; doing this one again must not stop them
    shop.run("worker", "start")
    assert not shop.step(START, "recover").changed
    shop.until(lambda: listens(shop.ports[1]))


def test_recover_leaves_what_main_did_not_start(shop):
    shop.run("worker", "start")
    shop.until(lambda: listens(shop.ports[1]))
    assert shop.step(START, "main").facts["started"] == ["web"]
    assert shop.step(START, "recover").facts["stopped"] == ["web"]
    assert listens(shop.ports[1])


def test_check_mode_starts_nothing(shop):
    report = shop.step(START, "main", check=True)
    assert report.changed and report.msg == "Would start worker then web again."
    assert shop.started() == []


def test_alone_starts_all_listed(rig):
    ports = [rig.supervised("web", autostart=False), rig.commanded("worker")]
    rig.start_supervisord()
    assert rig.step(START, "main", check=True, root="standalone").facts["started"] == ["worker", "web"]
    assert rig.step(START, "main", root="standalone").facts["started"] == ["worker", "web"]
    assert all(listens(port) for port in ports)
    begun = time.monotonic()
    assert not rig.step(START, "main", root="standalone", stays_up=60.0).changed
    assert time.monotonic() - begun < 60  # nothing was started, so there is nothing to watch


def test_the_service_holds_neither_lock_nor_pipe(rig):
    rig.commanded("web")
    begun = time.monotonic()
    rig.step(START, "main", root="standalone")
    assert time.monotonic() - begun < 10
    with open(rig.place / "state" / "work.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    pid = int((rig.place / "web.pid").read_text())
    assert os.getsid(pid) != os.getsid(0)


LOG = "Its log ends: Traceback: cannot connect with password=********"
DIES = [
    Refusal(
        "a program that dies at once",
        "web could not be started: <what supervisord said>. Its log ends: Traceback: <last words>",
        {"die": 0.1, "more": "startsecs=1\nstartretries=0"},
    ),
    Refusal(
        "a program that dies after a moment",
        f"web did not stay up for 3 s: its manager says EXITED <when>. {LOG}",
        {"die": 1.0, "more": "startsecs=0\nautorestart=false"},
    ),
    Refusal(
        "a program that dies again and again",
        f"web did not stay up for 3 s: it died and its manager restarted it. {LOG}",
        {"die": 1.0, "more": "startsecs=0\nautorestart=true"},
    ),
]
COMMANDED_DIES = Refusal(
    "a service with commands that dies", "web did not stay up: its manager says exit code 3 of its status command."
)
SILENT = Refusal("a port that does not open", "web is not up after 1 s: port <port> does not accept connections.")
TAKEN = Refusal(
    "a port that is taken",
    "web cannot be started: port <port> is held by process <number> (<command>). "
    "End that, and run the same command again.",
)
EMPTY = Refusal(
    "no services",
    "service_start has no services. List the app's services in rollback_services (or service_start_services), "
    "or leave service_start out of the plan.",
)
REFUSALS = [*DIES, COMMANDED_DIES, SILENT, TAKEN, EMPTY]


@pytest.mark.parametrize("refusal", DIES, ids=lambda refusal: refusal.case)
def test_a_service_that_dies_is_named_with_its_log(rig, refusal):
    rig.supervised("web", autostart=False, wait_for_port=False, **refusal.given)
    rig.start_supervisord()
    with pytest.raises(PhaseError) as caught:
        rig.step(START, "main", root="standalone", stays_up=3.0)
    assert refusal.matches(str(caught.value)), str(caught.value)
    assert "hunter2" not in str(caught.value) and "hunter2" not in str(caught.value.facts)
    rig.step(START, "recover", root="standalone")
    assert rig.ctl("status", "web").split()[1] in ("STOPPED", "EXITED", "FATAL")


def test_a_commanded_service_that_dies_is_named(rig):
    rig.commanded("web", die=0.5)
    with pytest.raises(PhaseError) as caught:
        rig.step(START, "main", root="standalone")
    assert COMMANDED_DIES.matches(str(caught.value)), str(caught.value)


def test_a_port_that_does_not_open_is_named(rig):
    rig.commanded("web", late=600)
    with pytest.raises(PhaseError) as caught:
        rig.step(START, "main", root="standalone", timeout=1.0)
    assert SILENT.matches(str(caught.value)), str(caught.value)
    assert rig.step(START, "recover", root="standalone").facts["stopped"] == ["web"]


def test_a_port_that_is_taken_is_named(rig):
    rig.items = []
    port = rig.commanded("stranger")
    rig.run("stranger", "start")
    rig.until(lambda: listens(port))
    rig.items.clear()
    rig.commanded("web", port=port)
    with pytest.raises(PhaseError) as caught:
        rig.step(START, "main", root="standalone")
    assert TAKEN.matches(str(caught.value)) and "stranger" in str(caught.value), str(caught.value)
    assert rig.started() == ["stranger"]


def test_an_empty_list_is_named(rig):
    with pytest.raises(PhaseError) as caught:
        rig.step(START, "preflight")
    assert EMPTY.matches(str(caught.value))


def test_what_a_bad_release_broke_is_started_again(rig):
    """FATAL is not stopped: supervisord was told to run it. The release before may run."""
    port = rig.supervised("web", die=0, more="startsecs=1\nstartretries=0")
    rig.start_supervisord()
    rig.until(lambda: "FATAL" in rig.ctl("status"))
    assert rig.step(START, "preflight").before["services"] == {"web": "failed"}
    rig.server.write_text(rig.server.read_text().replace('if "die" in o:', "if False:"))
    assert rig.step(START, "main").facts["started"] == ["web"]
    assert listens(port)


def test_a_resumed_run_starts_what_the_first_preflight_found(shop):
    shop.items[1]["start"] = ["false"]
    with pytest.raises(PhaseError, match="worker could not be started"):
        shop.step(START, "main")
    shop.items[1]["start"] = [shop.items[1]["stop"][0], "start"]
    shop.step(START, "preflight")
    assert shop.step(START, "main").facts["started"] == ["worker", "web"]

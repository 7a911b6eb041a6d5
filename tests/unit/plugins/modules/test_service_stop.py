# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_stop against real services: supervisord and given commands."""

from __future__ import annotations

import os
import signal
import socket
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _service_stop as phases
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe

STOP = {"preflight": phases.stop_preflight, "main": phases.stop_main, "recover": phases.stop_recover}


def listens(port):
    return probe("127.0.0.1", port) is True


@pytest.fixture
def shop(rig):
    """shop-web and shop-worker run, shop-idle does not; two managers."""
    rig.ports = [rig.supervised("web"), rig.commanded("worker")]
    rig.supervised("idle", autostart=False)
    rig.start_supervisord()
    rig.run("worker", "start")
    rig.until(lambda: all(listens(port) for port in rig.ports))
    rig.started()
    return rig


def test_stops_what_runs_and_recovers_exactly_that(shop):
    found = shop.step(STOP, "preflight")
    assert found.before["services"] == {"web": "running", "worker": "running", "idle": "stopped"}
    assert sorted(found.before["pids"]) == ["web", "worker"]
    assert found.pending is None and not found.changed

    done = shop.step(STOP, "main")
    assert done.changed and done.facts["stopped"] == ["web", "worker"]
    assert not any(listens(port) for port in shop.ports)
    assert done.diff[0]["after"] == "web: stopped\nworker: stopped\nidle: stopped\n"

    assert not shop.step(STOP, "main").changed
    assert shop.step(STOP, "preflight").msg.count("is stopped") == 3  # resumed: passes on our own half-done host

    back = shop.step(STOP, "recover")
    assert back.changed and back.facts["started"] == ["worker", "web"] == shop.started()
    assert back.after["services"] == {"web": "running", "worker": "running", "idle": "stopped"}
    assert all(listens(port) for port in shop.ports)
    assert not shop.step(STOP, "recover").changed


def test_check_mode_stops_nothing(shop):
    for step in ("preflight", "main"):
        report = shop.step(STOP, step, check=True)
    assert report.changed and report.msg == "Would stop web then worker."
    assert report.diff[0]["before"].startswith("web: running\n") and report.diff[0]["after"].startswith(
        "web: stopped\n"
    )
    assert all(listens(port) for port in shop.ports)
    assert not (shop.place / "state").exists()


def test_recover_before_main_does_nothing(shop):
    shop.step(STOP, "preflight")
    assert not shop.step(STOP, "recover").changed
    assert shop.started() == []


@pytest.mark.parametrize("options", [{"linger": 0.8}, {"child": 0.8}], ids=["ignores SIGTERM", "child keeps the port"])
@pytest.mark.parametrize("kind", ["supervised", "commanded", "without pid file"])
def test_waits_for_what_is_slow_to_go(rig, options, kind):
    if kind == "supervised":
        port = rig.supervised("web", **options)
        rig.start_supervisord()
    else:
        port = rig.commanded("web", pid_file=kind == "commanded", **options)
        rig.run("web", "start")
    rig.until(lambda: listens(port))
    begun = time.monotonic()
    rig.step(STOP, "main")
    assert time.monotonic() - begun > 0.7
    assert not listens(port)


def test_names_the_process_that_stays(rig):
    port = rig.supervised("web", child=600)
    rig.start_supervisord()
    rig.until(lambda: listens(port))
    with pytest.raises(PhaseError, match=r"web was told to stop, and after 1\.5 s") as caught:
        rig.step(STOP, "main", timeout=1.5)
    (left,) = caught.value.facts["left"]
    assert f"process {left} (" in str(caught.value) and f"port {port} is held by process {left} (" in str(caught.value)
    assert "stopasgroup=true" in str(caught.value)
    os.kill(left, signal.SIGKILL)


def test_names_a_stranger_on_the_port(rig):
    rig.commanded("web")
    with socket.socket() as stranger:
        rig.run("web", "start")
        rig.until(lambda: listens(rig.items[0]["port"]))
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        rig.items[0]["ports"] = [stranger.getsockname()[1]]
        with pytest.raises(PhaseError, match=rf"port {stranger.getsockname()[1]} is held by process {os.getpid()} "):
            rig.step(STOP, "main", timeout=1.0)


def test_says_when_it_still_runs(rig):
    rig.commanded("web")
    rig.items[0].update(status=["true"], stop=["true"], pid_file=None)
    with pytest.raises(PhaseError, match=r"web was told to stop, and after 0\.5 s it still runs"):
        rig.step(STOP, "main", timeout=0.5)


def test_says_when_something_starts_it_again(rig):
    rig.commanded("web")
    rig.commanded("watchdog")
    rig.run("web", "start")
    rig.run("watchdog", "start")
    rig.until(lambda: all(listens(item["port"]) for item in rig.items))
    rig.items[1]["stop"] = ["sh", "-c", '"$0" stop; "$1" start', rig.items[1]["stop"][0], rig.items[0]["start"][0]]
    with pytest.raises(PhaseError, match=r"web was stopped and has been started again by something else"):
        rig.step(STOP, "main")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": "/nowhere.conf"}, r"web: there is no file /nowhere\.conf\. Set `config`"),
        ({"supervisorctl": "/nowhere/supervisorctl"}, r"no program /nowhere/supervisorctl.*Set `supervisorctl`"),
        ({"manager": "command", "start": ["x"], "stop": ["x"], "status": ["x"]}, "`config` is for manager supervisord"),
        ({"port": 70000}, "70000 is no port"),
        ({"name": "-x y"}, "cannot be the name of a service"),
    ],
)
def test_faults_are_named(rig, change, says):
    rig.supervised("web")
    rig.items[0].update(change)
    with pytest.raises(PhaseError, match=says):
        rig.step(STOP, "preflight")


def test_an_unknown_program_is_named_and_then_a_supervisord_that_is_down(rig):
    for name in ("idle", "web"):
        rig.supervised(name, autostart=False)
    rig.start_supervisord()
    rig.items[1]["name"] = "wbe"
    with pytest.raises(PhaseError, match=r"supervisord\.conf has no program wbe\. It has idle, web\."):
        rig.step(STOP, "preflight")
    rig.supervisord.terminate()
    rig.supervisord.wait(20)
    with pytest.raises(PhaseError, match=r"supervisord with .*supervisord\.conf does not answer: .*Start it"):
        rig.step(STOP, "preflight")


def test_an_empty_list_is_named(rig):
    with pytest.raises(PhaseError, match=r"service_stop has no services\. List .* rollback_services"):
        rig.step(STOP, "preflight")


def test_a_missing_command_is_named(rig):
    rig.commanded("web")
    rig.items[0]["stop"] = ["/nowhere/stop"]
    with pytest.raises(PhaseError, match="web: the stop command cannot run, there is no program /nowhere/stop"):
        rig.step(STOP, "preflight")

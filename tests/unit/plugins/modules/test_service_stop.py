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
from ansible_collections.changeops.rollback.plugins.module_utils import _service_script, _services
from ansible_collections.changeops.rollback.plugins.module_utils import _service_stop as phases
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

NOTHING = {"config": None, "supervisorctl": None}
COMMANDED = {**NOTHING, "manager": "command", "start": ["true"], "stop": ["true"], "status": ["true"]}
COMMANDED["running_when"] = "output"

ADVICE = "End it, or give the phase a longer timeout"
STAYS = Refusal(
    "a process that outlives the stop",
    f"web was told to stop, and after 4 s process <number> (<command>) is still there and port <port> is held by "
    f"process <number> (<command>). {ADVICE}, or set stopasgroup=true and killasgroup=true for the program in "
    "supervisord's configuration, and run the same command again.",
)
STRANGER = Refusal(
    "a port that something else holds",
    "web was told to stop, and after 1 s port <port> is held by process <number> (<command>). "
    f"{ADVICE}, and run the same command again.",
)
STILL = Refusal(
    "a service whose status command says that it runs on",
    f"web was told to stop, and after 0.5 s it still runs. {ADVICE}, and run the same command again.",
)
AGAIN = Refusal(
    "a service that something starts again",
    "web was stopped and has been started again by something else on this host. Find what did it (a timer, a watchdog, "
    "a person), end that, and run the same command again.",
)

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
    with pytest.raises(PhaseError) as caught:
        rig.step(STOP, "main", timeout=4.0)
    (left,) = caught.value.facts["left"]
    assert STAYS.matches(str(caught.value)), str(caught.value)
    assert f"process {left} (" in str(caught.value) and f"port {port} is held by process {left} (" in str(caught.value)
    os.kill(left, signal.SIGKILL)


def test_names_a_stranger_on_the_port(rig):
    rig.commanded("web")
    with socket.socket() as stranger:
        rig.run("web", "start")
        rig.until(lambda: listens(rig.items[0]["port"]))
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        rig.items[0]["ports"] = [stranger.getsockname()[1]]
        with pytest.raises(PhaseError) as caught:
            rig.step(STOP, "main", timeout=1.0)
    assert STRANGER.matches(str(caught.value)) and f"process {os.getpid()} (" in str(caught.value), str(caught.value)


def test_says_when_it_still_runs(rig):
    rig.commanded("web")
    rig.items[0].update(status=["true"], stop=["true"], pid_file=None)
    with pytest.raises(PhaseError) as caught:
        rig.step(STOP, "main", timeout=0.5)
    assert STILL.matches(str(caught.value)), str(caught.value)


def test_says_when_something_starts_it_again(rig):
    rig.commanded("web")
    rig.commanded("watchdog")
    rig.run("web", "start")
    rig.run("watchdog", "start")
    rig.until(lambda: all(listens(item["port"]) for item in rig.items))
    rig.items[1]["stop"] = ["sh", "-c", '"$0" stop; "$1" start', rig.items[1]["stop"][0], rig.items[0]["start"][0]]
    with pytest.raises(PhaseError) as caught:
        rig.step(STOP, "main")
    assert AGAIN.matches(str(caught.value)), str(caught.value)


PREFLIGHT = [
    Refusal(
        "a configuration of supervisord that is not there",
        "web: there is no file /nowhere.conf. Set `config` of it to the path of supervisord.conf.",
        {"config": "/nowhere.conf"},
    ),
    Refusal(
        "a supervisorctl that is not there",
        "web: there is no program /nowhere/supervisorctl on this host. Set `supervisorctl` of it to the path.",
        {"supervisorctl": "/nowhere/supervisorctl"},
    ),
    Refusal(
        "a command whose program is not there",
        "web: the stop command cannot run, there is no program /nowhere/stop on this host.",
        {**COMMANDED, "stop": ["/nowhere/stop"]},
    ),
    Refusal(
        "a program that supervisord does not know",
        "supervisord with <file> has no program wbe. It has idle, web.",
        {"name": "wbe"},
    ),
    Refusal(
        "a supervisord that is down",
        "supervisord with <file> does not answer: <what it said>. "
        "Start it (supervisord -c <file>), or correct `config` of the service.",
        "down",
    ),
    Refusal(
        "a status command that fails, where its output counts",
        "The status command of web failed with exit code 1: Cannot connect to the Docker daemon. With "
        "`running_when: output` it has to end with 0, and print something only when the service runs.",
        {**COMMANDED, "status": ["sh", "-c", "echo Cannot connect to the Docker daemon; exit 1"]},
    ),
    Refusal(
        "a systemd that is not there",
        "web: there is no systemctl on this host. "
        "Set its `manager` to service, supervisord or command, whatever starts it.",
        {**NOTHING, "manager": "systemd"},
    ),
    Refusal(
        "an init script that is not there",
        "There is no init script <folder>/web. There is we.",
        {**NOTHING, "manager": "service"},
    ),
    Refusal(
        "no services",
        "service_stop has no services. List the app's services in rollback_services (or service_stop_services), "
        "or leave service_stop out of the plan.",
        "none",
    ),
]


REFUSALS = [*PREFLIGHT, STAYS, STRANGER, STILL, AGAIN]


@pytest.mark.parametrize("refusal", PREFLIGHT, ids=lambda refusal: refusal.case)
def test_preflight_refuses_with_a_sentence(rig, refusal, monkeypatch, tmp_path):
    for name in ("idle", "web"):
        rig.supervised(name, autostart=False)
    item = rig.items.pop()
    if refusal.case.startswith("a program that"):
        rig.start_supervisord()
    elif refusal.given == "down":
        rig.config.write_text("[supervisorctl]\nserverurl=unix:///nowhere\n")
    elif refusal.case.startswith("a systemd"):
        monkeypatch.setenv("PATH", str(tmp_path))
    elif refusal.case.startswith("an init script"):
        (tmp_path / "we").write_text("")
        (tmp_path / "service").write_text("")
        (tmp_path / "service").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(_service_script, "FOLDER", str(tmp_path))
        monkeypatch.setattr(_services, "BOOTED", "/nowhere")
    else:
        rig.config.write_text("")
    rig.items.clear()
    if refusal.given != "none":
        rig.items.append({**item, **(refusal.given if isinstance(refusal.given, dict) else {})})
    with pytest.raises(PhaseError) as caught:
        rig.step(STOP, "preflight")
    assert refusal.matches(str(caught.value)), str(caught.value)

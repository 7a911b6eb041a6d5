# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Managers: what they print and what they are told. A real systemd is at work in tests/integration/test_systemd.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _processes
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._service_command import Given
from ansible_collections.changeops.rollback.plugins.module_utils._service_family import start_order, unfold
from ansible_collections.changeops.rollback.plugins.module_utils._service_manager import State
from ansible_collections.changeops.rollback.plugins.module_utils._service_supervisord import (
    Supervisord,
    parse_supervisord,
)
from ansible_collections.changeops.rollback.plugins.module_utils._service_systemd import Systemd, unit_state
from ansible_collections.changeops.rollback.plugins.module_utils._services import Service, read_states, services_from
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal


@pytest.mark.parametrize(
    ("active", "sub", "more", "state"),
    [
        ("active", "running", "MainPID=7\nNRestarts=2", State("running", "", True, True, (7,), 2)),
        ("active", "exited", "MainPID=0", State("running", "", True, True)),
        ("reloading", "reload", "MainPID=7", State("running", "", True, True, (7,))),
        ("activating", "start", "MainPID=7", State("running", "", True, False, (7,))),
        ("activating", "auto-restart", "MainPID=0\nNRestarts=5", State("failed", "", True, False, (), 5)),
        ("deactivating", "stop-sigterm", "MainPID=7", State("running", "", True, False, (7,), stopping=True)),
        ("inactive", "dead", "MainPID=0", State("stopped", "")),
        ("failed", "failed", "MainPID=0", State("failed", "")),
        ("inactive", "dead", "LoadState=not-found", State("stopped", "", known=False)),
        ("active", "running", "ControlGroup=/a=b.slice", State("running", "", True, True, cgroup="/a=b.slice")),
        ("activating", "start", "Type=oneshot\nMainPID=7", State("working", "", True, False, (7,), ends=True)),
        ("active", "exited", "Type=oneshot\nRemainAfterExit=yes", State("running", "", True, True)),
        ("inactive", "dead", "LoadState=masked", State("stopped", "", masked=True)),
        ("inactive", "dead", "UnitFileState=enabled", State("stopped", "", enabled=True)),
    ],
)
def test_unit_state(active, sub, more, state):
    values = dict(line.split("=", 1) for line in f"ActiveState={active}\nSubState={sub}\n{more}".splitlines())
    assert unit_state(values) == State(**{**vars(state), "said": f"{active} ({sub})"})


LINES = """web                              RUNNING   pid 12, uptime 0:00:03
job:job_00                       RUNNING   pid 13, uptime 1 day, 0:00:03
job:job_01                       BACKOFF   Exited too quickly (process log may have details)
wait                             STARTING
bye                              STOPPING
off                              STOPPED   Nov 22 11:30 PM
end                              EXITED    Nov 22 11:30 PM
bad                              FATAL     Exited too quickly (process log may have details)
none: ERROR (no such process)
"""


@pytest.mark.parametrize(
    ("name", "word", "active", "up", "pids"),
    [
        ("web", "running", True, True, (12,)),
        ("web:web", "running", True, True, (12,)),
        ("job:job_00", "running", True, True, (13,)),
        ("job:job_01", "failed", True, False, ()),
        ("job:*", "failed", True, False, (13,)),
        ("wait", "running", True, False, ()),
        ("bye", "running", True, False, ()),
        ("off", "stopped", False, False, ()),
        ("end", "stopped", False, False, ()),
        ("bad", "failed", False, False, ()),
    ],
)
def test_parse_supervisord(name, word, active, up, pids):
    state = parse_supervisord(LINES, [name])[name]
    assert (state.word, state.active, state.up, state.pids, state.known) == (word, active, up, pids, True)


def test_parse_supervisord_unknown():
    assert not parse_supervisord(LINES, ["none"])["none"].known


def test_services_from_gives_values():
    item = {
        "name": "a",
        "manager": "command",
        "start": ["x"],
        "stop": ["y"],
        "status": ["z"],
        "port": 1,
        "ports": [2, 1],
    }
    assert services_from([item]) == [Service("a", Given(("x",), ("y",), ("z",)), (1, 2))]
    assert services_from([{"name": "a", "manager": "supervisord"}]) == [Service("a", Supervisord())]


REFUSALS = [
    Refusal("a service that is listed twice", "a is listed twice. List each service once.", [{"name": "a"}] * 2),
    Refusal(
        "an option of another manager",
        "a: `pid_file` is for manager command; this service has manager systemd.",
        [{"name": "a", "manager": "systemd", "pid_file": "/x"}],
    ),
    Refusal(
        "a scope where systemd was not named",
        "a: `scope` is for manager systemd; this service has manager service.",
        [{"name": "a", "scope": "user"}],
    ),
    Refusal(
        "a service without a command to start it",
        "a: `start` is empty.",
        [{"name": "a", "manager": "command", "start": [], "stop": ["x"], "status": ["x"]}],
    ),
    Refusal("a port that is none", "a: 70000 is no port. Ports are 1 to 65535.", [{"name": "a", "ports": [70000]}]),
    Refusal(
        "a port of several instances",
        "shop@*.service: a port belongs to one instance. List the instances that have ports by name.",
        [{"name": "shop@*.service", "port": 8080}],
    ),
    Refusal(
        "a template without an instance",
        "shop@.service is a template. Name an instance (shop@1.service) or all that are loaded (shop@*.service).",
        [{"name": "shop@.service"}],
    ),
    Refusal(
        "a name that cannot be one, and another fault",
        "'-a b' cannot be the name of a service. Use letters, digits and . _ - @ : without spaces. "
        "c: -1 is no port. Ports are 1 to 65535.",
        [{"name": "-a b"}, {"name": "c", "port": -1}],
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_services_from_names_all_faults(refusal):
    with pytest.raises(PhaseError) as caught:
        services_from(refusal.given)
    assert refusal.matches(str(caught.value)), str(caught.value)


@pytest.mark.parametrize(("rc", "word"), [(0, "running"), (3, "stopped"), (1, "stopped"), (127, "stopped")])
def test_status_of_given_commands(rc, word):
    service = Service("a", Given(("true",), ("true",), ("sh", "-c", f"exit {rc}")))
    assert read_states(Commands(5.0), [service])["a"].word == word


@pytest.mark.parametrize(("out", "word"), [("4711", "running"), ("", "stopped"), ("\n", "stopped")])
def test_status_of_commands_whose_output_counts(out, word):
    service = Service("a", Given(("true",), ("true",), ("echo", out), running_when="output"))
    assert read_states(Commands(5.0), [service])["a"].word == word


def test_units_are_stopped_before_what_they_are_started_after_and_started_the_other_way_round():
    units = {"web": ["x.timer", "web.socket", "part.service", "web"], "db": ["db"]}
    given = [Service("web", Systemd(), (80,)), Service("db", Systemd())]
    services = unfold(given, units)
    assert [(s.name, s.ports, s.listed, s.socket) for s in services] == [
        ("x.timer", (), False, True),
        ("web.socket", (), False, True),
        ("part.service", (), False, True),
        ("web", (80,), True, True),
        ("db", (), True, False),
    ]
    assert [s.name for s in start_order(services)] == ["db", "web.socket", "web", "part.service", "x.timer"]


def test_a_stale_pid_file_is_not_believed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / "pid").write_text(f"{dead.pid}\n")
    service = Service("a", Given(("true",), ("true",), ("true",), str(tmp_path / "pid")))
    assert read_states(Commands(5.0), [service])["a"].pids == ()


def test_trace_sees_children_and_the_group_and_no_zombies():
    parent = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; exec sleep 600"], stdout=-1, start_new_session=True)
    child = int(parent.stdout.readline())
    trace = _processes.Trace([parent.pid])
    assert trace.left() == sorted([parent.pid, child]) and trace.alive()
    parent.kill()
    while _processes.stat(parent.pid):
        pass
    assert trace.left() == [child] and not trace.alive()  # the parent is a zombie: we have not asked for it yet
    os.kill(child, signal.SIGKILL)
    while trace.left():
        pass
    parent.wait()
    parent.stdout.close()
    assert not _processes.Trace([parent.pid]).alive()


def test_port_of_a_process_is_found():
    code = (
        "import socket;s=socket.socket();s.bind(('127.0.0.1',0));s.listen();print(s.getsockname()[1],flush=1);input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, stderr=-3, text=True) as process:
        port = int(process.stdout.readline())
        found = _processes.probe("127.0.0.1", port), _processes.holders(port)
    assert found == (True, [process.pid])
    assert _processes.probe("127.0.0.1", port) is False
    assert "may not see" in _processes.who_holds(port)


def test_describe_masks_secrets():
    argv = [sys.executable, "-c", "print(flush=True); input()", "--password=hunter2"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        said = _processes.describe(process.pid)
    assert said.startswith(f"process {process.pid} ({os.path.basename(sys.executable)} -c ")
    assert "--password=********" in said and "hunter2" not in said


def test_a_port_that_is_held_and_silent_is_not_free():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        clients = [socket.socket() for _client in range(4)]  # fill the queue
        for client in clients:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        assert _processes.probe("127.0.0.1", server.getsockname()[1]) is None
        for client in clients:
            client.close()

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""service_stop and service_start with Docker Compose, with init scripts, and with groups of supervisord."""

from __future__ import annotations

import os

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import (
    _service_script,
    _service_start,
    _service_stop,
    _services,
)
from ansible_collections.changeops.rollback.plugins.module_utils._processes import probe

PHASES = {
    phase: {step: getattr(module, f"{phase}_{step}") for step in ("preflight", "main", "recover")}
    for phase, module in (("stop", _service_stop), ("start", _service_start))
}

# A STAND-IN for docker with a running engine, which tests cannot count on. `compose ps --status running -q SERVICE`
# prints the ids of its running containers, and ends with 0 also where it prints nothing; `stop` keeps the container;
# `up` says what it does on stderr (docs.docker.com/reference/cli/docker/compose). The container is a real process.
DOCKER = """#!/bin/sh
[ "$1 $2 $3" = "compose -f {place}/compose.yml" ] || exit 125
shift 3
case "$*" in
  "ps --status running -q web") {script} status && echo 6ad2c1f0b7e4 || true ;;
  "stop web") {script} stop ;;
  "up --detach --no-deps web") echo " Container shop-web-1  Started" >&2; {script} start ;;
  *) echo "unknown command: $*" >&2; exit 16 ;;
esac
"""


def in_and_out(rig, port):
    """Stop, recover, stop again, start: what ran runs, on its port."""
    rig.until(lambda: probe("127.0.0.1", port) is True)
    for way in ("stop", "start"):
        found = rig.step(PHASES["stop"], "preflight", phase="stop", root=way)
        assert list(found.before["services"].values()) == ["running"], found
        rig.step(PHASES["start"], "preflight", phase="start", root=way)
        assert rig.step(PHASES["stop"], "main", phase="stop", root=way).changed
        assert probe("127.0.0.1", port) is False
        assert not rig.step(PHASES["stop"], "main", phase="stop", root=way).changed
        step = "recover" if way == "stop" else "main"
        assert rig.step(PHASES[way], step, phase=way, root=way).changed
        assert probe("127.0.0.1", port) is True
        assert not rig.step(PHASES[way], step, phase=way, root=way).changed
    return found


def test_docker_compose_by_commands(rig):
    port = rig.commanded("web")
    script = rig.items.pop()["start"][0]
    docker = rig.place / "docker"
    docker.write_text(DOCKER.format(place=rig.place, script=script))
    docker.chmod(0o755)
    compose = [str(docker), "compose", "-f", f"{rig.place}/compose.yml"]
    verbs = {
        "start": [*compose, "up", "--detach", "--no-deps", "web"],
        "stop": [*compose, "stop", "web"],
        "status": [*compose, "ps", "--status", "running", "-q", "web"],
    }
    rig.items.append({"name": "web", "manager": "command", "running_when": "output", "port": port, **verbs})
    rig.run("web", "start")
    in_and_out(rig, port)


@pytest.mark.parametrize("program", ["service", "rc-service"])
def test_an_init_script(rig, program, monkeypatch):
    """The script is the rig's, run by a program that does what ``service`` and ``rc-service`` do with it."""
    port = rig.commanded("web")
    script = rig.items.pop()["start"][0]
    folder = rig.place / "init.d"
    folder.mkdir()
    (folder / "web").symlink_to(script)
    runner = rig.place / "bin" / program
    runner.parent.mkdir()
    runner.write_text(f"#!/bin/sh\nexec {folder}/$1 $2\n")
    runner.chmod(0o755)
    monkeypatch.setenv("PATH", f"{runner.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(_service_script, "FOLDER", str(folder))
    monkeypatch.setattr(_services, "BOOTED", "/nowhere")
    rig.items.append(
        {"name": "web", "pid_file": script.replace(".sh", ".pid"), "port": port, "start": [script, "start"]}
    )
    rig.run("web", "start")
    del rig.items[0]["start"]
    assert in_and_out(rig, port).before["pids"]["web"]


def test_a_group_of_supervisord_and_what_would_start_again_with_it(rig):
    port = rig.supervised("web")
    rig.programs += "[program:job]\ncommand=sleep 600\nautostart=false\nstartsecs=0\nnumprocs=2\n"
    rig.programs += "process_name=%(program_name)s_%(process_num)02d\n"
    rig.programs += "[group:shop]\nprograms=web,job\n"
    rig.start_supervisord()
    rig.until(lambda: probe("127.0.0.1", port) is True)
    item = rig.items[0]
    for name, says in (
        ("shop:*", "If supervisord is itself restarted meanwhile, it starts shop:* again (autostart=true)."),
        ("shop:web", "If supervisord is itself restarted meanwhile, it starts shop:web again (autostart=true)."),
        ("shop:job_00", ""),
    ):
        rig.items = [{**item, "name": name, "port": None}]
        assert rig.step(PHASES["stop"], "preflight", root=f"R-{port}-{name[-2:]}").msg.endswith(says or "is stopped.")
    rig.items = [{**item, "name": "shop:*"}]
    rig.ctl("start", "shop:job_01")
    in_and_out(rig, port)

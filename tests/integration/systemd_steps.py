# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the test host: does a list of things to real units, and prints what each came to, as JSON.

All in one process, because each entry into a container takes longer than the work there. A thing is a list:
``["add", {unit: text}]``, ``["ctl", argument...]``, ``["look", unit...]``, ``["holds"]``, ``["sh", text]``, a step,
``[<phase>, <step>, services, options]``, in the words of the modules service_stop and service_start, or
``["killed", things, thing, things]``, which is a thing whose process is killed instead of its first call of systemctl,
then its second, and so on, with things done before and after it each time.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import subprocess
import sys
import typing as t

from ansible_collections.changeops.rollback.plugins.module_utils import _service_start, _service_stop
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint

USER = os.geteuid() != 0
FOLDER = os.path.expanduser("~/.config/systemd/user") if USER else "/etc/systemd/system"
STATE = os.path.expanduser("~/state") if USER else "/var/lib/changeops"
OPTIONS = {"wait": 1.0, "stays_up": 0.1, "hold": True, "drain": [], "undrain": [], "drain_wait": 0.0}
OPTIONS.update(drain_timeout=5.0, timeout=20.0)


def sh(text: str) -> str:
    done = subprocess.run(["sh", "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True)
    return done.stdout.strip()


def ctl(*args: str) -> str:
    argv = ["systemctl", "--user" if USER else "--system", *args]
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True).stdout.strip()


def add(units: dict[str, str]) -> None:
    os.makedirs(FOLDER, exist_ok=True)
    for name, text in units.items():
        with open(os.path.join(FOLDER, name), "w") as stream:
            stream.write(text)
    ctl("daemon-reload")


def look(*names: str) -> dict[str, list[str]]:
    """How units stand: active or not, enabled or not."""
    blocks = ctl("show", "--property=ActiveState,UnitFileState", "--", *names).split("\n\n")
    values = [dict(line.split("=", 1) for line in block.splitlines()) for block in blocks]
    return {name: [v["ActiveState"], v["UnitFileState"]] for name, v in zip(names, values)}  # noqa: B905 - Python 3.8 has no strict


def holds() -> list[str]:
    return sorted(path.split("/")[-2][:-2] for path in glob.glob(f"{FOLDER}/*/99-changeops-rollback-stopped.conf"))


def step(phase: str, name: str, services: list[t.Any], options: dict[str, t.Any]) -> dict[str, t.Any]:
    scope = {"scope": "user"} if USER else {}
    items = [{"manager": "systemd", **scope, **(s if isinstance(s, dict) else {"name": s})} for s in services]
    root = options.pop("root", "R1")
    params = {**OPTIONS, "restore_point": None if root == "standalone" else root, "services": items, **options}
    module = {"stop": _service_stop, "start": _service_start}[phase]
    functions = {one: getattr(module, f"{phase}_{one}") for one in ("preflight", "main", "recover")}
    point = RestorePoint(f"{STATE}/{root}/service_{phase}")
    try:
        return dataclasses.asdict(run_step(name, params, point, functions, params.pop("check", False)))
    except PhaseError as exc:
        return {"failed": True, "msg": str(exc), **exc.facts}


KILLER = """#!/bin/sh
n=$(($(cat /run/shop-calls) + 1))
echo $n >/run/shop-calls
if [ $n = "$KILL_AT" ]; then kill -9 $PPID; exit 1; fi
exec /usr/bin/systemctl "$@"
"""


def killed(before: list[t.Any], thing: list[t.Any], after: list[t.Any]) -> list[t.Any]:
    """Returns, for each time, what came after. The last one was not killed, as it calls systemctl less often."""
    os.makedirs("/run/shop-path", exist_ok=True)
    with open("/run/shop-path/systemctl", "w") as stream:
        stream.write(KILLER)
    os.chmod("/run/shop-path/systemctl", 0o755)
    found: list[t.Any] = []
    code = -9
    while code == -9:
        for one in before:
            do(*one)
        sh("echo 0 >/run/shop-calls")
        env = {**os.environ, "PATH": f"/run/shop-path:{os.environ['PATH']}", "KILL_AT": str(len(found) + 1)}
        argv = [sys.executable, "-B", __file__]
        text = json.dumps([thing]).encode()
        code = subprocess.run(argv, env=env, input=text, stdout=subprocess.DEVNULL, check=False).returncode
        found.append([do(*one) for one in after])
    return found


def clear() -> None:
    """Leave nothing of a test behind."""
    loaded = [line.split()[0] for line in ctl("list-units", "--all", "--plain", "--no-legend", "shop*").splitlines()]
    if loaded:
        # first, as a connection that nobody accepts makes a socket start its service again, which then keeps the port
        ctl("stop", *[name for name in loaded if name.endswith((".socket", ".timer", ".path"))])
        ctl("kill", "--signal=KILL", *loaded)
        ctl("stop", *loaded)
        ctl("disable", *loaded)
    sh(f"rm -rf {FOLDER}/shop* {FOLDER}/*/shop* {STATE}/R1 {STATE}/standalone; rm -rf /run/shop*")
    ctl("daemon-reload")
    ctl("reset-failed")


def do(kind: str, *args: t.Any) -> t.Any:
    if kind in ("stop", "start"):
        return step(kind, args[0], args[1], dict(args[2]) if len(args) > 2 else {})
    things: dict[str, t.Callable[..., t.Any]] = {"add": add, "ctl": ctl, "look": look, "holds": holds, "sh": sh}
    things.update(clear=clear, killed=killed)
    return things[kind](*args)


if __name__ == "__main__":
    json.dump([do(*thing) for thing in json.load(sys.stdin)], sys.stdout)

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module barrier under a real ansible-playbook: who has come, who has failed, and who will not come any more."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
from pathlib import Path

from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_slices import arrive, look
from ansible_collections.changeops.rollback.plugins.plugin_utils._slices import Slice

HERE = this_process(os.getpid())
GONE = dataclasses.replace(HERE, pid_started="1")


def test_who_is_there_is_gone_on_with_and_who_does_not_come_is_named(
    tmp_path: Path, run_tasks: t.Callable[..., str]
) -> None:
    url = f"sqlite:///{tmp_path}/history.sqlite"
    store = Store(url)
    for number, process in ((1, HERE), (2, GONE)):
        asked = Asked("C001", "d1", "dana", f"AWX job {number}", part=Slice(number, 3), hosts=(f"w{number}",))
        run = store.open_run(asked, process)["id"]
    for number in (2, 3):
        arrive(store, run, number, "ready", {"pending": number == 3, "hosts": [f"w{number}"]})

    def barrier(name: str, register: str, **more: t.Any) -> dict[str, t.Any]:
        arguments = {"run": run, "slice": "1/3", "barrier": name, "url": url, **more}
        return {"changeops.rollback.barrier": arguments, "register": register, "ignore_errors": True}

    names = ("ready", "late", "failed", "forward", "back")
    tasks = [
        barrier("ready", "ready", told={"pending": False, "hosts": ["w1"]}),
        barrier("start", "late", wait=1),
        barrier("failure", "failed", state="failed"),
        barrier("main-1-1", "forward"),
        barrier("recover-1", "back", state="back", told={"unsure": ["w1"]}),
        {"ansible.builtin.copy": {"dest": f"{tmp_path}/found.json", "content": f"{{{{ [{', '.join(names)}] }}}}"}},
    ]
    run_tasks(tmp_path, tasks)
    found = dict(zip(names, json.loads((tmp_path / "found.json").read_text()), strict=True))
    assert found["ready"]["met"] == {"pending": True, "hosts": ["w1", "w2", "w3"]}
    silent = "slice 2 of 3 (w2; AWX job 2) gives no sign of life"
    assert found["late"]["msg"] in (f"{silent}.", f"{silent}; slice 3 of 3 has not started within 1 s.")
    assert [part.lost for part in look(store, run, "start")[0]] == [False, True]
    assert not found["failed"]["failed"]
    assert found["forward"]["msg"] == f"slice 1 of 3 (w1; AWX job 1) failed, see there; {silent}."
    assert (found["back"]["gone"], found["back"]["met"]) == ([silent], {"unsure": ["w1"]})
    assert not [name for name, result in found.items() if result["changed"]]

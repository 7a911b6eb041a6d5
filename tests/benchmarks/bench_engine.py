# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine costs apart from hosts: simulated ones, the history's share, and the loading of plans."""

from __future__ import annotations

import json
import shutil
import statistics
import time
import typing as t
from pathlib import Path

import yaml
from bench_rig import CALLBACKS, CONFIG, Rig, Round, WrongEnd

PLANS = 100


def kept_answers(rig: Rig) -> Path:
    """Roll a real host back once more; returns the file of all that it answered."""
    if len(rig.addresses) != 1:
        raise ValueError("answers are kept of one host")
    answers = rig.place / "answers.jsonl"
    answers.unlink(missing_ok=True)
    rig.round("ours", ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS), BENCH_KEEP=str(answers))
    return answers


def waited(answers: Path) -> float:
    """Seconds that a host took for all its answers."""
    return sum(float(json.loads(line)["seconds"]) for line in answers.read_text().splitlines())


def simulated(rig: Rig, answers: Path, size: int) -> Round:
    """A whole rollback of hosts that are not there: each gives the answers of the real one, after the same time.

    :raises WrongEnd: it did not succeed on each of them.
    """
    place = rig.place / "simulated"
    shutil.rmtree(place, ignore_errors=True)
    (place / "asked").mkdir(parents=True)
    ops = rig.ops
    hosts, root, url = ops.hosts, ops.root, ops.group_vars["rollback_history_url"]
    try:
        ops.root = rig.place / "ours-simulated"
        shutil.rmtree(ops.root, ignore_errors=True)
        ops.root.mkdir()
        ops.hosts = {f"sim{number:04}": {} for number in range(1, size + 1)}
        ops.group_vars["rollback_history_url"] = f"sqlite:///{ops.root}/history.sqlite"
        ops.write()
        (ops.root / "ansible.cfg").write_text(CONFIG.read_text())
        cost = rig.run(
            "ours",
            directory=ops.root,
            ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS),
            BENCH_GIVE=str(answers),
            BENCH_PLACE=str(place / "asked"),
        )
    finally:
        ops.root, ops.hosts, ops.group_vars["rollback_history_url"] = root, hosts, url
    number = len(answers.read_text().splitlines())
    short = [file.name for file in (place / "asked").iterdir() if int(file.read_text()) != number]
    seen = len(list((place / "asked").iterdir()))
    if short or seen != size:
        raise WrongEnd(f"of {size} simulated hosts {seen} were asked, and not all that there is: {short[:5]}")
    return cost


def history_share(rig: Rig) -> Round:
    """Seconds that a rollback took and that it worked for the history, on real hosts."""
    out = rig.place / "history.json"
    out.unlink(missing_ok=True)
    cost = rig.round("ours", ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS), BENCH_HISTORY=str(out))
    if not out.exists():
        raise WrongEnd(f"The observer's time was not taken: see the warnings in {rig.place / 'ours.log'}.")
    spent = t.cast("Round", json.loads(out.read_text()))
    seconds = spent["observer"] + spent["opening"]
    rounded = {name: round(value, 3) for name, value in spent.items()}
    return {**rounded, "total": cost["total"], "share": round(seconds / cost["total"], 4)}


def load_plans(rig: Rig) -> float:
    """Seconds to load a folder of 100 plans, from the first look at it; the median of several times."""
    from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import list_plans
    from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import load_plan

    plan = yaml.safe_load((rig.ops.root / "changes" / "C001.yml").read_text())
    folder = rig.place / "changes"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(1, PLANS + 1):
        plan["title"] = f"Change {number}"
        (folder / f"C{number:03}.yml").write_text(yaml.safe_dump(plan, sort_keys=False))
    took = []
    for _time in range(7):
        began = time.perf_counter()
        loaded = [load_plan(path) for path in list_plans([folder]).values()]
        took.append(time.perf_counter() - began)
        assert len({one.title for one in loaded}) == PLANS
    return round(statistics.median(took), 4)

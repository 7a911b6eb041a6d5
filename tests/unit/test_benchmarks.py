# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the bench makes of its figures, and how it gets them: of detached processes, of an app that is away."""

from __future__ import annotations

import copy
import http.server
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "callbacks"))
import bench
import bench_figures as figures_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_schema import RUNS
from bench_answers import asked
from bench_history import Clock
from bench_page import page
from bench_plot import figure, plot, round_above
from bench_probe import downtime, probe
from bench_rig import Rig, faults

ROOT = Path(__file__).parents[2]


def rounds(downtime_, total, cpu=1.0, memory=50.0):
    return {"downtime": downtime_, "total": total, "cpu": [cpu] * 3, "memory": [memory] * 3, "largest": [40.0] * 3}


FIGURES = {
    "rounds": 3,
    "machine": {"cores": "2", "Python": "3.11.7"},
    "rigs": {
        "sqlite-1": {
            "script": rounds([1.0, 2.0, 9.0], [5.0, 5.0, 5.0]),
            "pyinfra": rounds([2.0, 2.0, 2.0], [8.0, 8.0, 8.0]),
            "playbook": rounds([8.0, 8.0, 8.0], [30.0, 30.0, 30.0]),
            "ours": {**rounds([1.5, 1.4, 1.6], [9.0, 8.0, 10.0]), "steps": {"main verify": [3.1, 3.2, 3.3]}},
        },
        "sqlite-10": {"script": rounds([2.0] * 3, [6.0] * 3), "ours": rounds([1.8] * 3, [20.0] * 3)},
    },
    "engine": {
        "100": {"total": [60.0], "cpu": [80.0], "memory": [120.0], "largest": [90.0]},
        "1000": {"total": [700.0], "cpu": [900.0], "memory": [250.0], "largest": [150.0]},
    },
    "history": {"sqlite-1": {"opening": [0.2], "observer": [0.1], "total": [10.0], "share": [0.03]}},
    "plans": 0.041,
}


def reached(figures):
    return {row.words: (row.reached, row.value) for row in figures_of.reach(figures)}


def test_ratios_are_of_medians():
    assert figures_of.compared(FIGURES, "sqlite-1", "downtime", "script") == 0.75
    assert figures_of.compared(FIGURES, "sqlite-1", "total", "playbook") == 0.3
    assert figures_of.compared(FIGURES, "sqlite-10", "total", "pyinfra") is None
    assert figures_of.per_host(FIGURES, 1000, "cpu") == 0.9


def test_reach_tells_what_is_reached_what_is_not_and_what_was_not_measured():
    found = reached(FIGURES)
    assert found["downtime by the script's, 1 host, SQLite"] == (True, 0.75)
    assert found["downtime by the script's, 10 hosts, SQLite"] == (False, 0.9)
    assert found["total by the script's, 1 host, SQLite"] == (False, 1.8)
    assert found["total by pyinfra's, 10 hosts, SQLite"] == (None, None)
    assert found["controller CPU for each of 100 simulated hosts"] == (True, 0.8)
    assert found["that for each of 1,000, by that for each of 100"] == (False, 0.9 / 0.8)
    assert found["controller memory at 1,000 simulated hosts"] == (False, 250.0)
    assert found["the history's share of the total, 1 host, SQLite"] == (True, 3.0)
    assert found["loading 100 plans"] == (True, 41.0)


def test_nothing_is_reached_that_was_not_measured():
    nothing = {"rounds": 1, "machine": {}, "rigs": {}, "engine": {}, "history": {}}
    assert {row.reached for row in figures_of.reach(nothing)} == {None}
    assert "not measured" in page(nothing)
    ET.fromstring(plot(nothing))


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        ({"downtime": [2.2, 9.0], "total": [13.0, 99.0]}, []),
        ({"downtime": [2.3, 9.0], "total": [13.0, 99.0]}, ["The downtime of ours is 1.15 times the script's"]),
        ({"downtime": [1.0], "total": [13.6]}, ["The total of ours is 2.72 times the script's"]),
    ],
)
def test_worse_by_half_counts_the_best_round(ours, words):
    now = {"script": {"downtime": [2.0, 4.0], "total": [5.0, 5.0]}, "ours": ours}
    said = figures_of.worse(FIGURES, now, "sqlite-1")
    assert [one.split(" ([")[0] for one in said] == words


def test_page_has_each_figure():
    text = page(FIGURES)
    assert "| `changeops.rollback` | 1.50 | 1 | 9.0 | 1 | 1.00 | 50 |" in text
    assert "| shell script over ssh | 2.00 | 0.75 | 5.0 | 1.80 | 1.00 | 50 |" in text
    assert "| downtime by the script's, 10 hosts, SQLite | 0.7 | 0.90 | **no** |" in text
    assert "| main verify | 3.2 |" in text
    assert "| 1,000 simulated | 700.0 | 0.90 | 250 | 150 |" in text
    assert "3 rounds each" in text and "41 ms" in text and "| cores | 2 |" in text


def test_plot_has_bars_as_long_as_the_downtimes_and_lines_that_rise_with_the_figures():
    svg = ET.fromstring(plot(FIGURES))
    space = {"s": "http://www.w3.org/2000/svg"}
    script, pyinfra, playbook, _ours, *_others = [
        float(one.get("width")) for one in svg.findall("s:rect", space) if one.get("fill") != "#ffffff"
    ]
    assert playbook == pytest.approx(4 * script, rel=0.01) and pyinfra == script
    heights = [float(point.get("cy")) for point in svg.findall("s:circle", space)]
    assert heights[0] > heights[1] and heights[2] > heights[3]


@pytest.mark.parametrize(("value", "above"), [(0.8, 1), (0.95, 2), (120, 200), (250, 500), (9.5, 20), (0, 1)])
def test_axis_ends_with_a_round_figure(value, above):
    assert round_above(value) == above


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (2.5517, "2.55"), (50.0, "50"), (284.4, "284"), (2559.2, "2,559"), (5e3, "5,000")]
)
def test_figures_of_the_plot_are_written_out(value, shown):
    assert figure(value) == shown


def test_names_in_figures_are_no_markup():
    figures = copy.deepcopy(FIGURES)
    figures["rigs"] = {"sqlite-<b>": figures["rigs"]["sqlite-1"]}
    assert "<b>" not in plot(figures)


def test_downtime_is_that_of_all_outages():
    assert downtime([[1.0, 2.5], [4.0, 4.25]]) == 1.75
    assert downtime([[1.0, 2.5], [4.0, None]]) is None
    assert downtime([]) == 0.0


def test_faults_name_what_is_not_as_wanted():
    wanted = {"health": 200, "packages": "humanize", "tree": "abc"}
    assert faults({"health": 200, "packages": ["alembic-1.dist-info"], "tree": "abc"}, wanted) == []
    assert faults({"health": 503, "packages": ["humanize-4.dist-info"], "tree": "abc"}, wanted) == [
        "health is 503, not 200",
        "humanize is still installed",
    ]


class Answers(http.server.BaseHTTPRequestHandler):
    health = 503

    def do_GET(self):
        self.send_response(self.health if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *args):
        pass


def serve(port, health):
    handler = type("Handler", (Answers,), {"health": health})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


def test_probe_sees_an_app_from_its_last_answer_to_when_it_is_healthy():
    """The bad release answers, unhealthy: it is there. One that is back but unhealthy is not."""
    server = serve(0, 503)
    port = server.server_port
    with probe(port, ["127.0.0.1"]) as found:
        time.sleep(0.2)
        began = time.monotonic()
        server.shutdown()
        server.server_close()
        time.sleep(0.4)
        server = serve(port, 503)
        time.sleep(0.4)
        server.shutdown()
        server.server_close()
        server = serve(port, 200)
        time.sleep(0.5)
    ended = time.monotonic()
    server.shutdown()
    server.server_close()
    assert 0.7 < found["127.0.0.1"] < ended - began


DETACHED = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while time.process_time() < 0.4: pass
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read(): time.sleep(0.02)
"""


def test_measured_counts_and_ends_what_detached_itself(tmp_path):
    pid, cost = tmp_path / "pid", tmp_path / "cost.json"
    argv = [ROOT / "tests" / "benchmarks" / "measured.py", cost, sys.executable, "-c", DETACHED, pid]
    assert subprocess.run([sys.executable, *argv], check=False, timeout=60).returncode == 0
    found = json.loads(cost.read_text())
    assert found["cpu"] >= 0.4 and found["largest"] > 1 and found["code"] == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_measured_ends_with_the_exit_code_of_the_command(tmp_path):
    argv = [sys.executable, ROOT / "tests" / "benchmarks" / "measured.py", tmp_path / "cost.json", "sh", "-c", "exit 3"]
    assert subprocess.run(argv, check=False).returncode == 3
    assert json.loads((tmp_path / "cost.json").read_text())["code"] == 3


def test_time_of_a_function_that_another_calls_counts_once():
    clock = Clock()
    inner = clock.time(lambda: time.sleep(0.05))
    outer = clock.time(lambda: (inner(), time.sleep(0.05)))
    began = time.perf_counter()
    outer()
    assert 0.1 <= clock.seconds <= time.perf_counter() - began


@pytest.mark.parametrize(
    ("cmd", "data", "words"),
    [
        (
            "/bin/sh -c python3",
            b"zip... module_fqn='changeops.rollback.status', params",
            "exec changeops.rollback.status",
        ),
        ("python3 /home/deploy/.ansible/tmp/x/AnsiballZ_verify.py", None, "exec verify"),
        ("mkdir -p x-1732", None, "exec"),
    ],
)
def test_what_is_asked_is_the_same_in_each_run(cmd, data, words):
    assert asked("exec", cmd, data) == words


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: uptime
      register: first
    - ansible.builtin.ping:
      register: second
    - ansible.builtin.assert:
        that: [first.stdout == "up for ever", second.ping == "kept"]
"""
ANSWERS = [
    {"asked": "exec", "answer": [0, "up for ever", ""], "seconds": 0.3},
    {"asked": "exec ansible.modules.ping", "answer": [0, '{"ping": "kept"}', ""], "seconds": 0.3},
]


def play(tmp_path, answers):
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "answers").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    (tmp_path / "asked").mkdir()
    environ = {
        "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests" / "benchmarks" / "callbacks"),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "BENCH_GIVE": str(tmp_path / "answers"),
        "BENCH_PLACE": str(tmp_path / "asked"),
    }
    argv = [Path(sys.executable).parent / "ansible-playbook", "-i", "sim1,sim2", "play.yml"]
    began = time.monotonic()
    done = subprocess.run(
        argv, cwd=tmp_path, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    return done, time.monotonic() - began


def test_simulated_hosts_answer_as_the_real_one_did_after_the_same_time(tmp_path):
    done, took = play(tmp_path, ANSWERS)
    assert done.returncode == 0, done.stdout
    assert took > 0.6
    assert {file.name: file.read_text() for file in (tmp_path / "asked").iterdir()} == {"sim1": "2", "sim2": "2"}


def test_simulated_hosts_do_not_answer_what_the_real_one_was_not_asked(tmp_path):
    done, _took = play(tmp_path, [ANSWERS[0], {**ANSWERS[1], "asked": "exec ansible.modules.stat"}])
    assert done.returncode != 0
    assert (
        "Number 2 is exec ansible.modules.ping; the host that was kept was asked: exec ansible.modules.stat"
        in " ".join(done.stdout.split())
    )


def test_steps_are_those_of_the_last_run_over_all_hosts(tmp_path):
    (tmp_path / "ours").mkdir()
    store = Store(f"sqlite:///{tmp_path}/ours/history.sqlite")
    with store.transaction() as connection:
        for run, second in (("A", 0), ("B", 20)):
            values = {column.name: "" for column in RUNS.c if not column.nullable}
            started = f"2026-11-20T12:00:{second:02}.000Z"
            connection.execute(RUNS.insert().values({**values, "id": run, "started": started, "check_mode": False}))
            rows = [
                {
                    **{"host": host, "index": 1, "phase": "stop", "role": "changeops.rollback.service_stop"},
                    **{"step": "main", "status": "ok", "changed": True, "message": "", "before": None, "after": None},
                    **{"started": f"2026-11-20T12:00:{second + 1:02}.000Z", "finished": f"2026-11-20T12:00:{end}.500Z"},
                }
                for host, end in (("web1", f"{second + 2:02}"), ("web2", f"{second + 4:02}"))
            ]
            store.save_rows(connection, run, rows, [])
    rig = Rig.__new__(Rig)
    rig.place = tmp_path
    assert rig.steps() == {"main service_stop": 3.5}


class Tiring:
    """A rig whose contenders cost as much as there were rounds before, and which is stopped in the fourth."""

    name = "sqlite-1"
    tried = 0

    def round(self, contender):
        self.tried += 1
        if self.tried == 4:
            raise KeyboardInterrupt
        return dict.fromkeys(("downtime", "total", "cpu", "memory", "largest"), self.tried)

    def steps(self):
        return {"main verify": 3.0}


def test_bench_that_was_stopped_goes_on_with_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "KEPT", tmp_path / "kept" / "rounds.json")
    monkeypatch.setattr(bench, "machine", lambda: {"commit": "1234567"})
    rig = Tiring()
    with pytest.raises(KeyboardInterrupt):
        bench.rounds_of(rig, bench.begun(2))
    again = bench.begun(2)
    bench.rounds_of(rig, again)
    totals = {contender: again["rigs"]["sqlite-1"][contender]["total"] for contender in figures_of.CONTENDERS}
    assert totals == {"script": [1, 9], "pyinfra": [2, 6], "playbook": [3, 7], "ours": [5, 8]}
    assert bench.begun(2) == again
    assert bench.begun(3)["rigs"] == {}, "of other rounds"
    monkeypatch.setattr(bench, "machine", lambda: {"commit": "7654321"})
    assert bench.begun(2)["rigs"] == {}, "of another commit"

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rehearsal beside a service that is at work: those who use the service notice nothing of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import typing as t
import urllib.request
from pathlib import Path

from harness import HERE, Ops, Shop

ROWS = 100_000
EVERY = 0.02
# As much work for this machine, which is the controller too, as a rehearsal, and nothing to do with the app.
ELSEWHERE = """\
---
- name: Keep the controller busy
  hosts: shop
  gather_facts: false
  tasks:
    - name: Do nothing
      ansible.builtin.stat:
        path: /
      loop: "{{ range(1000) | list }}"
"""


class Probe(threading.Thread):
    """Asks the app every 20 ms. ``answers``: how many milliseconds each took; ``failures``: what went wrong."""

    def __init__(self, shop: Shop) -> None:
        super().__init__()
        self.url = f"http://127.0.0.1:{shop.facts['port']}/invoices/count"
        self.answers: list[float] = []
        self.failures: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        while not self.over.wait(max(0.0, due - time.monotonic())):
            due = max(due + EVERY, time.monotonic())
            began = time.monotonic()
            try:
                with urllib.request.urlopen(self.url, timeout=5) as answer:
                    json.load(answer)
            except (OSError, ValueError) as exc:
                self.failures.append(str(exc))
            self.answers.append((time.monotonic() - began) * 1000)

    def __enter__(self) -> Probe:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.over.set()
        self.join()


def p95(answers: list[float]) -> float:
    return statistics.quantiles(answers, n=20)[-1]


@contextlib.contextmanager
def writer(shop: Shop, log: Path) -> t.Iterator[None]:
    process = subprocess.Popen([sys.executable, HERE / "writer.py", str(shop.facts["port"]), "W", log])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def beside(ops: Ops, shop: Shop) -> Probe:
    """What the probe sees while the controller has other work."""
    with ops.start("elsewhere.yml") as process:
        time.sleep(1)
        with Probe(shop) as probe:
            time.sleep(4)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGTERM)
    return probe


def test_who_uses_the_service_does_not_notice_a_rehearsal(ops: Ops, shop: Shop, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(shop.database)) as db:
        number = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT"
        db.execute(f"INSERT INTO invoices (number, issued, amount) {number} 'M-' || i, '2026-11-20', i FROM n", (ROWS,))
        db.commit()
    (ops.root / "elsewhere.yml").write_text(ELSEWHERE)
    log = tmp_path / "writer.log"
    said = []
    with writer(shop, log):
        # What else is at work on this machine may disturb one round or another; a rehearsal that does, does in each.
        for _round in range(5):
            before = beside(ops, shop)
            with Probe(shop) as probe:
                done = ops.rehearse()
            after = beside(ops, shop)
            assert done.returncode == 0 and probe.failures == []
            baseline = p95(before.answers + after.answers)
            said.append(f"95 % of {len(probe.answers)} within {p95(probe.answers):.1f} ms, else {baseline:.1f} ms")
            print(said[-1])
            if p95(probe.answers) <= 1.5 * baseline:
                break
        else:
            raise AssertionError(said)
    written = [json.loads(line) for line in log.read_text().splitlines()]
    totals = shop.totals()
    assert written and totals is not None and all(totals[id_] == total for id_, _number, total in written)

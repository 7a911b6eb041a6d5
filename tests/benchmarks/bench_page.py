# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes docs/performance.md from the figures. Pure functions."""

from __future__ import annotations

import typing as t

from bench_figures import CONTENDERS, Figures, Reach, compared, median, of_rig, per_host, reach, words_of

NAMES = {
    "script": "shell script over ssh",
    "pyinfra": "pyinfra",
    "playbook": "ordinary playbook",
    "ours": "`changeops.rollback`",
}
HEAD = """\
# What a rollback costs

Made by `make bench`. The same change of the same app is rolled back on the same hosts by each contender, one after the
other, interleaved, {rounds} round{s} each; the figures are medians. After each round every host has to have the earlier
release: its tree, the database's revision, each row, the config, the packages, /health 200. Else the bench fails.

![Bars of the downtime, lines of growth](performance.svg)
"""
CONTENDERS_ARE = """\
## The contenders

- **shell script over ssh**: `tests/benchmarks/contenders/script.sh`. Stop, downgrade, revert, install, restore the
  config, start, wait for /health, in one connection to each host, all hosts at once. It checks nothing, keeps nothing
  and cannot get back.
- **pyinfra**: the same steps, an operation each, which ends on all hosts before the next begins.
- **ordinary playbook**: the same in 24 tasks of builtin modules, with a look before and after and a backup; facts are
  gathered, and all else is Ansible's default too.
- **`changeops.rollback`**: the seven phases with all that is proven before the stop, the backup, the checks after it
  (which watch the app for three seconds), and the record. The ops repository has the sample one's `ansible.cfg`.

All log in as an account that may use sudo, over connections that are made anew in each round.
"""
CLARITY = """\
## Where speed and clarity conflict

**While the services are down, speed comes first**, as far as a reader can follow. What can be prepared is prepared
before the stop: the reverted tree, its dependencies and what they compile to, the config beside its target, an
interpreter that has loaded the app's Alembic, and a process on the host that has our modules in memory. Phases for
the same hosts come in one include, each is one task on a host, and its options were checked before. What is left is
the app's own end and start, Alembic's transaction, and 0.2 to 0.3 s of Ansible's for the five tasks between them. To
send them as one command would save most of that; then no phase could be a role that somebody uses alone, replaces, or
names for some hosts only, and no barrier could stand between two of them. So we do not.

**Everywhere else clarity comes first.**

- *Controller CPU*: a host is 42 forks of ansible-playbook: tasks, includes, and a check of the options of each role. A
  fork and its end cost 24 ms besides what is done in it, half of that in the kernel. That is 1.0 s for each host; the
  tasks that include the phases are 0.5 s, the checks of options 0.3 s. Below 0.9 s there could be 20 forks at most,
  that is one task that proves all phases at once. (os.times and cProfile in the workers, 10 to 250 simulated hosts.)
  With 1,000 hosts the main process had six times the memory that it has with 100, and a fork copies its page tables:
  by itself 9 ms of a process with 100 MB, 100 ms with 680 MB. What grew with the square of the hosts was the loop
  over batches: each host gave the names of its whole batch back, 41 MB of 209 with 400 hosts, 3 of 127 with 200. It
  loops over numbers since the table was recorded: with 400 hosts 177 MB in place of 216, and 2.9 s CPU for each in
  place of 3.2. The rest is 0.25 MB a host, with 200 as with 400. (Resident memory at the start of each task.)
  Python's garbage collector is no part of it: without it, or with all frozen before the first fork, it is the same.
- *Controller memory* is that of the main process and of as many forks as `forks` in `ansible.cfg` allows.
- *Total*: of a run on one host three seconds are the watch after the start, four to five prove all phases before the
  stop, and the rest is the plan, the locks and the tables of how the app stands before and after. The script has none
  of that.
"""
MEASURES = """\
## How it is measured

- **Downtime**: from outside, each host is asked every 20 ms; from the first request without an answer to the first 200
  of /health. The worst host counts.
- **Total**: from the command to its end. **CPU** and **memory** are the controller's: all processes of the command,
  ssh and its masters too. Memory that several share counts once; it is looked at several times a second, and the most
  that was seen is told.
- **Engine only**: `ansible-playbook` with the real plan, roles, observer and history. Where ssh would start, the
  answers that a real host gave, once, are given to each simulated host, each after the time that it took. So neither
  hosts nor ssh's own processes are in those figures; the ten real hosts beside them have both.
- **The history's share**: all time in the observer, with its imports, its heartbeat and the tables that it shows, and
  the whole task that opens the run.
- Hosts and controller share this machine, so with many hosts the cores are what contenders wait for.
"""
AGAIN = """\
## Again

    make bench                          # hours; writes this page, its plot and tests/benchmarks/recorded.json
    make bench ROUNDS=1 HOSTS=1 SIZES=  # a look: writes .cache/bench instead, as does all that is shorter
    make bench ROUNDS=3 HOSTS=10 SIZES=100

`HOSTS` are numbers of real hosts: containers that boot Debian with systemd and are reached by ssh. The largest number
is also tried on one PostgreSQL. `SIZES` are numbers of simulated hosts. `make test` has a short version of it, one
host, the script against ours, which fails where a ratio is worse by half than the recorded one.
"""


def number(value: float | None, digits: int = 2) -> str:
    """A figure, or a dash."""
    return "-" if value is None else f"{value:,.{digits}f}"


def table(head: t.Sequence[str], rows: t.Iterable[t.Sequence[str]]) -> list[str]:
    """Lines of a table."""
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _reach(row: Reach) -> list[str]:
    unit = f" {row.unit}" if row.unit else ""
    digits = 0 if row.unit in ("MB", "ms") else 2
    said = {True: "yes", False: "**no**", None: "not measured"}[row.reached]
    return [row.words, f"{row.most:g}{unit}", number(row.value, digits) + (unit if row.value is not None else ""), said]


def _contenders(figures: Figures, rig: str) -> t.Iterator[list[str]]:
    for one in CONTENDERS:
        downtime, total, cpu, memory = (
            of_rig(figures, rig, one, measure) for measure in ("downtime", "total", "cpu", "memory")
        )
        by = [compared(figures, rig, measure, one) for measure in ("downtime", "total")]
        ratios = ["1" if one == "ours" else number(value) for value in by]
        yield [NAMES[one], number(downtime), ratios[0], number(total, 1), ratios[1], number(cpu), number(memory, 0)]


def _steps(figures: Figures) -> list[str]:
    rigs = [rig for rig in figures["rigs"] if figures["rigs"][rig].get("ours", {}).get("steps")]
    if not rigs:
        return []
    steps = {rig: figures["rigs"][rig]["ours"]["steps"] for rig in rigs}
    names = list(dict.fromkeys(name for rig in rigs for name in steps[rig]))
    rows = [[name, *(number(median(steps[rig].get(name)), 1) for rig in rigs)] for name in names]
    told = [sum(median(seconds) or 0.0 for seconds in steps[rig].values()) for rig in rigs]
    totals = [of_rig(figures, rig, "ours", "total") or 0.0 for rig in rigs]
    rest = [number(max(0.0, total - known), 1) for total, known in zip(totals, told, strict=True)]
    rows.append(["all else: the start of Ansible, the plan, the locks, the tables before and after, the end", *rest])
    text = "Seconds of each step of `changeops.rollback`, from its first host's start to its last host's end."
    return ["## Where its time goes", "", text, "", *table(["step", *map(words_of, rigs)], rows)]


def _engine(figures: Figures) -> list[str]:
    rows = []
    for size in sorted(map(int, figures.get("engine", {}))):
        spent = figures["engine"][str(size)]
        total, memory, largest = (median(spent.get(name)) for name in ("total", "memory", "largest"))
        cpu = number(per_host(figures, size, "cpu"))
        rows.append([f"{size:,} simulated", number(total, 1), cpu, number(memory, 0), number(largest, 0)])
        real = f"sqlite-{size}"
        if of_rig(figures, real, "ours", "total") is not None:
            seconds, cpu_real, used, most = (
                of_rig(figures, real, "ours", name) for name in ("total", "cpu", "memory", "largest")
            )
            by_host = None if cpu_real is None else cpu_real / size
            rows.append(
                [f"{size:,} real, over ssh", number(seconds, 1), number(by_host), number(used, 0), number(most, 0)]
            )
    if not rows:
        return []
    head = ["hosts", "total, s", "CPU for each host, s", "memory, MB", "of it the largest process, MB"]
    return ["## As the fleet grows (engine only)", "", *table(head, rows)]


def _rest(figures: Figures) -> list[str]:
    rows = []
    for rig, spent in figures.get("history", {}).items():
        opening, observer, share = (median(spent.get(name)) for name in ("opening", "observer", "share"))
        rows.append([words_of(rig), number(opening), number(observer), f"{number(share and share * 100, 1)} %"])
    lines = table(["the history", "opening the run, s", "the observer, s", "of the total"], rows) if rows else []
    plans = figures.get("plans")
    loaded = [f"A folder of 100 plans is loaded and checked in {number(plans * 1000, 0)} ms.", ""] if plans else []
    return ["## Records and plans", "", *lines, *loaded] if rows or plans else []


def page(figures: Figures) -> str:
    """The whole page."""
    rounds = figures["rounds"]
    lines = [HEAD.format(rounds=rounds, s="" if rounds == 1 else "s")]
    lines += ["## What is to be reached", "", "Ratios are of medians of the same rounds; less is better.", ""]
    lines += table(["what", "at most", "it is", "reached"], map(_reach, reach(figures)))
    head = ["contender", "downtime, s", "ours by it", "total, s", "ours by it", "CPU, s", "memory, MB"]
    for rig in figures["rigs"]:
        lines += [f"## {words_of(rig)}", "", *table(head, _contenders(figures, rig))]
    lines += [*_steps(figures), *_engine(figures), *_rest(figures), CLARITY, CONTENDERS_ARE, MEASURES]
    lines += [
        "## The machine",
        "",
        *table(["", ""], ([name, words] for name, words in figures["machine"].items())),
        AGAIN,
    ]
    return "\n".join(lines).rstrip() + "\n"

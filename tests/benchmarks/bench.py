# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what a rollback costs, beside other ways to do it: make bench, or python tests/benchmarks/bench.py

ROUNDS (7), HOSTS (1,10) and SIZES (10,100,1000) in the environment choose how much; docs/performance.md tells of them.
Each round is kept in .cache/bench/rounds.json until the whole is written: stopped or asked for more, it goes on there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from bench_engine import history_share, kept_answers, load_plans, simulated, waited
from bench_figures import CONTENDERS, Figures
from bench_page import page
from bench_plot import plot
from bench_rig import MEASURES, Rig, Round, WrongEnd, pyinfra, rig_name
from fleet import Fleet
from hosts import NoHosts

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

WHOLE = {"ROUNDS": "7", "HOSTS": "1,10", "SIZES": "10,100,1000"}
ROUNDS_OF_ENGINE = 3  # where more take too long, as with a thousand hosts, there is one


KEPT = ROOT / ".cache" / "bench" / "rounds.json"


def chosen(name: str) -> list[int]:
    """Numbers that the environment names, or the whole of them."""
    return [int(word) for word in os.environ.get(name, WHOLE[name]).replace(" ", "").split(",") if word]


def say(words: str) -> None:
    """Tell whoever waits how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


def note(spent: dict[str, list[float]], one: t.Mapping[str, float], names: t.Iterable[str]) -> None:
    """Add a round's figures to those of earlier rounds."""
    for name in names:
        spent.setdefault(name, []).append(one[name])


def machine() -> dict[str, str]:
    """What it runs on, in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = next(
        (line.split(":")[1] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), ""
    )
    said = subprocess.run([pyinfra(), "--version"], capture_output=True, text=True, check=True).stdout
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "measured on": time.strftime("%Y-%m-%d"),
        "commit": commit.stdout.strip() or "unknown",
        "cores": f"{len(os.sched_getaffinity(0))} of {model.strip() or platform.machine()}",
        "memory": f"{memory:.0f} GiB",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "ansible-core": importlib.metadata.version("ansible-core"),
        "pyinfra": said.split()[-1].lstrip("v"),
        "hosts": "containers of Debian with systemd and sshd on the same machine",
    }


def begun(rounds: int) -> Figures:
    """The figures of earlier calls at the same commit, or those to begin with."""
    new: Figures = {"rounds": rounds, "machine": machine(), "rigs": {}, "engine": {}, "history": {}}
    if not KEPT.exists():
        return new
    kept = t.cast("Figures", json.loads(KEPT.read_text()))
    if (kept["rounds"], kept["machine"]["commit"]) != (rounds, new["machine"]["commit"]):
        return new
    say(f"It goes on from the rounds in {KEPT}; remove it to begin anew.")
    return kept


def keep(figures: Figures) -> None:
    """Keep what was measured until now, so that whatever ends it loses one round at most."""
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    half = KEPT.with_suffix(".new")
    half.write_text(json.dumps(figures, indent=1) + "\n")
    half.replace(KEPT)


def had(spent: t.Mapping[str, t.Sized]) -> int:
    """How many rounds there are of something."""
    return len(spent.get("total", ()))


def of_engine(size: int, rounds: int) -> int:
    """How many rounds there are to be of so many simulated hosts."""
    return 1 if size >= 1000 else min(rounds, ROUNDS_OF_ENGINE)


def rounds_of(rig: Rig, figures: Figures) -> None:
    """Each contender in each round; another one begins each time."""
    found, rounds = figures["rigs"].setdefault(rig.name, {}), figures["rounds"]
    for number in range(rounds):
        first = number % len(CONTENDERS)
        for contender in CONTENDERS[first:] + CONTENDERS[:first]:
            if had(found.setdefault(contender, {})) > number:
                continue
            one = rig.round(contender)
            note(found[contender], one, MEASURES)
            if contender == "ours":
                steps = rig.steps()
                note(found["ours"].setdefault("steps", {}), steps, steps)
            keep(figures)
            shown = f"downtime {one['downtime']:.2f} s, total {one['total']:.1f} s, CPU {one['cpu']:.1f} s"
            say(f"{rig.name}, round {number + 1} of {rounds}: {contender}: {shown}")


def history_of(rig: Rig, figures: Figures) -> None:
    """What the history takes of a rollback of real hosts."""
    spent = figures["history"].setdefault(rig.name, {})
    while had(spent) < min(figures["rounds"], ROUNDS_OF_ENGINE):
        note(spent, history_share(rig), ("opening", "observer", "total", "share"))
        keep(figures)
    say(f"{rig.name}: the history took {spent['share']} of the total")


def engine_of(rig: Rig, sizes: t.Iterable[int], figures: Figures) -> None:
    """Ours on simulated hosts, which answer as the one of this rig."""
    answers = kept_answers(rig)
    say(f"a host took {waited(answers):.1f} s for {len(answers.read_text().splitlines())} answers")
    for size in sizes:
        spent = figures["engine"].setdefault(str(size), {})
        while had(spent) < of_engine(size, figures["rounds"]):
            one: Round = simulated(rig, answers, size)
            note(spent, one, [name for name in MEASURES if name != "downtime"])
            keep(figures)
            cpu = one["cpu"] / size
            say(f"{size} simulated hosts: total {one['total']:.1f} s, CPU {cpu:.2f} s a host, {one['memory']:.0f} MB")


def bench(figures: Figures, counts: t.Sequence[int], sizes: t.Sequence[int], place: Path) -> None:
    """Measure what is missing in ``figures``, as many rounds as they say, into them."""
    rounds = figures["rounds"]
    # first that which answers are kept of, in the end the largest number on one database
    rigs = [(count, False) for count in sorted({*counts, *([1] if sizes else [])})]
    rigs += [(max(counts), True)] if counts and max(counts) > 1 else []
    for count, shared in rigs:
        simulate = [size for size in sizes if had(figures["engine"].get(str(size), {})) < of_engine(size, rounds)]
        simulate = simulate if (count, shared) == (1, False) else []
        kept = had(figures["history"].get(rig_name(count, shared), {}))
        if not simulate and (count not in counts or kept >= min(rounds, ROUNDS_OF_ENGINE)):
            continue
        below = Path(tempfile.mkdtemp(prefix="r", dir=place))
        say(f"{count} hosts boot, and the app is put on them")
        fleet = Fleet(below, count, shared)
        try:
            rig = Rig(fleet, below)
            if count in counts:
                rounds_of(rig, figures)
                history_of(rig, figures)
            if count == 1 and not shared:
                figures["plans"] = load_plans(rig)
            if simulate:
                engine_of(rig, simulate, figures)
        finally:
            fleet.close()


def main() -> int:
    rounds = int(os.environ.get("ROUNDS") or WHOLE["ROUNDS"])
    counts, sizes = chosen("HOSTS"), chosen("SIZES")
    whole = all(
        {*chosen_now} >= {*map(int, WHOLE[name].split(","))}
        for name, chosen_now in (("HOSTS", counts), ("SIZES", sizes))
    )
    whole = whole and rounds >= int(WHOLE["ROUNDS"])
    page_to, json_to = (ROOT / "docs", HERE) if whole else [ROOT / ".cache" / "bench"] * 2
    place = Path(tempfile.mkdtemp(prefix="bench-"))
    began = time.monotonic()
    figures = begun(rounds)
    try:
        bench(figures, counts, sizes, place)
    except (WrongEnd, NoHosts) as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(place, ignore_errors=True)
    page_to.mkdir(parents=True, exist_ok=True)
    (json_to / "recorded.json").write_text(json.dumps(figures, indent=1) + "\n")
    (page_to / "performance.md").write_text(page(figures))
    (page_to / "performance.svg").write_text(plot(figures))
    if whole:
        KEPT.unlink()
    say(f"Wrote {page_to / 'performance.md'} after {(time.monotonic() - began) / 60:.0f} minutes.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

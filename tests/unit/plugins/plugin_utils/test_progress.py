# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the progress display says as a run goes on."""

from __future__ import annotations

import io
import typing as t

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._events import Place
from ansible_collections.changeops.rollback.plugins.plugin_utils._progress import (
    Board,
    Line,
    clock,
    failure,
    plain,
    verdict,
    wrapped,
)
from ansible_collections.changeops.rollback.plugins.plugin_utils._progress_bar import frame
from rich.console import Console

HOSTS = ["web1", "web2", "web3"]
STEPS = ["preflight", "main", "recover"]


def phase(index: int, name: str, hosts: list[str] | None = None, estimate: int | None = None) -> dict[str, t.Any]:
    hosts = HOSTS if hosts is None else hosts
    return {
        **{"index": index, "id": f"{index}-{name}", "name": name, "role": f"changeops.rollback.{name}"},
        **{"host_names": hosts, "estimate": estimate, "steps": STEPS},
    }


PHASES = [
    phase(1, "service_stop", estimate=5),
    phase(2, "alembic_downgrade", ["web1"], estimate=60),
    phase(3, "verify", estimate=10),
]
PLAN = {"title": "Add totals", "phases": PHASES, "batches": [HOSTS]}
RUN = {"id": "R1", "change": "C001", "kind": "rollback", "check_mode": False, "resumes": None}


def place(index: int, step: str) -> Place:
    one = PHASES[index - 1]
    return Place(index, one["id"], one["role"], step)


def play(board: Board, events: list[tuple]) -> list[str]:
    """Have a board see (seconds, index, step, statuses by host); None for an index is outside phases."""
    lines: list[Line] = []
    for now, index, step, statuses in events:
        where = place(index, step) if index else None
        lines += board.at(where, now)
        for host, status in statuses.items():
            board.ended(where, host, status)
    return [f"{line.status}: {line.text}" for line in [*lines, *board.over(events[-1][0])]]


ALL_OK = dict.fromkeys(HOSTS, "ok")
PREFLIGHTS = [(float(index), index, "preflight", ALL_OK) for index in (1, 2, 3)]


@pytest.mark.parametrize(
    ("kind", "events", "lines"),
    [
        pytest.param(
            "rollback",
            [
                *PREFLIGHTS,
                (10, 1, "main", {}),
                (10, 1, "main", dict.fromkeys(HOSTS, "skipped")),
                (11, 1, "main", ALL_OK),
                (12.5, 2, "main", {"web1": "ok"}),
                (80, 3, "main", {"web1": "ok", "web2": "failed"}),
                (83, None, "", {}),
                (84, 3, "recover", {"web1": "ok"}),
                (85, None, "", {}),
            ],
            [
                "ok: ok      preflight                  3 of 3 phases 9.0 s",
                "ok: ok      service_stop               3 of 3 hosts  2.5 s (planned 5.0 s)",
                "ok: ok      alembic_downgrade          1 of 1 host   1 min 8 s (planned 1 min 0 s)",
                "failed: failed  verify                     1 of 3 hosts  3.0 s (planned 10.0 s)",
                "ok: ok      recover verify             1 of 3 hosts  1.0 s",
            ],
            id="a phase that fails and is put back",
        ),
        pytest.param(
            "rollback",
            [
                (0, 1, "main", {"web1": "unreachable", "web2": "ok", "web3": "ok"}),
                (3, 1, "main", {"web2": "ok", "web3": "ok"}),
                (4, 2, "main", {"web1": "skipped"}),
                (5, 2, "close", {}),
                (6, 3, "close", {"web1": "ok"}),
            ],
            [
                "failed: failed  service_stop               2 of 3 hosts  4.0 s (planned 5.0 s)",
                "skipped: skipped alembic_downgrade          1 of 1 host   1.0 s (planned 1 min 0 s)",
                "ok: ok      finish verify              1 of 3 hosts  0.0 s",
            ],
            id="hosts that are gone, and steps that a phase does not have",
        ),
        pytest.param(
            "undo",
            [(0, 1, "can_undo", ALL_OK), (1, 3, "recover", ALL_OK), (2, 3, "undone", ALL_OK), (3, 1, "main", ALL_OK)],
            [
                "ok: ok      preflight of undo          1 of 1 phase  1.0 s",
                "ok: ok      undo verify                3 of 3 hosts  1.0 s",
                "ok: ok      check verify               3 of 3 hosts  1.0 s",
                "ok: ok      again service_stop         3 of 3 hosts  0.0 s (planned 5.0 s)",
            ],
            id="an undo, and its way back",
        ),
    ],
)
def test_a_line_for_each_phase(kind: str, events: list[tuple], lines: list[str]) -> None:
    assert play(Board({**RUN, "kind": kind}, PLAN, 0.0), events) == lines


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (80, "ok      alembic_downgrade          1 of 1 host   12.0 s (planned 1 min 0 s)"),
        (60, "ok alembic_downgrade 1/1 12.0 s (planned 1 min 0 s)"),
        (40, "ok alembic_downgrade 1/1 12.0 s"),
        (20, "ok alembic_downgrade\n  1/1 12.0 s"),
    ],
)
def test_a_line_fits(width: int, line: str) -> None:
    board = Board(RUN, PLAN, 0.0, width)
    assert play(board, [(0.0, 2, "main", {"web1": "ok"}), (12.0, None, "", {})]) == [f"ok: {line}"]


@pytest.mark.parametrize(
    ("run", "plan", "words"),
    [
        ({}, {}, "C001: roll back 'Add totals' on 3 hosts, 3 phases, about 1 min 15 s (run R1)"),
        ({"check_mode": True}, {},
         "C001: dry run, roll back 'Add totals' on 3 hosts, 3 phases, about 1 min 15 s (run R1)"),
        ({"resumes": "R0"}, {"phases": [phase(1, "one", estimate=5), phase(2, "two")]},
         "C001: roll back 'Add totals' on 3 hosts, 2 phases, at least 5.0 s (run R1). It goes on with R0"),
        ({"expected": {"1": [2.0, "earlier runs"]}}, {"batches": [["web1"], ["web2", "web3"]]},
         "C001: roll back 'Add totals' on 3 hosts, 3 phases, about 2 min 24 s (run R1)"),
        ({"kind": "rehearsal", "check_mode": True}, {"batches": []},
         "C001: rehearse the rollback of 'Add totals' (run R1)"),
        ({"kind": "undo"}, None, "C001: undo the rollback of C001 (run R1)"),
    ],
)  # fmt: skip
def test_what_begins(run: dict, plan: dict | None, words: str) -> None:
    assert Board({**RUN, **run}, {} if plan is None else {**PLAN, **plan}, 0.0).heading() == words


def test_each_batch_has_its_lines_and_its_hosts() -> None:
    board = Board(RUN, {**PLAN, "batches": [["web1"], ["web2", "web3"]]}, 0.0)
    lines = board.begin_batch(1, ["web1"], 0.0)
    board.at(place(1, "main"), 0.0)
    board.ended(place(1, "main"), "web1", "ok")
    assert board.overall(2.0) == "C001 · batch 1 of 2 · phase 1 of 3 · 0:02 · about 2:28 left"
    lines += board.begin_batch(2, ["web2", "web3"], 1.0)
    board.at(place(1, "main"), 2.0)
    assert board.piece and board.piece.total == 2
    lines += board.at(place(2, "main"), 3.0)
    assert [line.text for line in lines] == [
        "Batch 1 of 2: web1",
        "ok      service_stop               1 of 1 host   1.0 s (planned 5.0 s)",
        "Batch 2 of 2: web2, web3",
        "skipped service_stop               0 of 2 hosts  1.0 s (planned 5.0 s)",
    ]
    assert board.at(None, 4.0) == [], "a phase that has no host in this batch has no line"


def test_a_log_has_a_sign_of_life_at_ever_longer_intervals() -> None:
    board = Board(RUN, PLAN, 0.0)
    assert board.sign_of_life(99.0) == []
    board.at(place(2, "main"), 100.0)
    said = [now for now in range(100, 400) if board.sign_of_life(float(now))]
    assert said == [130, 160, 220, 340]
    [line] = board.sign_of_life(900.0)
    assert line.text == "at work alembic_downgrade          0 of 1 host   13 min 20 s (planned 1 min 0 s)"


@pytest.mark.parametrize(
    ("at", "now", "width", "shown"),
    [
        (place(2, "main"), 12.0, 80,
         ["alembic_downgrade ━━━", " 0 of 1 host 0:12 of 1:00", "phase 1 of 3 · 0:12 · about 1:03 left"]),
        (place(2, "main"), 12.0, 40,
         ["alembic_downgrade ━", " 0/1 0:12/1:00", "phase 1 of 3 · 0:12 · about 1:03 left"]),
        (place(1, "preflight"), 5.0, 40, ["preflight ", " 0/3 0:05", "0:05 · about 1:15 left"]),
        (place(3, "recover"), 5.0, 40, ["recover verify ", " 0/3 0:05", "0:05"]),
        (None, 7.0, 40, ["Take the host", "0:07"]),
    ],
)  # fmt: skip
def test_what_moves_fits(at: Place | None, now: float, width: int, shown: list[str]) -> None:
    board = Board(RUN, PLAN, 0.0)
    board.at(at, 0.0)
    out = io.StringIO()
    Console(width=width, file=out, force_terminal=True, color_system=None).print(
        frame(board, "Take the host", now, width), end=""
    )
    lines = [plain(line) for line in out.getvalue().splitlines()]
    assert len(lines) == 2
    assert max(map(len, lines)) <= width
    for part in shown:
        assert part in "\n".join(lines)


@pytest.mark.parametrize(
    ("result", "cause", "text"),
    [
        ({}, "", "verify on web2: it gave no reason"),
        ({}, "3 of 4 checks failed. Look at /var/log/shop.log",
         "verify on web2: 3 of 4 checks failed.\n  Look at /var/log/shop.log"),
        ({}, "a\nb \x1b[31mred\x1b[0m \x1b]0;title\x07\x08end", "verify on web2: a\n  b red end"),
        ({}, "token=abc", "verify on web2: token=********"),
        ({"stderr": "no space\npassword=x"}, "non-zero return code",
         "verify on web2: non-zero return code\n  | no space\n  | password=********"),
        ({"stdout": "\n".join(map(str, range(20))), "stderr": " "}, "no",
         "verify on web2: no\n  | …\n" + "\n".join(f"  | {n}" for n in range(8, 20))),
        ({"msg": "it said: boom", "stderr": "boom"}, "it said: boom", "verify on web2: it said: boom"),
        ({"results": [{"stdout": "fine"}, {"failed": True, "stderr": "bad"}]}, "no", "verify on web2: no\n  | bad"),
    ],
)  # fmt: skip
def test_a_failure_says_all(result: dict, cause: str, text: str) -> None:
    assert failure("verify on web2", result, cause, 40) == text


def test_a_command_can_be_copied() -> None:
    command = "ansible-playbook rollback.yml -e change=C001"
    assert wrapped(f"Next: {command}", 0) == f"Next: {command}"
    assert wrapped(f"Then do it: {command} resumes it.", 50, "  ") == f"Then do it:\n  {command}\n  resumes it."
    assert wrapped("see /srv/a/very/long/path/that/is/longer/than/that", 20).splitlines()[1].startswith("/srv/a/very")
    assert verdict("C001 was not rolled back: a | b | Everything was put back.") == "Everything was put back."


@pytest.mark.parametrize(("seconds", "shown"), [(7.9, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_a_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._outcome import End, Row, decide, some

BOTH = frozenset({"web1", "web2"})
ALL_DONE = {"web1": "succeeded", "web2": "succeeded"}
IDS = {1: "1-backup", 2: "2-git_revert", 3: "3-verify", 4: "4-manual_step"}


def rows(*lines: str) -> list[Row]:
    """Each line: host index step status [message]. A main or a recover that is ok has changed something."""
    found = []
    for line in lines:
        host, index, step, status, *message = line.split(maxsplit=4)
        changed = step in ("main", "recover") and status == "ok"
        found.append(Row(host, int(index), IDS[int(index)], step, status, changed, message[0] if message else ""))
    return found


PREFLIGHTS = ("web1 1 preflight ok", "web2 1 preflight ok")
BACKUPS = ("web1 1 main ok", "web2 1 main ok")
REVERT_FAILED = ("web1 2 main ok", "web2 2 main failed merge conflict")
FAILED_TEXT = "git_revert failed on web2: merge conflict."
BACK = tuple(f"{host} {index} recover ok" for index in (2, 1) for host in ("web1", "web2"))

CASES = [
    ("done on all hosts", rows(*PREFLIGHTS, *BACKUPS), End(BOTH, ALL_DONE), "succeeded", "1 phase done on 2 hosts."),
    (
        "done, but for what waited for the end",
        rows(*PREFLIGHTS, *BACKUPS),
        End(BOTH, ALL_DONE, problems=(("web1", "NOT PUSHED: it moved on"), ("web2", "NOT PUSHED: it moved on"))),
        "succeeded",
        "1 phase done on 2 hosts. Left to do: NOT PUSHED: it moved on.",
    ),
    ("nothing to do", rows(*PREFLIGHTS), End(BOTH, ALL_DONE), "succeeded", "There was nothing left to do."),
    (
        "a person is waited for",
        rows(*PREFLIGHTS, *BACKUPS, "web1 4 main waiting nobody has answered"),
        End(BOTH, dict.fromkeys(BOTH, "interrupted"), failed=BOTH, problems=(("web1", "C001 is not rolled back yet"),)),
        "interrupted",
        "manual_step (phase 4) waits for a person. Every host stays as it is, and services that were stopped stay "
        "stopped.",
    ),
    (
        "a person is waited for on the way back",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED, "web1 4 recover waiting nobody has answered", *BACK),
        End(BOTH, {"web1": "failed", "web2": "recovered"}, failed=BOTH),
        "failed",
        f"{FAILED_TEXT} Recovery of manual_step stopped on web1: nobody has answered. Not as before: web1.",
    ),
    (
        "not closed on every host",
        rows(*PREFLIGHTS, *BACKUPS),
        End(BOTH, {"web1": "succeeded"}),
        "interrupted",
        "It ended before its last phase was done.",
    ),
    (
        "closed as succeeded, but a host ended failed",
        rows(*PREFLIGHTS, *BACKUPS),
        End(BOTH, ALL_DONE, failed=frozenset({"web2"}), problems=(("web2", "no mail"),)),
        "failed",
        "It failed on web2: no mail. Nothing was put back.",
    ),
    (
        "closed as succeeded, but a main failed",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED),
        End(BOTH, ALL_DONE),
        "failed",
        f"{FAILED_TEXT} Nothing was put back.",
    ),
    (
        "a preflight failed",
        rows("web1 1 preflight ok", "web2 1 preflight failed no space"),
        End(BOTH, failed=BOTH, problems=(("web1", "a preflight failed"),)),
        "refused",
        "Preflight of backup failed on web2: no space. No host was changed.",
    ),
    (
        "a host unreachable in preflight",
        rows("web1 1 preflight ok", "web2 1 preflight unreachable connection refused"),
        End(BOTH, failed=frozenset({"web2"})),
        "refused",
        "Preflight of backup stopped on web2: the host became unreachable: connection refused. No host was changed.",
    ),
    (
        "two different preflights failed",
        rows("web1 1 preflight failed no space", "web1 2 preflight failed conflict"),
        End(BOTH, failed=BOTH),
        "refused",
        "Preflight of backup failed on web1: no space. 1 more failure in the record. No host was changed.",
    ),
    (
        "failed before any phase",
        [],
        End(BOTH, failed=BOTH, problems=(("web1", "The plan says: manual"),)),
        "refused",
        "It failed on web1: The plan says: manual. No host was changed.",
    ),
    ("nothing at all ran", [], End(BOTH), "refused", "No phase began. No host was changed."),
    (
        "a main failed, all put back",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED, *BACK),
        End(BOTH, {"web1": "recovered", "web2": "recovered"}, failed=BOTH),
        "recovered",
        f"{FAILED_TEXT} Put back on 2 hosts.",
    ),
    (
        "a main failed, on_failure stop",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED),
        End(BOTH, failed=BOTH),
        "failed",
        f"{FAILED_TEXT} Nothing was put back.",
    ),
    (
        "a recovery failed",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED, *BACK[:-1], "web2 1 recover failed disk gone"),
        End(BOTH, {"web1": "failed", "web2": "failed"}, failed=BOTH),
        "failed",
        f"{FAILED_TEXT} Recovery of backup failed on web2: disk gone. Not as before: web1 and web2.",
    ),
    (
        "a phase of the user's own has nothing to put back",
        rows("web1 1 main ok", "web1 2 main failed no space", "web1 2 recover ok"),
        End(frozenset({"web1"}), {"web1": "recovered"}, failed=frozenset({"web1"})),
        "recovered",
        "git_revert failed on web1: no space. Put back on 1 host.",
    ),
    (
        "all put back, but a host was closed as failed",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED, *BACK),
        End(BOTH, {"web1": "recovered", "web2": "failed"}, failed=BOTH),
        "failed",
        f"{FAILED_TEXT} Not as before: web2.",
    ),
    (
        "unreachable in main, the other host put back",
        rows(*PREFLIGHTS, "web1 1 main ok", "web2 1 main unreachable", "web1 1 recover ok"),
        End(BOTH, {"web1": "recovered"}, failed=BOTH),
        "failed",
        "backup stopped on web2: the host became unreachable. Not as before: web2.",
    ),
    (
        "unreachable, and ssh had nothing more to say",
        rows(*PREFLIGHTS, "web1 1 main unreachable Make sure this host can be reached over ssh:"),
        End(BOTH, failed=BOTH),
        "failed",
        "backup stopped on web1: the host became unreachable: Make sure this host can be reached over ssh. "
        "Nothing was put back.",
    ),
    (
        "a phase that did nothing on a host needs no recovery",
        rows("web1 1 main skipped", "web2 1 main failed no space", "web2 1 recover ok"),
        End(BOTH, {"web1": "recovered", "web2": "recovered"}, failed=BOTH),
        "recovered",
        "backup failed on web2: no space. Put back on 1 host.",
    ),
    (
        "the batch of web2 failed after that of web1",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED, "web2 2 recover ok", "web2 1 recover ok"),
        End(BOTH | {"web3"}, {"web1": "succeeded", "web2": "recovered", "web3": "refused"}, failed=BOTH | {"web3"}),
        "recovered",
        f"{FAILED_TEXT} Rolled back: 1 host (web1). Put back: 1 host (web2). Untouched: 1 host (web3).",
    ),
    (
        "the batch of web2 failed and was lost, after that of web1",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED),
        End(BOTH | {"web3"}, {"web1": "succeeded", "web3": "refused"}, failed=BOTH | {"web3"}),
        "failed",
        f"{FAILED_TEXT} Nothing was put back. Rolled back: 1 host (web1). Not as before: 1 host (web2). "
        "Untouched: 1 host (web3).",
    ),
    (
        "a signal in main",
        rows(*PREFLIGHTS, *BACKUPS, "web1 2 main running", "web2 2 main running"),
        End(BOTH, signal="SIGTERM"),
        "interrupted",
        "Ended by SIGTERM while main of git_revert ran on web1 and web2.",
    ),
    (
        "a signal in preflight",
        rows("web1 1 preflight running"),
        End(BOTH, signal="SIGINT"),
        "interrupted",
        "Ended by SIGINT while preflight of backup ran on web1. No host had been changed.",
    ),
    (
        "the process ended without its end",
        rows(*PREFLIGHTS, *BACKUPS),
        End(BOTH, finished=False),
        "interrupted",
        "It ended before its last phase was done.",
    ),
    (
        "a dry run",
        rows(*PREFLIGHTS, *BACKUPS),
        End(BOTH, check_mode=True),
        "succeeded",
        "A dry run: nothing was changed.",
    ),
    (
        "a dry run that fails",
        rows(*PREFLIGHTS, *BACKUPS, *REVERT_FAILED),
        End(BOTH, failed=BOTH, check_mode=True),
        "refused",
        "Main of git_revert failed on web2: merge conflict.",
    ),
    (
        "a rehearsal",
        rows(*PREFLIGHTS, "web1 1 rehearse ok It destroys nothing."),
        End(BOTH, check_mode=True, rehearsal=True),
        "succeeded",
        "READY. It destroys nothing.",
    ),
    (
        "a rehearsal that finds several obstacles, with the same on two hosts",
        rows(
            "web1 2 preflight failed no such commit",
            "web1 1 preflight failed no space",
            "web2 1 preflight failed no space",
            "web1 1 rehearse ok It destroys nothing.",
        ),
        End(
            BOTH,
            failed=BOTH,
            check_mode=True,
            rehearsal=True,
        ),
        "refused",
        "NOT READY. backup on web1 and web2: no space. git_revert on web1: no such commit.",
    ),
    (
        "a rehearsal that loses a host",
        rows("web1 1 preflight ok", "web2 1 preflight unreachable no route"),
        End(BOTH, failed=frozenset({"web2"}), check_mode=True, rehearsal=True),
        "refused",
        "NOT READY. backup on web2: the host became unreachable.",
    ),
    (
        "a rehearsal of a host that is not free",
        rows(),
        End(BOTH, failed=BOTH, problems=(("web1", "This host is locked."),), check_mode=True, rehearsal=True),
        "refused",
        "NOT READY. This host is locked.",
    ),
    (
        "a rehearsal under a later change, with another obstacle",
        rows("web1 1 preflight failed no space"),
        End(
            BOTH,
            failed=BOTH,
            problems=(("web1", "C003 came after"), ("web2", "C003 came after")),
            check_mode=True,
            rehearsal=True,
        ),
        "refused",
        "NOT READY. C003 came after. backup on web1: no space.",
    ),
    (
        "an undo",
        rows("web1 2 can_undo ok", *BACK, "web1 3 undone ok"),
        End(BOTH, ALL_DONE, undo=True),
        "succeeded",
        "3 phases undone on 2 hosts.",
    ),
    (
        "an undo that cannot be done",
        rows("web1 2 can_undo failed it has moved on"),
        End(BOTH, failed=BOTH, undo=True),
        "refused",
        "Preflight of git_revert failed on web1: it has moved on. No host was changed.",
    ),
    (
        "an undo that failed, and all was rolled back again",
        rows("web1 2 recover ok", "web2 2 recover failed no space", "web1 2 preflight ok", *BACKUPS, "web1 2 main ok"),
        End(BOTH, {"web1": "recovered", "web2": "recovered"}, failed=BOTH, undo=True),
        "recovered",
        "git_revert failed on web2: no space. Rolled back again on 2 hosts.",
    ),
    (
        "an undo after which the app is not well, and could not be rolled back again",
        rows("web1 2 recover ok", "web1 3 undone failed 503", "web1 2 main failed no space"),
        End(frozenset({"web1"}), {"web1": "failed"}, failed=frozenset({"web1"}), undo=True),
        "failed",
        "verify failed on web1: 503. Recovery of git_revert failed on web1: no space. Not as before: web1.",
    ),
    (
        "an undo of a plan with on_failure: stop",
        rows("web1 2 recover failed no space"),
        End(frozenset({"web1"}), {"web1": "failed"}, failed=frozenset({"web1"}), undo=True),
        "failed",
        "git_revert failed on web1: no space. Nothing was rolled back again.",
    ),
    (
        "an undo that is ended",
        rows("web1 2 can_undo ok", "web1 2 recover running"),
        End(BOTH, signal="SIGTERM", undo=True),
        "interrupted",
        "Ended by SIGTERM while recover of git_revert ran on web1.",
    ),
]


@pytest.mark.parametrize(("found", "end", "outcome", "summary"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_decide(found: list[Row], end: End, outcome: str, summary: str) -> None:
    decision = decide(found, end)
    assert (decision.outcome, decision.summary) == (outcome, summary)


@pytest.mark.parametrize(
    ("found", "end", "touched"),
    [
        (rows(*PREFLIGHTS), End(BOTH, signal="SIGTERM"), False),
        (rows(*PREFLIGHTS, "web1 1 main running"), End(BOTH, signal="SIGTERM"), True),
        (rows(*PREFLIGHTS, "web1 1 main running"), End(BOTH, signal="SIGTERM", check_mode=True), False),
        (rows(*PREFLIGHTS, "web1 1 main failed"), End(BOTH), True),
    ],
)
def test_whether_a_host_was_touched(found: list[Row], end: End, touched: bool) -> None:
    assert decide(found, end).touched is touched


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["b"], "b"),
        (["b", "a", "a"], "a and b"),
        (["c", "a", "b", "d"], "a, b, c and d"),
        (["e", "c", "a", "b", "d"], "a, b, c and 2 more"),
    ],
)
def test_names_in_a_sentence(names: list[str], text: str) -> None:
    assert some(names) == text

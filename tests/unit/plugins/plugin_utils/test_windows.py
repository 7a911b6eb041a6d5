# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a maintenance window is open, through both changes of the clock, and what is wrong with one."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.plugin_utils import _windows
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import Asked, Refused, Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import utc as utc_text
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process
from ansible_collections.changeops.rollback.plugins.plugin_utils._windows import gate, spans, window_of
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

HERE = Process("ops1", "boot", 77, "123")

NIGHT = "{days: [sat, sun], start: '22:00', end: '04:00', zone: Europe/Berlin}"
DAILY = "{start: '09:00', end: '17:30', zone: America/New_York}"
DATED = "{start: 2026-11-28T22:00, end: 2026-11-29T04:00, zone: Europe/Berlin}"
WHOLE = "{days: mon, start: '00:00', end: '24:00', zone: UTC}"
# The clocks of Berlin skip from 02:00 to 03:00 on 2026-03-29 (01:00 UTC), and have that hour twice on 2026-10-25.
EARLY = "{days: sun, start: '02:30', end: '03:15', zone: Europe/Berlin}"
SKIPPED = "{days: sun, start: '02:10', end: '02:40', zone: Europe/Berlin}"
LATE = "{days: sun, start: '01:30', end: '02:30', zone: Europe/Berlin}"
FALL = "{start: 2026-10-25T02:15, end: 2026-10-25T02:45, zone: Europe/Berlin}"
HALF_HOUR = "{days: sun, start: '02:15', end: '03:00', zone: Australia/Lord_Howe}"  # skips 02:00 to 02:30 on 2026-10-04


def utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


# (window, now in UTC, whether it is open, the end of it that is open, or else the start of the next; None: no other)
CASES: list[tuple[str, str, bool, str | None]] = [
    (NIGHT, "2026-11-28 20:59:59", False, "2026-11-28 21:00"),
    (NIGHT, "2026-11-28 21:00", True, "2026-11-29 03:00"),
    (NIGHT, "2026-11-29 02:59:59", True, "2026-11-29 03:00"),
    (NIGHT, "2026-11-29 03:00", False, "2026-11-29 21:00"),
    (NIGHT, "2026-11-30 01:00", True, "2026-11-30 03:00"),  # on Monday, of the window that began on Sunday
    (NIGHT, "2026-11-30 12:00", False, "2026-12-05 21:00"),
    (NIGHT, "2026-07-04 20:30", True, "2026-07-05 02:00"),  # in summer an hour earlier
    (NIGHT, "2026-03-29 01:59", True, "2026-03-29 02:00"),  # the night that has an hour less
    (NIGHT, "2026-10-25 02:59", True, "2026-10-25 03:00"),  # the night that has an hour more
    (DAILY, "2026-11-27 13:59", False, "2026-11-27 14:00"),
    (DAILY, "2026-11-27 22:29", True, "2026-11-27 22:30"),
    (DAILY, "2026-11-27 22:30", False, "2026-11-28 14:00"),
    (DAILY, "2026-07-01 13:00", True, "2026-07-01 21:30"),
    (DATED, "2026-11-28 20:59", False, "2026-11-28 21:00"),
    (DATED, "2026-11-28 21:00", True, "2026-11-29 03:00"),
    (DATED, "2026-11-29 03:00", False, None),
    (WHOLE, "2026-11-30 00:00", True, "2026-12-01 00:00"),
    (WHOLE, "2026-11-29 23:59", False, "2026-11-30 00:00"),
    (EARLY, "2026-03-29 00:59", False, "2026-03-29 01:00"),  # begins with the skip
    (EARLY, "2026-03-29 01:00", True, "2026-03-29 01:15"),
    (SKIPPED, "2026-03-29 01:00", False, "2026-04-05 00:10"),  # that day there is none
    (LATE, "2026-10-24 23:30", True, "2026-10-25 01:30"),  # until the second 02:30
    (LATE, "2026-10-25 01:29", True, "2026-10-25 01:30"),
    (LATE, "2026-10-25 01:30", False, "2026-11-01 00:30"),
    (FALL, "2026-10-25 00:15", True, "2026-10-25 01:45"),  # from the first 02:15 to the second 02:45
    (HALF_HOUR, "2026-10-03 15:29", False, "2026-10-03 15:30"),
    (HALF_HOUR, "2026-10-03 15:30", True, "2026-10-03 16:00"),
]


@pytest.mark.parametrize(("text", "now", "is_open", "moment"), CASES)
def test_open_or_not(text: str, now: str, is_open: bool, moment: str | None) -> None:
    window, faults = window_of(yaml.safe_load(text))
    assert faults == []
    assert window is not None
    found = _windows.standing([window], utc(now))
    assert (found.open is not None) is is_open
    shown = found.open[1][1] if found.open else found.next and found.next[1][0]
    assert shown == (moment and utc(moment))
    allowed, words = gate([window.as_dict()], "rollback_maintenance", utc(now))
    assert (allowed, words) == (is_open, found.words), "what is handed on from a plan reads the same"


def test_of_several_windows_the_longest_counts_and_the_first_is_next() -> None:
    read = [yaml.safe_load(text) for text in (NIGHT, DATED, DAILY)]
    longer = dict(read[1], end="2026-11-29T06:00")
    assert gate([*read, longer], "x", utc("2026-11-28 23:00")) == (
        True,
        "The maintenance window is open until Sun 2026-11-29 06:00 Europe/Berlin (05:00 UTC), for 6 h 0 min.",
    )
    assert gate(read[:2], "x", utc("2026-11-27 14:20")) == (
        False,
        "The next maintenance window is Sat 2026-11-28 22:00 Europe/Berlin (21:00 UTC) to Sun 2026-11-29 04:00 "
        "Europe/Berlin (03:00 UTC), in 30 h 40 min. Now it is Fri 2026-11-27 15:20 Europe/Berlin (14:20 UTC).",
    )
    assert gate([read[1]], "x", utc("2027-01-01")) == (False, "Of its maintenance windows none is still to come.")
    assert gate([], "x", utc("2027-01-01")) == (True, "")


@pytest.mark.parametrize("hour", range(24))
@pytest.mark.parametrize("day", ["2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25"])
def test_windows_that_follow_on_one_another_leave_no_gap_when_the_clock_changes(day: str, hour: int) -> None:
    now = utc(day) + datetime.timedelta(hours=hour, minutes=17)
    hours = [{"start": f"{h:02}:00", "end": f"{h + 1:02}:00", "zone": "Europe/Berlin"} for h in range(24)]
    assert gate(hours, "x", now)[0]
    for item in hours:
        window, _faults = window_of(item)
        assert window
        assert all(start < end for start, end in spans(window, now))


# What YAML makes of a time without quotes: 22:00 is a number there, 04:00 is text, one with seconds is a date.
@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("{start: 22:00, end: 04:00, zone: UTC}", "22:00", "04:00"),
        ("{start: 9:05, end: 24:00, zone: UTC}", "09:05", "24:00"),
        ("{start: 2026-11-28 22:00:00, end: 2026-11-29T04:00, zone: UTC}", "2026-11-28T22:00", "2026-11-29T04:00"),
    ],
)
def test_a_time_needs_no_quotes(text: str, start: str, end: str) -> None:
    window, faults = window_of(yaml.safe_load(text))
    assert faults == []
    assert window
    assert (window.start, window.end) == (start, end)


BAD: list[tuple[t.Any, str]] = [
    ("at night", "x is not a list of windows. Write - {days:"),
    (["at night"], "x, window 1: this is not a window. Write - {days:"),
    ([yaml.safe_load(NIGHT), {}], "x, window 2: The window has no `start`. Write {days:"),
    ([{"start": "22:00", "end": "23:00"}], "The window has no `zone`."),
    ([{"start": "25:00", "end": "23:00", "zone": "UTC"}], "`start` is '25:00'. Write the time as '22:00', or"),
    ([{"start": "24:00", "end": "23:00", "zone": "UTC"}], "`start` is '24:00'. Write"),
    ([{"start": "22:00", "end": "24:30", "zone": "UTC"}], "`end` is '24:30'. Write"),
    ([{"start": 1500, "end": "23:00", "zone": "UTC"}], "`start` is '1500'. Write"),
    ([{"start": "2026-11-28", "end": "2026-11-29", "zone": "UTC"}], "`start` is '2026-11-28'. Write"),
    ([{"start": "22:00", "end": "2026-11-29T04:00", "zone": "UTC"}], "Write both as times, or both with their date."),
    ([{"start": "22:00", "end": "22:00", "zone": "UTC"}], "For whole days write start: '00:00', end: '24:00'."),
    (
        [{"start": "2026-11-29T04:00", "end": "2026-11-28T22:00", "zone": "UTC"}],
        "`end` is '2026-11-28T22:00', which is not after `start`, '2026-11-29T04:00'.",
    ),
    ([{**yaml.safe_load(DATED), "days": ["sat"]}], "A window with dates has no `days`."),
    ([{**yaml.safe_load(NIGHT), "days": ["sat", "sunny"]}], "'sunny' is not a day. Days are mon, tue,"),
    ([{**yaml.safe_load(NIGHT), "days": []}], "`days` is empty."),
    ([{**yaml.safe_load(NIGHT), "zone": "Europe/Berln"}], "no time zone 'Europe/Berln'. Did you mean `Europe/Berlin`?"),
    ([{**yaml.safe_load(NIGHT), "zone": "/etc/passwd"}], "There is no time zone '/etc/passwd'."),
    ([{**yaml.safe_load(NIGHT), "day": "sat"}], "`day` is not known here. Did you mean `days`?"),
]


@pytest.mark.parametrize(("values", "says"), BAD)
def test_what_is_no_window_is_said(values: t.Any, says: str) -> None:
    allowed, words = gate(values, "x", utc("2026-11-28"))
    assert not allowed
    assert says in words


def test_a_controller_without_time_zones_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_windows, "zone_of", lambda name: None)
    monkeypatch.setattr(_windows.zoneinfo, "available_timezones", set)
    assert gate([yaml.safe_load(NIGHT)], "x", utc("2026-11-28")) == (False, _windows.NO_ZONES)


NOW = utc("2026-11-27 14:20")
TYPE = "Where it cannot wait, say why, for the record: ansible-playbook "
NEXT = (
    "The next maintenance window is Sat 2026-11-28 22:00 Europe/Berlin (21:00 UTC) to Sun 2026-11-29 04:00 "
    "Europe/Berlin (03:00 UTC), in 30 h 40 min. Now it is Fri 2026-11-27 15:20 Europe/Berlin (14:20 UTC)."
)
REFUSALS = [
    Refusal(
        "a rollback outside of the maintenance windows",
        f"C001 may be rolled back in its maintenance windows only. {NEXT} {TYPE}rollback.yml -e change=C001 -e "
        'outside_window="why it cannot wait"',
        ("rollback", [NIGHT]),
    ),
    Refusal(
        "an undo outside of the maintenance windows",
        f"C001 may be undone in its maintenance windows only. {NEXT} {TYPE}undo.yml -e change=C001 -e "
        'outside_window="why it cannot wait"',
        ("undo", [NIGHT]),
    ),
    Refusal(
        "a rollback when the last maintenance window is over",
        "C001 may be rolled back in its maintenance windows only. Of its maintenance windows none is still to come. "
        f'{TYPE}rollback.yml -e change=C001 -e outside_window="why it cannot wait"',
        ("rollback", [DATED.replace("2026-11", "2025-11")]),
    ),
    Refusal(
        "maintenance windows in the inventory that are none",
        "C001 may be rolled back in its maintenance windows only. rollback_maintenance, window 1: There is no time "
        "zone 'Europe/Berln'. Did you mean `Europe/Berlin`? "
        f'{TYPE}rollback.yml -e change=C001 -e outside_window="why it cannot wait"',
        ("rollback", [NIGHT.replace("Berlin", "Berln")]),
    ),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.case)
def test_a_run_outside_of_its_windows_is_refused_unless_hosts_are_half_way(tmp_path: Path, refusal: Refusal) -> None:
    kind, windows = refusal.given
    allowed, words = gate([yaml.safe_load(text) for text in windows], "rollback_maintenance", NOW)
    assert not allowed
    outside = {"kind": kind, "lacking": _windows.outside_words("C001", kind, words)}
    store = Store(f"sqlite:///{tmp_path}/h.sqlite", lambda: NOW)
    asked = {"change": "C001", "plan_digest": "d", "executed_by": "dana", "executed_from": "dana@ops1"}
    with pytest.raises(Refused) as refused:
        store.open_run(Asked(**asked, **outside), HERE)
    assert str(refused.value) == refusal.says
    [run] = store.runs(HERE)
    assert (run["outcome"], run["summary"]) == ("refused", f"{refusal.says} No host was changed.")
    assert store.open_run(Asked(**asked, **outside, check_mode=True), HERE)["resumes"] is None, "a dry run is told only"
    left = store.open_run(Asked(**asked), HERE)
    step = {"host": "web1", "index": 1, "step": "main", "phase": "1-backup", "role": "r", "status": "ok"}
    row = {
        **step,
        "changed": True,
        "started": utc_text(NOW),
        "finished": None,
        "message": "",
        "before": None,
        "after": None,
    }
    with store.transaction() as connection:
        store.save_rows(connection, left["id"], [row])
        store.end_run(connection, left["id"], "failed", "", utc_text(NOW))
    assert store.open_run(Asked(**asked, **outside), HERE)["resumes"] == left["id"], "the app is down: it may go on"

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Maintenance windows: when a change may be rolled back. Pure functions. Private to this collection.

Times are those of the clock in the window's zone. One that the clock skips in spring counts as the moment of the skip;
of one that comes twice in autumn a window begins with the first and ends with the second.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import typing as t
import zoneinfo

from ..module_utils._words import age
from ._history_schema import DOING
from ._plan import near

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_NAMES = {
    **{day: day for day in DAYS},
    **{name: name[:3] for name in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")},
}
KEYS = ("days", "start", "end", "zone")
WEEKLY = "{days: [sat, sun], start: '22:00', end: '04:00', zone: Europe/Berlin}"
DATED = "{start: 2026-11-28T22:00, end: 2026-11-29T04:00, zone: Europe/Berlin}"
NO_ZONES = "This controller knows no time zones. Install them there: the package tzdata, of the system or of pip."

_CLOCK = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)(?::00)?")
_SEXAGESIMAL = 24 * 60  # YAML reads 22:00 without quotes as the number 22 * 60
_UTC = datetime.UTC
_DAY = datetime.timedelta(days=1)
_WEEKS_AHEAD = 8  # days in which each weekly window comes once at least

Span = tuple[datetime.datetime, datetime.datetime]
Fault = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Window:
    """One window. Weekly: ``start`` and ``end`` are HH:MM, ``days`` those on which it begins. Dated: ISO, no days."""

    start: str
    end: str
    zone: str
    days: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        """Give the window as it is written in a plan."""
        days = {"days": list(self.days)} if self.days else {}
        return {**days, "start": self.start, "end": self.end, "zone": self.zone}


@functools.cache
def zone_of(name: str) -> zoneinfo.ZoneInfo | None:
    """The time zone of this name; None where there is none."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def window_of(values: t.Mapping[str, t.Any]) -> tuple[Window | None, list[Fault]]:
    """Read one window.

    :arg values: of the keys of a window, as YAML gives them or as they were written.
    :returns: the window, and the faults, each with the key that it is about; None where there are any.
    """
    faults: list[Fault] = [
        (key, f"`{key}` is not known here.{near(str(key), KEYS) or ' The keys are days, start, end, zone.'}")
        for key in values
        if key not in KEYS
    ]
    faults += [
        (key, f"The window has no `{key}`. Write {WEEKLY}, or {DATED}.")
        for key in ("start", "end", "zone")
        if values.get(key) in (None, "")
    ]
    if faults:
        return None, faults
    zone, days = str(values["zone"]), _days(values.get("days"), faults)
    if zone_of(zone) is None and zoneinfo.available_timezones():
        hint = near(zone, zoneinfo.available_timezones()) or " Write one such as Europe/Berlin, or UTC."
        faults.append(("zone", f"There is no time zone '{zone}'.{hint}"))
    start, end = (_time(values[key]) for key in ("start", "end"))
    for key, found in (("start", start), ("end", end)):
        if not found or (key == "start" and found == "24:00"):
            said = f"`{key}` is '{values[key]}'. Write the time as '22:00', or for one window only as 2026-11-28T22:00."
            faults.append((key, said))
    if not faults:
        faults = _together(start, end, "days" in values)
    return (None if faults else Window(start, end, zone, days if len(start) == len("22:00") else ())), faults


def _together(start: str, end: str, has_days: bool) -> list[Fault]:
    weekly = len(start) == len("22:00")
    if weekly != (len(end) == len("22:00")):
        return [("end", f"`start` is '{start}' and `end` '{end}'. Write both as times, or both with their date.")]
    if weekly and start == end:
        return [("end", "`start` and `end` are the same. For whole days write start: '00:00', end: '24:00'.")]
    if not weekly and has_days:
        return [("days", "A window with dates has no `days`. Take them out, or write `start` and `end` as '22:00'.")]
    if not weekly and end <= start:
        return [("end", f"`end` is '{end}', which is not after `start`, '{start}'.")]
    return []


def _days(value: t.Any, faults: list[Fault]) -> tuple[str, ...]:
    """The days of a window, all of them where it names none."""
    if value is None:
        return DAYS
    names = value if isinstance(value, (list, tuple)) else [value]
    known = [_DAY_NAMES.get(str(name).strip().lower(), "") for name in names]
    if not all(known) or not known:
        said = f"'{names[known.index('')]}' is not a day." if known else "`days` is empty."
        faults.append(("days", f"{said} Days are {', '.join(DAYS)}; a window without `days` is one of every day."))
    return tuple(day for day in DAYS if day in known)


def _time(value: t.Any) -> str:
    """A time as HH:MM, with a date as YYYY-MM-DDTHH:MM; empty where it is neither."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 60:02}:{value % 60:02}" if 0 <= value <= _SEXAGESIMAL else ""
    text = value.isoformat() if isinstance(value, datetime.datetime) else str(value).strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        found = f"{int(clock[1]):02}:{clock[2]}"
        return "" if found > "24:00" else found
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return ""
    whole = moment.tzinfo is None and not moment.second and not moment.microsecond and len(text) > len("2026-11-28")
    return moment.isoformat(timespec="minutes") if whole else ""


def windows_of(values: t.Any, name: str) -> list[Window]:
    """Read the windows of a variable.

    :arg name: of the variable, for the message.
    :raises ValueError: there are faults, in sentences.
    """
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} is not a list of windows. Write - {WEEKLY}")
    windows = []
    for number, item in enumerate(values, 1):
        if not isinstance(item, t.Mapping):
            raise ValueError(f"{name}, window {number}: this is not a window. Write - {WEEKLY}")
        window, faults = window_of(item)
        if window is None:
            raise ValueError(f"{name}, window {number}: {' '.join(text for _key, text in faults)}")
        windows.append(window)
    return windows


def _instant(day: datetime.date, clock: str, zone: zoneinfo.ZoneInfo, second: bool) -> datetime.datetime:
    """The moment at which the clock in ``zone`` shows a time; ``second``: the second of two."""
    hours, minutes = int(clock[:2]), int(clock[3:])
    naive = datetime.datetime.combine(day, datetime.time()) + datetime.timedelta(hours=hours, minutes=minutes)
    early, late = (naive.replace(tzinfo=zone, fold=fold).astimezone(_UTC) for fold in (0, 1))
    if early.astimezone(zone).replace(tzinfo=None) == naive:
        return late if second else early
    # The clock skips it: the skip lies between the two readings.
    low, high = min(early, late), max(early, late)
    while high - low > datetime.timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).replace(tzinfo=None) < naive:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def spans(window: Window, now: datetime.datetime) -> list[Span]:
    """When a window is open, in UTC: the dated one, or the times about ``now`` of a weekly one, in their order.

    :raises ValueError: its zone is not known on this controller.
    """
    zone = zone_of(window.zone)
    if zone is None:
        raise ValueError(NO_ZONES if not zoneinfo.available_timezones() else f"There is no time zone '{window.zone}'.")
    if not window.days:
        moments = [(datetime.date.fromisoformat(at[:10]), at[11:16]) for at in (window.start, window.end)]
        found = [(_instant(*moments[0], zone, False), _instant(*moments[1], zone, True))]
        return [span for span in found if span[0] < span[1]]
    today = now.astimezone(zone).date()
    found = []
    for ahead in range(-2, _WEEKS_AHEAD + 1):
        day = today + ahead * _DAY
        if DAYS[day.weekday()] in window.days:
            last = day + _DAY if window.end <= window.start else day
            found.append((_instant(day, window.start, zone, False), _instant(last, window.end, zone, True)))
    return [span for span in found if span[0] < span[1]]


@dataclasses.dataclass(frozen=True)
class Standing:
    """How some windows stand now: the one that is open until latest, and the one that opens next."""

    now: datetime.datetime
    open: tuple[Window, Span] | None
    next: tuple[Window, Span] | None

    @property
    def words(self) -> str:
        """The same as a sentence or two."""
        if self.open:
            window, (_start, end) = self.open
            return f"The maintenance window is open until {_shown(end, window.zone)}, for {_age(end - self.now)}."
        if not self.next:
            return "Of its maintenance windows none is still to come."
        window, (start, end) = self.next
        return (
            f"The next maintenance window is {_shown(start, window.zone)} to {_shown(end, window.zone)}, in "
            f"{_age(start - self.now)}. Now it is {_shown(self.now, window.zone)}."
        )


def _shown(moment: datetime.datetime, zone: str) -> str:
    """As in ``Sat 2026-11-28 22:00 Europe/Berlin (21:00 UTC)``, the date of UTC too where it is another one."""
    there, utc = moment.astimezone(zone_of(zone)), moment.astimezone(_UTC)
    if there.utcoffset() == datetime.timedelta(0) and zone == "UTC":
        return f"{there:%a %Y-%m-%d %H:%M} UTC"
    in_utc = f"{utc:%H:%M}" if utc.date() == there.date() else f"{utc:%a %H:%M}"
    return f"{there:%a %Y-%m-%d %H:%M} {zone} ({in_utc} UTC)"


def _age(distance: datetime.timedelta) -> str:
    return age(distance.total_seconds())


def standing(windows: t.Iterable[Window], now: datetime.datetime) -> Standing:
    """How windows stand at a moment.

    :raises ValueError: a zone is not known on this controller.
    """
    known = [(window, span) for window in windows for span in spans(window, now)]
    now_open = [pair for pair in known if pair[1][0] <= now < pair[1][1]]
    ahead = [pair for pair in known if pair[1][0] > now]
    return Standing(
        now,
        max(now_open, key=lambda pair: pair[1][1], default=None),
        min(ahead, key=lambda pair: pair[1][0], default=None),
    )


def gate(values: t.Any, name: str, now: datetime.datetime) -> tuple[bool, str]:
    """Whether the windows allow a rollback now, and how they stand, in sentences. Without windows it is allowed.

    :arg values: the windows.
    :arg name: of the variable that they come from.
    """
    if not values:
        return True, ""
    try:
        found = standing(windows_of(values, name), now)
    except ValueError as fault:
        return False, str(fault)
    return found.open is not None, found.words


def outside_words(change: str, kind: str, words: str) -> str:
    """Why a run that is outside of the windows is refused, and what to type then.

    :arg kind: of the run.
    :arg words: how the windows stand.
    """
    return (
        f"{change} may be {DOING[kind]} in its maintenance windows only. {words} Where it cannot wait, say why, for "
        f'the record: ansible-playbook {kind}.yml -e change={change} -e outside_window="why it cannot wait"'
    )


def why_outside(run: t.Mapping[str, t.Any], reason: str) -> str:
    """Why a run goes on outside of the windows."""
    if run["check_mode"]:
        return "Now it would be refused, being outside of its maintenance windows."
    if run["resumes"]:
        return "It is half-way, so it does not wait for a maintenance window."
    return f"Outside of its maintenance windows, because: {reason}."

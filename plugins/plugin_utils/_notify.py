# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells people and programs elsewhere how a run goes. Private to this collection.

Sending is the work of a process of its own, ``_notify_send.py``: a place that does not answer keeps nobody waiting, no
thread is there when Ansible forks, and what is still to be said is said when this process is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import subprocess
import sys
import time
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from ..module_utils._redact import redact
from ._history_schema import DOING, UNDO
from ._history_view import duration_words
from ._notify_send import SECONDS, one_line
from ._outcome import INTERRUPTED, OUTCOMES, SUCCEEDED, shorten
from ._plan import near
from ._report_run import downtime

STARTED, NO_RETURN, MESSAGE = "started", "point_of_no_return", "message"
EVENTS = (STARTED, NO_RETURN, *OUTCOMES, MESSAGE)
# The keys of a place of each kind, with those that it needs.
KEYS = {
    "email": ("to", "from", "host", "port", "encryption", "username", "password"),
    "slack": ("url",),
    "webhook": ("url", "secret"),
}
NEEDED = ("to", "from", "host", "url")
SECRETS = ("url", "secret", "password")
ENCRYPTION = {"none": 25, "starttls": 587, "tls": 465}
MANY = 20  # hosts that a text names
GRACE = 0.5  # seconds beyond SECONDS for the sender to say what it knows

_URL = re.compile(r"https?://[^\s/\\]+(?:[/?][\x21-\x7e]*)?")

Json = dict[str, t.Any]
Rows = t.Sequence[t.Mapping[str, t.Any]]


def places_of(values: t.Any) -> tuple[list[Json], list[str]]:
    """Read the places, and say what is wrong with others; what it says has no secrets."""
    if values is None:
        return [], []
    if not isinstance(values, (list, tuple)):
        return [], ["notify_places is not a list. Write - {kind: slack, url: \"{{ lookup('env', 'SLACK_URL') }}\"}."]
    places, faults = [], []
    for number, given in enumerate(values, 1):
        if not isinstance(given, t.Mapping):
            faults.append(f"notify_places, place {number}: this is not a place. Write - {{kind: slack, url: ...}}.")
            continue
        place, wrong = _place(given, number)
        faults += [f"notify_places, place {number}: {text}" for text in wrong]
        places += [] if wrong else [place]
    return places, faults


def _place(given: t.Mapping[str, t.Any], number: int) -> tuple[Json, list[str]]:
    kind = str(given.get("kind", ""))
    if kind not in KEYS:
        return {}, [f"its `kind` is not one of {', '.join(KEYS)}.{near(kind, KEYS)}"]
    keys = ("kind", "name", "events", *KEYS[kind])
    wrong = [f"`{key}` is not known here.{near(str(key), keys)}" for key in given if key not in keys]
    place: Json = {"kind": kind, "name": one_line(given.get("name") or f"{kind} {number}")}
    for key in KEYS[kind]:
        if key in ("to", "port"):
            continue
        place[key] = str(given[key]).strip() if given.get(key) is not None else ""
        if not place[key] and (key in NEEDED or (key in SECRETS and key in given)):
            wrong.append(f"its `{key}` is empty. Is the variable set that it comes from?")
    if place.get("url") and not (_URL.fullmatch(place["url"]) and urlsplit(place["url"]).hostname):
        wrong.append("its `url` does not begin with https:// or http:// and a host, or holds spaces.")
    events = _texts(given.get("events"))
    wrong += [f"'{name}' is no event.{near(name, EVENTS)}" for name in events if name not in EVENTS]
    place["events"] = events or list(EVENTS)
    if kind == "email":
        wrong += _check_mail(place, given)
    return place, wrong


def _check_mail(place: Json, given: t.Mapping[str, t.Any]) -> list[str]:
    wrong = []
    place["to"], place["encryption"] = _texts(given.get("to")), place["encryption"] or "none"
    if not place["to"]:
        wrong.append("its `to` is empty. Write the addresses, such as to: [on-call@example.com].")
    if place["encryption"] not in ENCRYPTION:
        wrong.append(f"its `encryption` is not one of {', '.join(ENCRYPTION)}.")
    elif place["password"] and place["encryption"] == "none":
        wrong.append("it has a `password`, which may only travel with encryption: starttls, or tls.")
    if bool(place["username"]) != bool(place["password"]):
        wrong.append("`username` and `password` go together.")
    port = str(given.get("port") or ENCRYPTION.get(place["encryption"], 25))
    if port.isdigit() and 0 < int(port) < 65536:
        place["port"] = int(port)
    else:
        wrong.append("its `port` is not a port's number.")
    return wrong


def _texts(value: t.Any) -> list[str]:
    values = value if isinstance(value, (list, tuple)) else [] if value is None else str(value).split(",")
    return [text for text in (one_line(item) for item in values) if text]


@dataclasses.dataclass(frozen=True)
class Subject:
    """The run that is told of."""

    run: str
    change: str
    title: str
    kind: str
    hosts: tuple[str, ...]
    by: str
    place: str


def message(about: Subject, event: str, at: str, next_lines: t.Sequence[str], what: str = "", **more: t.Any) -> Json:
    """A message, as a webhook gets it; ``text`` and ``subject`` are for people.

    :arg event: one of `EVENTS`.
    :arg at: the time, UTC.
    :arg next_lines: what to type next.
    :arg what: what happened; at the end of a run its summary.
    :arg more: at the end of a run ``duration`` and ``downtime`` in seconds, and ``down_since`` where services are down.
    """
    change, doing = about.change, DOING[about.kind]
    ended = event in OUTCOMES
    what = one_line(redact(what))
    head = {
        MESSAGE: f"{change}: {shorten(what, 100)}" if change else shorten(what, 100),
        STARTED: f"{change} is being {doing}",
        NO_RETURN: f"{change} is at its point of no return",
    }.get(event, f"{change}: {'undo' if about.kind == UNDO else about.kind} {event}")
    subject = one_line(redact(f"{head}: {about.title}" if about.title else head))
    shown = about.hosts[:MANY]
    others = f" and {len(about.hosts) - MANY} more" if len(about.hosts) > MANY else ""
    took = [f"{word}: {duration_words(more.get(word.lower()))}" for word in ("Duration", "Downtime")]
    lines = [
        subject,
        "" if what in subject else what,
        f"Hosts: {', '.join(shown)}{others}" if shown else "",
        f"By: {about.by} ({about.place})" if about.by else "",
        f"Run: {about.run}" if about.run else "",
        ", ".join(word for word in took if not word.endswith(": ")) if ended else "",
        f"Services are down since {more['down_since'][11:16]} UTC." if more.get("down_since") else "",
        *next_lines,
    ]
    said = {
        "event": event,
        "change": change,
        "title": one_line(about.title),
        "kind": about.kind,
        "hosts": list(about.hosts),
        "by": about.by,
        "from": about.place,
        "run": about.run,
        "at": at,
        "what": what,
        "next": [one_line(line) for line in next_lines],
        "subject": subject,
        "text": "\n".join(one_line(line) for line in lines if line),
    }
    return {**said, "outcome": event, "duration": None, "downtime": None, "down_since": None, **more} if ended else said


class Notifier:
    """Sends messages to places, and knows what became of them.

    :arg places: as `places_of` gives them.
    :arg otherwise: what is sent when this process ends without a message that has an outcome.
    """

    def __init__(self, places: t.Sequence[Json], otherwise: Json | None = None) -> None:
        self._read = b""
        # In a session of its own: what ends this process from outside leaves it alone.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("_notify_send.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._write({"parent": os.getpid(), "places": list(places), "otherwise": otherwise})

    def _write(self, value: Json) -> None:
        # It begins with an end of line too: a signal's handler may write while a line is under way.
        left = f"\n{json.dumps(value)}\n".encode()
        stdin = self._process.stdin
        with contextlib.suppress(OSError, ValueError):
            while stdin and left:
                left = left[os.write(stdin.fileno(), left) :]

    def send(self, told: Json) -> None:
        """Have a message sent, without waiting for it."""
        self._write(told)

    def finish(self) -> list[str]:
        """Wait until all that was sent has arrived, or has had its time; returns what has not arrived, in words."""
        stdin, stdout, faults = self._process.stdin, self._process.stdout, []
        if stdin is None or stdout is None:
            return []
        self._write({"end": True})  # that stdin is closed is not seen while what was forked has it open too
        until, ended = time.monotonic() + SECONDS + GRACE, False
        while not ended and select.select([stdout], [], [], max(until - time.monotonic(), 0))[0]:
            read = os.read(stdout.fileno(), 65536)
            self._read += read
            ended = not read
        for line in self._read.splitlines():
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if said["fault"]:
                    faults.append(f"{said['place']} of '{said['event']}': it {said['fault']}.")
        if not ended:
            self._process.kill()
            faults.append("the process that sends gave no answer.")
        self._process.wait()
        stdin.close()
        stdout.close()
        return faults


class Telling:
    """Tells of one run, without waiting for it.

    :arg values: of ``notify_places``. What is wrong with them is told by `finish`, as what has not arrived.
    :arg clock: gives the time, as messages have it.
    """

    def __init__(self, about: Subject, values: t.Any, clock: t.Callable[[], str]) -> None:
        self._about, self._clock = about, clock
        places, self._faults = places_of(values)
        self._notifier = Notifier(places, killed(about, clock())) if places else None

    def started(self) -> None:
        self._event(STARTED)

    def no_return(self, phase: str) -> None:
        self._event(NO_RETURN, what=f"{phase} begins.")

    def ended(
        self, outcome: str, lines: t.Sequence[str], summary: str, seconds: float | None = None, phases: Rows = ()
    ) -> None:
        """Say how it ended.

        :arg lines: what to type next.
        :arg phases: rows of the history, for the downtime.
        """
        down = downtime({"phases": phases}) or {"seconds": None, "finished": True}
        since = None if down["finished"] else down["started"]
        self._event(outcome, lines, summary, duration=seconds, downtime=down["seconds"], down_since=since)

    def _event(self, event: str, lines: t.Sequence[str] = (), what: str = "", **more: t.Any) -> None:
        if self._notifier:
            told = message(self._about, event, self._clock(), next_of(self._about, event, lines), what, **more)
            self._notifier.send(told)

    def finish(self) -> list[str]:
        """Wait as `Notifier.finish` does; returns what has not arrived, in words."""
        faults = [*self._faults, *(self._notifier.finish() if self._notifier else ())]
        self._notifier, self._faults = None, []
        return faults


def next_of(about: Subject, event: str, lines: t.Sequence[str] = ()) -> list[str]:
    """What to type next.

    :arg lines: what the run itself said of that at its end.
    """
    watch = f"How it goes: ansible-playbook history.yml -e run={about.run}"
    if event == STARTED:
        return [watch]
    if event == NO_RETURN:
        return ["Do not stop it from here on.", watch]
    if event == SUCCEEDED and about.kind != UNDO:
        return [f"To put the change back: ansible-playbook undo.yml -e change={about.change}", *lines]
    return list(lines)


def killed(about: Subject, at: str) -> Json:
    """What is to be said of a run whose process is killed."""
    playbook = "undo" if about.kind == UNDO else "rollback"
    resume = f"Next: ansible-playbook {playbook}.yml -e change={about.change} resumes it, if hosts are half-way."
    return message(about, INTERRUPTED, at, [resume], "Its process was killed, or its machine was lost.")

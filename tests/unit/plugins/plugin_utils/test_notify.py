# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages arrive at real servers, no place keeps anybody waiting, and no secret gets out."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.plugins.plugin_utils._notify import (
    Notifier,
    Subject,
    Telling,
    killed,
    message,
    next_of,
    places_of,
)
from ansible_collections.changeops.rollback.tests.unit.plugins.plugin_utils.places import (
    Smtp,
    Web,
    closed_port,
    serving,
    silent,
)

AT = "2026-11-27T02:30:00.000Z"
ABOUT = Subject("R1", "C001", "Add <b> & co", "rollback", ("web1", "web2"), "dana", "dana@ops1")
SECRET = "hunter2-T0KEN"
STARTED = message(ABOUT, "started", AT, next_of(ABOUT, "started"))
FAILED = message(
    ABOUT, "failed", AT, ["Next: ansible-playbook rollback.yml -e change=C001 resumes it."],
    "git_revert failed on web1: <!channel> conflict & more\r\nBcc: eve@example.com", duration=65.2, downtime=12.3,
)  # fmt: skip


@pytest.fixture
def web() -> t.Iterator[Web]:
    with serving(Web()) as server:
        yield server


@pytest.fixture
def smtp() -> t.Iterator[Smtp]:
    with serving(Smtp()) as server:
        yield server


def tell(places: list[dict[str, t.Any]], *messages: dict[str, t.Any]) -> list[str]:
    """Send messages to places that are sound; returns what has not arrived."""
    read, faults = places_of(places)
    assert faults == []
    notifier = Notifier(read)
    for told in messages:
        notifier.send(told)
    return notifier.finish()


def test_each_kind_of_place_gets_the_message_in_its_own_way(web: Web, smtp: Smtp) -> None:
    mail = {"kind": "email", "to": ["a@example.com", "b@example.com"], "from": "Ops <ops@example.com>"}
    places = [
        {"kind": "slack", "url": web.url("/slack")},
        {"kind": "webhook", "url": web.url("/hook"), "secret": SECRET},
        {**mail, "host": "127.0.0.1", "port": smtp.port},
    ]
    assert tell(places, FAILED) == []
    got = {one.path: one for one in web.got}
    text = got["/slack"].json["text"]
    assert text.splitlines() == [
        "C001: rollback failed: Add &lt;b&gt; &amp; co",
        "git_revert failed on web1: &lt;!channel&gt; conflict &amp; more Bcc: eve@example.com",
        "Hosts: web1, web2",
        "By: dana (dana@ops1)",
        "Run: R1",
        "Duration: 1 min 5 s, Downtime: 12.3 s",
        "Next: ansible-playbook rollback.yml -e change=C001 resumes it.",
    ]
    hook = got["/hook"]
    assert hook.headers["X-Changeops-Signature-256"] == (
        "sha256=" + hmac.new(SECRET.encode(), hook.body, hashlib.sha256).hexdigest()
    )
    assert "X-Changeops-Signature-256" not in got["/slack"].headers
    kept = ("event", "change", "title", "hosts", "by", "from", "run", "at", "outcome", "duration", "downtime")
    assert [hook.json[key] for key in kept] == [
        *("failed", "C001", "Add <b> & co", ["web1", "web2"], "dana", "dana@ops1", "R1", AT, "failed", 65.2, 12.3)
    ]
    [mailed] = smtp.got
    assert (mailed["Subject"], mailed["From"]) == ("C001: rollback failed: Add <b> & co", "Ops <ops@example.com>")
    assert (mailed["To"], mailed["Bcc"]) == ("a@example.com, b@example.com", None)
    assert "<!channel> conflict & more" in mailed.get_content()


def test_a_title_cannot_add_a_header(smtp: Smtp) -> None:
    about = Subject("R1", "C001", "x\r\nBcc: eve@example.com\r\n\r\nboo \u202e\x07", "undo", (), "dana", "")
    place = {"kind": "email", "to": "a@example.com", "from": "o@example.com", "host": "127.0.0.1", "port": smtp.port}
    assert tell([place], message(about, "started", AT, ())) == []
    [mailed] = smtp.got
    assert mailed["Subject"] == "C001 is being undone: x Bcc: eve@example.com boo"
    assert mailed["Bcc"] is None


def test_the_events_that_a_place_asks_for(web: Web) -> None:
    place = {"kind": "webhook", "url": web.url(), "events": ["failed", "refused"]}
    assert tell([place, {"kind": "webhook", "url": web.url("/all")}], STARTED, FAILED) == []
    assert sorted((got.path, got.json["event"]) for got in web.got) == [
        *(("/all", "failed"), ("/all", "started"), ("/hook/T0KEN", "failed"))
    ]


def test_places_that_do_not_answer_delay_nothing(web: Web) -> None:
    """Four of them, each with two messages, take five seconds together; the place that answers has its own at once."""
    with silent() as port:
        slow = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/{SECRET}", "secret": SECRET}
        post = {"kind": "email", "to": "a@example.com", "from": "o@example.com", "host": "127.0.0.1", "port": port}
        places = [slow, post, {**slow, "kind": "slack"} | {"name": "ops"}, slow, {"kind": "webhook", "url": web.url()}]
        del places[2]["secret"]
        read, _faults = places_of(places)
        began = time.monotonic()
        notifier = Notifier(read)
        notifier.send(STARTED)
        notifier.send(FAILED)
        assert time.monotonic() - began < 0.5
        assert len(web.wait_for(2)) == 2
        assert time.monotonic() - began < 4
        faults = notifier.finish()
        took = time.monotonic() - began
    assert took < 6.5, f"{took:.1f} s"
    names = ("email 2", "ops", "webhook 1", "webhook 4")
    expected = [
        f"{name} of '{event}': it did not answer within 5 s." for name in names for event in ("failed", "started")
    ]
    assert sorted(faults) == sorted(expected)


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"kind": "webhook", "url": "{web}/status/404"}, "it answered 404 Not Found."),
        ({"kind": "slack", "url": "{web}/status/599"}, "it answered 599."),
        ({"kind": "webhook", "url": "{web}/redirect", "secret": SECRET}, "it answered 302 Found."),
        ({"kind": "slack", "url": "http://127.0.0.1:{closed}/" + SECRET}, "it cannot be reached: Connection refused."),
        ({"kind": "webhook", "url": "https://127.0.0.1:{smtp}/" + SECRET}, r"it cannot be reached.*\."),
        ({"kind": "email", "port": "{closed}"}, "it cannot be reached: Connection refused."),
        ({"kind": "email", "port": "{smtp}", "to": "nobody@example.com"},
         "it does not take mail for nobody@example.com."),
        ({"kind": "email", "port": "{smtp}", "to": ["nobody@example.com", "a@example.com"]},
         "it does not take mail for nobody@example.com."),
        ({"kind": "email", "port": "{smtp}", "encryption": "starttls", "username": "u", "password": SECRET},
         r"it (cannot be reached|answered).*\."),
    ],
)  # fmt: skip
def test_what_has_not_arrived_is_said_without_secrets(web: Web, smtp: Smtp, place: dict[str, t.Any], says: str) -> None:
    ports = {"web": web.url(""), "smtp": smtp.port, "closed": closed_port()}
    mail = {"to": "a@example.com", "from": "o@example.com", "host": "127.0.0.1"} if place["kind"] == "email" else {}
    filled = {
        key: value.format(**ports) if isinstance(value, str) else value for key, value in {**mail, **place}.items()
    }
    [fault] = tell([filled], FAILED)
    assert re.fullmatch(rf"{place['kind']} 1 of 'failed': {says}", fault), fault
    assert SECRET not in fault
    assert "/elsewhere" not in [got.path for got in web.got]


def test_no_secret_is_in_the_process_list(web: Web) -> None:
    read, _faults = places_of([{"kind": "webhook", "url": web.url(f"/{SECRET}"), "secret": SECRET}])
    notifier = Notifier(read)
    process = Path(f"/proc/{notifier._process.pid}")
    seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
    assert SECRET.encode() not in seen
    notifier.send(STARTED)
    assert notifier.finish() == []
    assert not process.exists()


KILLED = """
import sys, time
from ansible_collections.changeops.rollback.plugins.plugin_utils._notify import Notifier, Subject, killed, message
about = Subject("R1", "C001", "Title", "rollback", ("web1",), "dana", "dana@ops1")
place = {"kind": "webhook", "name": "w", "url": sys.argv[1], "secret": "", "events": ["started", "interrupted"]}
notifier = Notifier([place], killed(about, "now"))
notifier.send(message(about, "started", "now", ()))
import os
if not os.fork():
    time.sleep(30)  # as a task of Ansible's that goes on, and has the pipe open too
time.sleep(30)
"""


def test_that_the_process_was_killed_is_told_by_the_one_that_it_left_behind(web: Web) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, web.url()], start_new_session=True)
    try:
        assert [got.json["event"] for got in web.wait_for(1)] == ["started"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert [got.json["event"] for got in web.wait_for(2)] == ["started", "interrupted"]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    last = web.got[-1].json
    assert last["outcome"] == "interrupted"
    assert "ansible-playbook rollback.yml -e change=C001 resumes it" in last["text"]


BAD = [
    ("#ops", "notify_places is not a list."),
    (["#ops"], "place 1: this is not a place."),
    ([{"kind": "slak", "url": "x"}], "place 1: its `kind` is not one of email, slack, webhook. Did you mean `slack`?"),
    (
        [{"kind": "slack", "url": "https://hooks.example.com/" + SECRET, "secert": SECRET}],
        "`secert` is not known here.",
    ),
    ([{"kind": "slack", "url": ""}], "its `url` is empty. Is the variable set that it comes from?"),
    ([{"kind": "slack", "url": f"hooks.example.com/{SECRET}"}], "its `url` does not begin with https:// or http://"),
    ([{"kind": "slack", "url": f"file:///{SECRET}"}], "its `url` does not begin with"),
    ([{"kind": "slack", "url": f"https://h/{SECRET}\r\nX: y"}], "its `url` does not begin with"),
    ([{"kind": "webhook", "url": f"https://h/{SECRET}", "secret": ""}], "its `secret` is empty. Is the variable set"),
    (
        [{"kind": "webhook", "url": f"https://h/{SECRET}", "events": ["fail"]}],
        "'fail' is no event. Did you mean `failed`?",
    ),
    ([{"kind": "email", "host": "h", "from": "a@b.c"}], "its `to` is empty."),
    (
        [{"kind": "email", "host": "h", "from": "a@b.c", "to": "x@y.z", "port": "smtp"}],
        "its `port` is not a port's number.",
    ),
    (
        [{"kind": "email", "host": "h", "from": "a@b.c", "to": "x@y.z", "username": "u", "password": SECRET}],
        "it has a `password`, which may only travel with encryption: starttls, or tls.",
    ),
]


@pytest.mark.parametrize(("values", "says"), BAD)
def test_what_is_no_place_is_said_without_secrets(values: t.Any, says: str) -> None:
    sound = {"kind": "slack", "url": "https://h/x"}
    places, faults = places_of([*values, sound] if isinstance(values, list) else values)
    assert len(places) == isinstance(values, list), "the others stay"
    assert any(says in fault for fault in faults), faults
    assert not any(SECRET in fault for fault in faults)


@pytest.mark.parametrize(
    ("steps", "words", "down_since"),
    [
        ("", "Duration: 1 min 5 s\nx", None),
        ("service_stop main 02:00:10 02:00:12 ok", "Services are down since 02:00 UTC.", "2026-11-27T02:00:10Z"),
        (
            "service_stop main 02:00:10 02:00:12 ok, service_start main 02:00:40 02:00:50 ok",
            "Duration: 1 min 5 s, Downtime: 40.0 s",
            None,
        ),
        (
            "service_stop main 02:00:10 02:00:12 ok, git_revert main 02:00:14 02:00:15 failed, "
            "service_stop recover 02:01:00 02:01:10 ok",
            "Duration: 1 min 5 s, Downtime: 1 min 0 s",
            None,
        ),
    ],
)
def test_the_downtime_at_the_end(web: Web, steps: str, words: str, down_since: str | None) -> None:
    phases = []
    for number, words_of in enumerate(filter(None, steps.split(", ")), 1):
        name, step, *times, status = words_of.split()
        began, ended = (f"2026-11-27T{time}Z" for time in times)
        row = {"host": "web1", "phase": f"{number}-{name}", "step": step, "status": status}
        phases.append({**row, "started": began, "finished": ended})
    telling = Telling(ABOUT, [{"kind": "webhook", "url": web.url()}], lambda: AT)
    telling.ended("failed", ["x"], "It failed.", 65.2, phases)
    assert telling.finish() == []
    [told] = web.got
    assert words in told.json["text"]
    assert told.json["down_since"] == down_since


def test_what_to_type_next() -> None:
    assert next_of(ABOUT, "succeeded", ["x"]) == [
        "To put the change back: ansible-playbook undo.yml -e change=C001",
        "x",
    ]
    undo = ABOUT.__class__(**{**vars(ABOUT), "kind": "undo"})
    assert next_of(undo, "succeeded", ["x"]) == ["x"]
    assert "-e run=R1" in STARTED["text"]
    assert "undo.yml -e change=C001 resumes it" in killed(undo, AT)["text"]
    assert "password=********" in message(ABOUT, "failed", AT, (), "password=hunter2")["text"]

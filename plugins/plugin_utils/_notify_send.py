# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that sends messages, so that whoever has something to tell never waits. Private to this collection.

It is run as a file, with the standard library only. Lines of JSON come in on stdin: first ``{"parent", "places",
"otherwise"}``, then messages, at last ``{"end"}``. Each message goes to all places at once, and each place has
`SECONDS` for it. What came of it goes out on stdout: ``{"event", "place", "fault"}``, with an empty fault where the
message has arrived.

When stdin or the parent ends without a message that has an outcome, ``otherwise`` is sent: the parent was killed.
Secrets come in on stdin only, and no text of a server or of an exception that may repeat them goes out.
"""

from __future__ import annotations

import contextlib
import email.message
import email.utils
import hashlib
import hmac
import http
import json
import os
import queue
import select
import smtplib
import socket
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.request

SECONDS = 5.0
LONGER = SECONDS + 1  # of one answer, so that the time for all of it is up first
SIGNATURE = "X-Changeops-Signature-256"
AGENT = "changeops.rollback"
SILENT = f"did not answer within {SECONDS:.0f} s"

Json = dict[str, t.Any]


class _Refused(Exception):
    """A place did not take a message; why, in words without secrets."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the message, and what signs it, elsewhere."""

    def redirect_request(self, *args: t.Any, **kwargs: t.Any) -> None:
        return None


def one_line(text: t.Any) -> str:
    """Text on one line, without control characters: as a header, and as a title, may have it."""
    words = " ".join(str(text).split())
    return "".join(letter for letter in words if letter.isprintable()).encode("utf-8", "replace").decode()


def slack_body(message: Json) -> bytes:
    """The body for a Slack-compatible webhook. Only what is in angle brackets is more than text there."""
    text = str(message["text"]).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return json.dumps({"text": text}).encode()


def webhook_body(message: Json) -> bytes:
    """The body for a webhook: the whole message."""
    return json.dumps(message, sort_keys=True).encode()


def signature(secret: str, body: bytes) -> str:
    """What the signature header says: HMAC-SHA256 of the body."""
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def mail(place: Json, message: Json) -> email.message.EmailMessage:
    """The message as a mail."""
    made = email.message.EmailMessage()
    made["Subject"] = one_line(message["subject"])
    made["From"] = one_line(place["from"])
    made["To"] = ", ".join(one_line(address) for address in place["to"])
    made["Date"] = email.utils.localtime()
    domain = one_line(place["from"]).rpartition("@")[2].strip(">") or "localhost"
    made["Message-ID"] = email.utils.make_msgid(domain=domain)  # else a name server is asked for it
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(str(message["text"]).encode("utf-8", "replace").decode())
    return made


def _post(place: Json, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": AGENT}
    if place.get("secret"):
        headers[SIGNATURE] = signature(place["secret"], body)
    request = urllib.request.Request(place["url"], body, headers, method="POST")  # noqa: S310  http or https
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=LONGER):
            pass
    except urllib.error.HTTPError as answer:
        known = answer.code in list(http.HTTPStatus)
        raise _Refused(f"answered {answer.code}{f' {http.HTTPStatus(answer.code).phrase}' if known else ''}") from None


def _mail(place: Json, message: Json) -> None:
    kind: t.Any = smtplib.SMTP_SSL if place["encryption"] == "tls" else smtplib.SMTP
    more = {"context": ssl.create_default_context()} if place["encryption"] == "tls" else {}
    # Its own name is given, since asking for it may ask a name server.
    host, name = place["host"], socket.gethostname() or "localhost"
    with kind(host, place["port"], local_hostname=name, timeout=LONGER, **more) as server:
        if place["encryption"] == "starttls":
            server.starttls(context=ssl.create_default_context())
        if place.get("username"):
            server.login(place["username"], place["password"])
        refused = server.send_message(mail(place, message))
    if refused:
        raise _Refused(f"does not take mail for {', '.join(sorted(refused))}")


def _reason(error: BaseException) -> str:
    """What went wrong, without any text that may repeat a URL or a password."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    words = f"cannot be reached ({type(error).__name__})"
    if isinstance(error, _Refused):
        words = str(error)
    elif isinstance(error, TimeoutError):
        words = SILENT
    elif isinstance(error, smtplib.SMTPRecipientsRefused):
        words = f"does not take mail for {', '.join(sorted(error.recipients))}"
    elif isinstance(error, smtplib.SMTPResponseException):
        words = f"answered {error.smtp_code} ({type(error).__name__})"
    elif isinstance(error, ssl.SSLCertVerificationError):
        words = f"has a certificate that does not hold: {error.verify_message}"
    elif isinstance(error, OSError) and error.strerror:
        words = f"cannot be reached: {error.strerror}"
    return words


def send(place: Json, message: Json) -> str:
    """Send a message to one place; returns what went wrong, or an empty text."""
    try:
        if place["kind"] == "email":
            _mail(place, message)
        else:
            _post(place, slack_body(message) if place["kind"] == "slack" else webhook_body(message))
    except Exception as error:
        return _reason(error)
    return ""


class _Sender:
    """Sends each message to all places at once, and says what came of each."""

    def __init__(self) -> None:
        self._places: list[Json] = []
        self._parent = 0
        self._otherwise: Json | None = None
        self._done: queue.Queue[tuple[int, str]] = queue.Queue()
        # (event, place, until when) of what is on its way
        self._pending: dict[int, tuple[str, str, float]] = {}
        self._number = 0
        self._ended = False

    def serve(self) -> None:
        """Take what comes in until it or the parent ends, and let what is on its way have its time."""
        known = b""
        while not self._ended:
            if select.select([0], [], [], 0.02 if self._pending else 0.5)[0]:
                read = os.read(0, 65536)
                if not read:
                    break
                *whole, known = (known + read).split(b"\n")
                for line in whole:
                    with contextlib.suppress(ValueError):  # empty, or cut off by a signal
                        self._take(json.loads(line))
            elif self._parent and os.getppid() != self._parent:
                break  # stdin may stay open in what it had forked
            self._report()
        if self._otherwise:
            self._begin(self._otherwise)
        while self._pending:
            self._report()
            time.sleep(0.02)

    def _take(self, given: Json) -> None:
        if "places" in given:
            self._places, self._parent, self._otherwise = given["places"], given["parent"], given["otherwise"]
        elif "end" in given:
            self._ended = True
        else:
            if given.get("outcome"):
                self._otherwise = None
            self._begin(given)

    def _begin(self, message: Json) -> None:
        for place in self._places:
            if message["event"] in place["events"]:
                self._number += 1
                self._pending[self._number] = (message["event"], place["name"], time.monotonic() + SECONDS)
                threading.Thread(target=self._one, args=(self._number, place, message), daemon=True).start()

    def _one(self, number: int, place: Json, message: Json) -> None:
        self._done.put((number, send(place, message)))

    def _report(self) -> None:
        """Say what has come to its end, or has had its time."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._say(*self._done.get_nowait())
        now = time.monotonic()
        for number in [number for number, (_event, _place, until) in self._pending.items() if until <= now]:
            self._say(number, SILENT)

    def _say(self, number: int, fault: str) -> None:
        if number in self._pending:
            event, place, _until = self._pending.pop(number)
            line = json.dumps({"event": event, "place": place, "fault": fault})
            with contextlib.suppress(OSError):  # nobody may be there any more to be told
                os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    _Sender().serve()
    os._exit(0)  # without those that were given up

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Places that messages are sent to: real servers on this machine, which keep what they get."""

from __future__ import annotations

import contextlib
import email
import email.message
import email.policy
import http.server
import json
import socket
import socketserver
import threading
import time
import typing as t


class Got(t.NamedTuple):
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> t.Any:
        return json.loads(self.body)


class Web(http.server.ThreadingHTTPServer):
    """Answers 200, or what the path asks for: /status/404 and /redirect."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[Got] = []

    def url(self, path: str = "/hook/T0KEN") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"

    def events(self) -> list[str]:
        return [got.json["event"] for got in self.got]

    def wait_for(self, number: int, seconds: float = 20) -> list[Got]:
        until = time.monotonic() + seconds
        while len(self.got) < number and time.monotonic() < until:
            time.sleep(0.02)
        return self.got


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(Got(self.path, dict(self.headers), body))
        asked = self.path.removeprefix("/status/")
        status = 302 if self.path == "/redirect" else int(asked) if asked.isdigit() else 200
        self.send_response(status, f"no such thing as {self.path}")
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.path.encode())

    do_GET = do_POST

    def log_message(self, *args: t.Any) -> None:
        pass


class Smtp(socketserver.ThreadingTCPServer):
    """Takes mail for everybody but nobody@."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.got: list[email.message.EmailMessage] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: Smtp

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self.say("220 sink")
        for read in self.rfile:
            words = read.decode().strip()
            if words.upper() == "DATA":
                self.say("354 go on")
                lines = list(iter(self.rfile.readline, b".\r\n"))
                made = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                self.server.got.append(t.cast("email.message.EmailMessage", made))
                self.say("250 taken")
            elif words.upper() == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("550 who?" if "nobody@" in words else "250 sink")


@contextlib.contextmanager
def serving(server: t.Any) -> t.Iterator[t.Any]:
    """The server, at work."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def silent() -> t.Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])

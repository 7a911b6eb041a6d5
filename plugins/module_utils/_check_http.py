# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check ``http``: a request is answered as expected. Private to this collection."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import queue
import re
import socket
import ssl
import threading
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ._check_kind import Kind, Look, Options, Scene, Verdict, filled, masked, short, unset, variables
from ._json_values import differences
from ._redact import redact
from ._words import listed

BODY_LIMIT = 1 << 20  # bytes of an answer that are looked at
LOCAL = ("localhost", "127.0.0.1", "::1")
READS = ("GET", "HEAD", "OPTIONS")

HTTP_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "url": {"type": "str", "required": True},
        "status": {"type": "list", "elements": "int", "default": [200]},
        "contains": {"type": "str"},
        "json": {"type": "dict", "default": {}},
        "method": {"type": "str", "default": "GET"},
        "body": {"type": "raw"},
        "headers": {"type": "dict", "default": {}, "no_log": True},
        "basic_auth": {"type": "str", "no_log": True},
        "unix_socket": {"type": "path"},
        "validate_certs": {"type": "bool", "default": True},
    },
}


class Answer(t.NamedTuple):
    """``status``, ``body`` and its ``type``, and the seconds that it took."""

    status: int
    type: str
    body: bytes
    seconds: float


class Http(Kind):
    """An answer with an expected status, text and JSON values. This host is asked without a proxy."""

    lasting = True

    def called(self, options: Options) -> str:
        """``GET http://127.0.0.1:8080/health``."""
        return f"{options['method'].upper()} {options['url']}"

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """A URL, a method or a header that cannot be sent."""
        yield from _url_faults(options["url"], options["unix_socket"])
        if not re.fullmatch(r"[A-Za-z]+", options["method"]):
            yield f"'{options['method']}' is no method. Write GET, HEAD or POST."
        texts = [*map(str, options["headers"].values()), options["basic_auth"] or ""]
        names = [name for text in texts for name in variables(text)]
        missing = [name for name in names if name not in scene.commands.environ]
        yield from map(unset, dict.fromkeys(missing))
        if not missing:
            yield from _header_faults(options, scene.commands.environ)

    def only_reads(self, options: Options) -> bool:
        """Whether the method is one that changes nothing."""
        return options["method"].upper() in READS

    def attempt(self, look: Look) -> Verdict:
        """Ask once."""
        headers, secrets = _headers(look.options, look.commands.environ)
        try:
            answer = _in_time(lambda: _ask(look.options, headers, look.timeout), look.timeout)
        except urllib.error.URLError as exc:
            return False, masked(f"no answer: {exc.reason}", secrets)
        except (OSError, ValueError, http.client.HTTPException) as exc:  # the last is half an answer
            return False, masked(f"no answer: {exc or type(exc).__name__}", secrets)
        if answer is None:
            return False, f"no whole answer within {look.timeout:g} s"
        return _judged(look.options, answer, secrets)


# --- the options


def _url_faults(url: str, unix_socket: str | None) -> t.Iterator[str]:
    shown = redact(url)
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        whole = False
    if not whole or re.search(r"[^!-~]", url):
        yield (
            f"'{shown}' is no URL. Write http://host:port/path or https://host/path, with spaces and other special "
            "characters percent-encoded."
        )
    elif parts.username or parts.password:
        yield f"'{shown}' holds a user. Give user and password in `basic_auth`, the password as ${{VARIABLE}}."
    elif unix_socket and parts.scheme == "https":
        yield f"'{shown}' cannot be asked on a unix socket. Write http://."


def _header_faults(options: Options, environ: t.Mapping[str, str]) -> t.Iterator[str]:
    for name, value in _headers(options, environ)[0].items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or re.search(r"[^\t -~]", value):
            yield f"the header {name!r} cannot be sent: only one line of ASCII characters can. Correct it."


def _headers(options: Options, environ: t.Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The headers to send, and the secrets in them: the values of variables, in each form that an answer may echo."""
    headers = {name: filled(str(value), environ) for name, value in options["headers"].items()}
    texts = [*map(str, options["headers"].values()), options["basic_auth"] or ""]
    secrets = [environ[name] for text in texts for name in variables(text)]
    if options["basic_auth"]:
        user = filled(options["basic_auth"], environ)
        token = base64.b64encode(user.encode("utf-8", "surrogateescape")).decode()
        headers["Authorization"] = f"Basic {token}"
        secrets += [token, user.partition(":")[2]]
    return headers, secrets + [json.dumps(secret)[1:-1] for secret in secrets]


# --- asking


def _in_time(work: t.Callable[[], Answer], timeout: float) -> Answer | None:
    """What ``work`` returns, or None if it does not end in time.

    The timeout of a socket is for each read, not for all of them, and there is none for looking up a name. So it is
    done in a thread, which ends with this process if it hangs.
    """
    box: queue.Queue[tuple[Answer | None, Exception | None]] = queue.Queue()

    def run() -> None:
        try:
            box.put((work(), None))
        except Exception as exc:
            box.put((None, exc))

    threading.Thread(target=run, daemon=True).start()
    try:
        answer, fault = box.get(timeout=timeout)
    except queue.Empty:
        return None
    if fault:
        raise fault
    return answer


def _ask(options: Options, headers: dict[str, str], timeout: float) -> Answer:
    body = options["body"]
    if isinstance(body, (dict, list)):
        body, headers = json.dumps(body), {"Content-Type": "application/json", **headers}
    data = None if body is None else str(body).encode()
    request = urllib.request.Request(options["url"], data, headers, method=options["method"].upper())  # noqa: S310 (the scheme is checked)
    begun = time.monotonic()
    with contextlib.closing(_open(_opener(options), request, timeout)) as answer:
        body = answer.read(BODY_LIMIT + 1)
        kind = answer.headers.get_content_type()
        return Answer(answer.getcode(), kind, body, time.monotonic() - begun)


def _open(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> t.Any:
    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as exc:
        return exc  # an answer like any other; the check knows which status it wants


def _opener(options: Options) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = []
    if not options["validate_certs"]:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        handlers.append(urllib.request.HTTPSHandler(context=context))
    if options["unix_socket"]:
        handlers.append(_UnixSocket(options["unix_socket"]))
    if options["unix_socket"] or urllib.parse.urlsplit(options["url"]).hostname in LOCAL:
        handlers.append(urllib.request.ProxyHandler({}))
    follow = not any(300 <= status < 400 for status in options["status"])
    return urllib.request.build_opener(*handlers, _Redirects(follow))


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, unless one is what is expected. Another server does not get the headers, often secret ones."""

    def __init__(self, follow: bool) -> None:
        self.follow = follow

    def redirect_request(
        self, req: urllib.request.Request, fp: t.Any, code: int, msg: str, headers: t.Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request to the new place; without one the redirect itself is the answer."""
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if not self.follow or new.scheme not in ("http", "https"):
            return None
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            request.headers.clear()
        return request


class _UnixSocket(urllib.request.HTTPHandler):
    """Asks at a socket of this host, whatever host the URL names."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open the request there."""
        path = self.path

        class Connection(http.client.HTTPConnection):
            def connect(self) -> None:
                self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.sock.settimeout(self.timeout)
                self.sock.connect(path)

        return self.do_open(Connection, req)


# --- judging


def _judged(options: Options, answer: Answer, secrets: list[str]) -> Verdict:
    text = masked(answer.body.decode("utf-8", "replace"), secrets)
    said = f"HTTP {answer.status} in {answer.seconds * 1000:.0f} ms"
    faults, wanted = [], options["contains"]
    if answer.status not in options["status"]:
        faults.append(f"expected {listed([str(status) for status in options['status']], 'or')}")
    if wanted and wanted not in text:
        faults.append(f"does not contain '{wanted}'")
    differs = _differences(options["json"], answer, text, lambda value: redact(masked(value, secrets)))
    if faults or differs:
        # Values that differ say more than the beginning of a long answer, which may not even hold them.
        ending = "" if differs or not text.strip() else f": {short(text, 120)}"
        return False, ", ".join([said, *faults, *differs]) + ending
    found = [f"contains '{wanted}'"] if wanted else []
    if options["json"]:
        count = len(options["json"])
        found.append(f"{count} JSON {'value' if count == 1 else 'values'} as expected")
    return True, ", ".join([said, *found])


def _differences(wanted: dict[str, t.Any], answer: Answer, text: str, hide: t.Callable[[str], str]) -> list[str]:
    if not wanted:
        return []
    if len(answer.body) > BODY_LIMIT:
        return [f"the answer is longer than {BODY_LIMIT >> 20} MiB"]
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return [f"the answer is no JSON ({answer.type}): {short(text, 100) or 'it is empty'}"]
    return differences(wanted, document, hide)

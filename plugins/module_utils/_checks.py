# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of checks that verify knows, each with its evidence. Private to this collection."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import sqlite3
import ssl
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request

from ._command import Commands
from ._redact import redact
from ._service_act import flapping
from ._services import Service, read_states
from ._words import listed

CHECKS_ARGUMENT: dict[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str"},
        "http": {
            "type": "dict",
            "options": {
                "url": {"type": "str", "required": True},
                "status": {"type": "int", "default": 200},
                "contains": {"type": "str"},
                "headers": {"type": "dict", "default": {}, "no_log": True},
                "validate_certs": {"type": "bool", "default": True},
            },
        },
        "service": {"type": "str"},
        "revision": {
            "type": "dict",
            "options": {
                "database": {"type": "path", "required": True},
                "expected": {"type": "list", "elements": "str", "required": True},
            },
        },
        "sql": {
            "type": "dict",
            "options": {
                "database": {"type": "path", "required": True},
                "query": {"type": "str", "required": True},
                "expected": {"type": "raw", "required": True},
            },
        },
        "rows": {
            "type": "dict",
            "options": {
                "database": {"type": "path", "required": True},
                "tables": {"type": "list", "elements": "str", "default": []},
                "except": {"type": "list", "elements": "str", "default": []},
                "exactly": {"type": "bool", "default": False},
            },
        },
        "command": {
            "type": "dict",
            "options": {
                "argv": {"type": "list", "elements": "str", "required": True},
                "chdir": {"type": "path"},
                "rc": {"type": "int", "default": 0},
                "contains": {"type": "str"},
            },
        },
        "timeout": {"type": "float", "default": 5.0},
        "retries": {"type": "int", "default": 10},
        "delay": {"type": "float", "default": 0.5},
    },
    "mutually_exclusive": [("http", "service", "revision", "sql", "rows", "command")],
    "required_one_of": [("http", "service", "revision", "sql", "rows", "command")],
}

BODY_LIMIT = 1 << 20  # bytes of an answer that are looked at
LOCAL = ("localhost", "127.0.0.1", "::1")

Verdict = t.Tuple[bool, str]  # whether it holds, and the evidence


@dataclasses.dataclass(frozen=True)
class Scene:
    """What checks look at beside their options."""

    commands: Commands
    services: dict[str, Service]
    stays_up: float
    counted: dict[str, dict[str, int]]


# --- the kinds, each (options, timeout, scene, name) -> verdict


def short(text: str, limit: int) -> str:
    """``text`` on one line, without secrets, in at most ``limit`` characters."""
    text = re.sub(r"\s+", " ", text[: limit * 20]).strip()
    if len(text) > limit * 4:  # an answer may be long; half a word at its end could be half a secret
        text = text[: limit * 4].rpartition(" ")[0] or "(one long word)"
    text = redact(text)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def check_http(options: dict[str, t.Any], timeout: float, scene: Scene, name: str) -> Verdict:
    """An answer with the expected status and text. Redirects are followed; this host is asked without a proxy."""
    request = urllib.request.Request(options["url"], headers={k: str(v) for k, v in options["headers"].items()})  # noqa: S310 (the scheme is checked)
    context = ssl.create_default_context()
    if not options["validate_certs"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
    if urllib.parse.urlsplit(options["url"]).hostname in LOCAL:
        handlers.append(urllib.request.ProxyHandler({}))
    begun = time.monotonic()
    try:
        with contextlib.closing(_open(urllib.request.build_opener(*handlers), request, timeout)) as answer:
            status, body = answer.getcode(), _body(answer, begun + timeout)
    except urllib.error.URLError as exc:
        return False, f"no answer: {exc.reason}"
    except (OSError, ValueError) as exc:  # also what http.client raises on half an answer
        return False, f"no answer: {exc or type(exc).__name__}"
    evidence = f"HTTP {status} in {(time.monotonic() - begun) * 1000:.0f} ms"
    wanted = options["contains"]
    if status != options["status"]:
        return False, f"{evidence}, expected {options['status']}: {short(body, 120)}"
    if wanted and wanted not in body:
        return False, f"{evidence}, does not contain '{wanted}': {short(body, 120)}"
    return True, f"{evidence}, contains '{wanted}'" if wanted else evidence


def _open(opener: urllib.request.OpenerDirector, request: urllib.request.Request, timeout: float) -> t.Any:
    import http.client

    try:
        return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as exc:
        return exc  # an answer like any other; the check knows which status it wants
    except http.client.HTTPException as exc:
        raise ValueError(repr(exc)) from exc


def _body(answer: t.Any, until: float) -> str:
    """The body, as far as it came in time: the timeout of a socket is for each read, not for all of them."""
    parts, size = [], 0
    while size < BODY_LIMIT and time.monotonic() < until:
        part = answer.read1(65536) if hasattr(answer, "read1") else answer.read(65536)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts).decode("utf-8", "replace")


def check_service(name_: str, timeout: float, scene: Scene, name: str) -> Verdict:
    """The service is up and stays up."""
    service = scene.services[name_]
    state = read_states(scene.commands, [service])[name_]
    if not state.up:
        return False, f"{name_} is not up: {state.said}"
    faults = flapping(scene.commands, [service], {name_: state}, scene.stays_up)
    if faults:
        return False, f"{name_} {faults[0][1]}"
    pids = f" as process {listed([str(pid) for pid in state.pids])}" if state.pids else ""
    return True, f"{name_} is up{pids} and stayed up for {scene.stays_up:g} s"


@contextlib.contextmanager
def _sqlite(path: str, timeout: float) -> t.Iterator[sqlite3.Connection]:
    """A connection that cannot write and whose queries end at the timeout."""
    uri = f"file:{urllib.parse.quote(os.path.abspath(path))}?mode=ro"
    until = time.monotonic() + timeout
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=timeout)) as connection:
        connection.execute("PRAGMA query_only = 1")
        connection.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
        yield connection


def check_revision(options: dict[str, t.Any], timeout: float, scene: Scene, name: str) -> Verdict:
    """Alembic's version table holds exactly the expected revisions; ``base`` is none."""
    with _sqlite(options["database"], timeout) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        rows = connection.execute("SELECT version_num FROM alembic_version").fetchall() if known else []
    found = sorted(row[0] for row in rows) or ["base"]
    expected = sorted(options["expected"])
    # a revision may be shortened to four characters or more, as Alembic allows
    same = len(found) == len(expected) and all(
        have == want or (len(want) >= 4 and have.startswith(want)) for have, want in zip(found, expected)
    )
    return same, f"at revision {listed(found)}" + ("" if same else f", expected {listed(expected)}")


def as_text(value: t.Any) -> str:
    """A value as the database writes it: true is 1, nothing is NULL."""
    if value is None:
        return "NULL"
    return str(int(value)) if isinstance(value, bool) else str(value)


def check_sql(options: dict[str, t.Any], timeout: float, scene: Scene, name: str) -> Verdict:
    """The first column of the first row is the expected value, compared as text."""
    with _sqlite(options["database"], timeout) as connection:
        row = connection.execute(options["query"]).fetchone()
    if row is None:
        return False, f"no row, expected {as_text(options['expected'])}"
    found, expected = as_text(row[0]), as_text(options["expected"])
    return (True, found) if found == expected else (False, f"{found}, expected {expected}")


def count_rows(options: dict[str, t.Any], timeout: float) -> dict[str, int]:
    """How many rows the tables have; without ``tables`` all of them, except Alembic's and SQLite's own."""
    with _sqlite(options["database"], timeout) as connection:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite@_%' ESCAPE '@'"
        there = [row[0] for row in connection.execute(query)]
        wanted = [n for n in options["tables"] or there if n not in options["except"] and n != "alembic_version"]
        quoted = {n: '"' + n.replace('"', '""') + '"' for n in wanted if n in there}
        return {n: connection.execute(f"SELECT count(*) FROM {q}").fetchone()[0] for n, q in quoted.items()}  # noqa: S608 (a quoted name)


def check_rows(options: dict[str, t.Any], timeout: float, scene: Scene, name: str) -> Verdict:
    """No table has fewer rows than preflight counted, or another number of them with ``exactly``."""
    before, now = scene.counted.get(name, {}), count_rows(options, timeout)
    faults = []
    for table, count in before.items():
        if table not in now:
            faults.append(f"table {table} ({count} rows) is gone")
        elif now[table] < count or (options["exactly"] and now[table] != count):
            faults.append(f"table {table} had {count} rows and has {now[table]}")
    if faults:
        return False, listed(faults)
    tables = "table" if len(before) == 1 else "tables"
    return True, f"{sum(now[n] for n in before)} rows in {len(before)} {tables}, {sum(before.values())} before"


def check_command(options: dict[str, t.Any], timeout: float, scene: Scene, name: str) -> Verdict:
    """The command ends with the expected exit code and prints the expected text."""
    done = scene.commands.run(options["argv"], cwd=options["chdir"], check=False, timeout=timeout)
    printed = done.out + done.err
    evidence = f"exit code {done.rc}"
    if done.rc != options["rc"]:
        return False, f"{evidence}, expected {options['rc']}: {done.said}"
    if options["contains"] and options["contains"] not in printed:
        return False, f"{evidence}, does not print '{options['contains']}': {done.said}"
    return True, f"{evidence}: {done.said}" if printed.strip() else evidence


KINDS: dict[str, t.Callable[[t.Any, float, Scene, str], Verdict]] = {
    "http": check_http,
    "service": check_service,
    "revision": check_revision,
    "sql": check_sql,
    "rows": check_rows,
    "command": check_command,
}

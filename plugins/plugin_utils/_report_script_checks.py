# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of ``verify`` as lines of the break-glass script. Private."""

from __future__ import annotations

import json
import shlex
import typing as t
import urllib.parse

from ..module_utils._redact import redact
from ._report_shell import Values, filled, word, words

_LOCAL = ("localhost", "127.0.0.1", "::1")
_HARMLESS = ("accept", "host", "user-agent", "content-type", "x-forwarded-proto", "x-forwarded-host")

Lines = tuple[str, list[str]]  # the command of a check, and what is noted for it beforehand


def check_lines(checks: t.Sequence[Values], services: t.Mapping[str, int]) -> tuple[list[str], ...]:
    """Lines that note what is compared; the checks; those that have to stay so; and what a person has to look at.

    :arg services: the script's number of each service.
    """
    looks: list[str] = []
    lines: list[str] = []
    lasting: list[str] = []
    by_eye: list[str] = []
    for number, one in enumerate(checks, 1):
        kind = next((name for name in one if name not in ("name", "required", "timeout", "retries", "delay")), "")
        options = one.get(kind)
        make = _KINDS.get(kind)
        found = make(options, one, number, services) if make else None
        name = redact(str(one.get("name") or _called(kind, options)))
        if found is None:
            by_eye.append(name)
            continue
        command, look = found
        required = "no" if one.get("required") is False else "yes"
        line = f"check {word(name)} {required}"
        lines.append(f"{line} {int(one.get('retries', 10))} {float(one.get('delay', 0.5)):g} {command}")
        looks += look
        if kind in ("http", "service"):
            lasting.append(f"{line} 0 0 {command}")
    return looks, lines, lasting, by_eye


def _called(kind: str, options: t.Any) -> str:
    """What a check without a name is about."""
    if isinstance(options, dict):
        about = next(
            (options[key] for key in ("url", "path", "unit", "table", "argv", "paths", "query") if options.get(key)), ""
        )
        return f"{kind} {shlex.join(about) if isinstance(about, list) else about}".strip()
    return f"{kind} {options}"


def _timeout(check: Values) -> str:
    return f"{float(check.get('timeout', 5.0)):g}"


def _http(options: Values, check: Values, _number: int, _services: t.Any) -> Lines | None:
    method = str(options.get("method") or "GET").upper()
    if options.get("body") or options.get("basic_auth") or method not in ("GET", "HEAD", "OPTIONS"):
        return None  # they may be secret, or change something
    statuses = [str(status) for status in _several(options.get("status", 200))]
    argv = ["--max-time", _timeout(check)]
    if not any(status.startswith("3") for status in statuses):
        argv.append("--location")
    if urllib.parse.urlsplit(str(options["url"])).hostname in _LOCAL:
        argv += ["--noproxy", "*"]
    if method != "GET":
        argv += ["--head"] if method == "HEAD" else ["--request", method]
    argv += ["--unix-socket", options["unix_socket"]] if options.get("unix_socket") else []
    argv += ["--insecure"] if options.get("validate_certs") is False else []
    headers = []
    for name, value in (options.get("headers") or {}).items():
        if name.lower() not in _HARMLESS and "${" not in str(value):
            return None  # it may be secret
        headers.append(filled(f"{name}: {value}"))
    wanted = json.dumps(options["json"]) if options.get("json") else ""
    if redact(wanted) != wanted:
        return None
    command = f"answers {word(' '.join(statuses))} {word(options.get('contains') or '')} {word(wanted)} {words(argv)}"
    if headers:  # by standard input, because an argument stands in the list of processes
        return f"with_headers {len(headers)} {' '.join(headers)} {command} --header @- {word(options['url'])}", []
    return f"{command} {word(options['url'])}", []


def _service(options: t.Any, _check: Values, _number: int, services: t.Mapping[str, int]) -> Lines | None:
    return (f"runs_{services[options]}", []) if options in services else None


def _revision(options: Values, _check: Values, _number: int, _services: t.Any) -> Lines:
    expected = [str(one) for one in _several(options["expected"])] or ["base"]
    table = word(options.get("version_table") or "alembic_version")
    return f"stands {filled(options['database'])} {table} {words(expected)}", []


def _sql(options: Values, _check: Values, _number: int, _services: t.Any) -> Lines:
    value = options["expected"]
    if isinstance(value, bool):
        postgresql = str(options["database"]).startswith("postgres")
        value = ("t" if value else "f") if postgresql else int(value)
    return f"gives {filled(options['database'])} {word(options['query'])} {word('' if value is None else value)}", []


def _rows(options: Values, _check: Values, number: int, _services: t.Any) -> Lines:
    excepted = " ".join(str(one) for one in options.get("except") or [])
    what = f"{filled(options['database'])} {word(excepted)} {words(options.get('tables') or [])}".rstrip()
    file = f'"$HERE/rows-{number}"'
    look = f"[[ -e $HERE/rows-{number} ]] || count_rows {what} > {file}"
    return f"has_rows {file} {'yes' if options.get('exactly') else 'no'} {what}", [look]


def _command(options: Values, check: Values, _number: int, _services: t.Any) -> Lines:
    argv = words(options["argv"])
    if options.get("chdir"):
        argv = f"env -C {word(options['chdir'])} {argv}"
    return f"ends {int(options.get('rc', 0))} {word(options.get('contains') or '')} {_timeout(check)} {argv}", []


def _several(value: t.Any) -> list[t.Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


_KINDS: dict[str, t.Callable[..., Lines | None]] = {
    "http": _http,
    "service": _service,
    "revision": _revision,
    "sql": _sql,
    "rows": _rows,
    "command": _command,
}

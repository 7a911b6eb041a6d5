# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a phase does on a host, as the commands that a person would type. Pure functions. Private to this collection.

They are to be read, beside the plan: the phases themselves look first, keep what was there and check what they did.
"""

from __future__ import annotations

import re
import shlex
import typing as t

from ..module_utils._redact import MASK, redacted
from ._plan import COLLECTION

Values = t.Mapping[str, t.Any]
RESTORE_POINT = "<restore point>"
_VARIABLE = re.compile(r"\$\{\w+\}")


class Options:
    """The variables of a phase's role on a host, without secrets: what the plan says beats what the inventory says."""

    def __init__(self, phase: Values, host: Values) -> None:
        self.name: str = phase["name"]
        self._vars: Values = phase["vars"]
        self._host = host

    def get(self, option: str, shared: str = "", default: t.Any = None) -> t.Any:
        """``<role>_<option>``, else the app's ``shared``, else ``default``."""
        for name in (f"{self.name}_{option}", shared):
            for where in (self._vars, self._host):
                if name and where.get(name) is not None:
                    return redacted(where[name], name)
        return default

    def items(self, option: str, shared: str = "") -> list[t.Any]:
        """The same of a list; one value is a list of one."""
        value = self.get(option, shared, [])
        return value if isinstance(value, list) else [value]


def commands(phase: Values, plan: Values, host: Values) -> list[str]:
    """The lines for one host, ready for a shell; a line that begins with ``#`` is no command but says what is done.

    :arg phase: one of the plan's.
    :arg host: the host's variables.
    """
    if phase["role"] == f"{COLLECTION}.{phase['name']}" and phase["name"] in _KNOWN:
        return _KNOWN[phase["name"]](Options(phase, host), plan)
    return [f"# the role {phase['role']}", *(f"#   {name}: {value}" for name, value in _shown(phase["vars"]))]


def account(phase: Values) -> str:
    """Whom the phase works as; empty for whom Ansible logs in as."""
    return str(phase["become_user"] or "root") if phase["become"] else ""


def _shown(values: Values) -> list[tuple[str, str]]:
    return [(name, " ".join(str(redacted(value, name)).split())) for name, value in values.items()]


def typed(words: t.Iterable[t.Any]) -> str:
    """An argument list as one types it."""
    return " ".join(_word(word) for word in words)


def _word(value: t.Any) -> str:
    text = str(value)
    if _VARIABLE.fullmatch(text):
        return f'"{text}"'
    return text if RESTORE_POINT in text or MASK in text else shlex.quote(text)


def command_of(value: t.Any) -> str:
    """A command that is given as a list of arguments or as text."""
    return typed(value) if isinstance(value, list) else str(value)


def _paths(items: t.Iterable[t.Any]) -> list[str]:
    return [str(item.get("path")) if isinstance(item, dict) else str(item) for item in items]


def _backup(of: Options, _plan: Values) -> list[str]:
    lines, repo = [], of.get("repo", "rollback_repo", "")
    if repo:
        lines.append(typed(["git", "-C", repo, "update-ref", "refs/changeops/<run>/before", "HEAD"]))
    paths = _paths(of.items("paths", "rollback_config"))
    if paths:
        lines += [typed(["cd", repo])] if repo else []
        lines.append(typed(["cp", "-a", "--parents", *paths, f"{RESTORE_POINT}/"]))
    archive, without = of.items("archive"), of.items("exclude")
    if archive:
        lines.append(typed(["tar", "-czpf", f"{RESTORE_POINT}/archive.tar.gz", *_excluded(without), *archive]))
    for one in of.items("databases"):
        kind, where = next(((key, value) for key, value in one.items() if value), ("", ""))
        if kind == "sqlite":
            lines.append(typed(["sqlite3", where, f".backup {RESTORE_POINT}/databases/"]))
        elif kind:
            url = f"${{{where}}}" if kind == "postgresql_env" else where
            lines.append(typed(["pg_dump", "-Fc", "-f", f"{RESTORE_POINT}/databases/", url]))
    return lines or ["# the state of the host is kept in the restore point"]


def _excluded(patterns: t.Iterable[t.Any]) -> list[str]:
    return [f"--exclude={pattern}" for pattern in patterns]


def service_command(service: Values, verb: str) -> str:
    """How a service is started, stopped or looked at (``start``, ``stop``, ``status``) by hand."""
    name, manager = service.get("name"), service.get("manager") or "service"
    if manager == "command":
        return command_of(service.get(verb) or [])
    if manager == "supervisord":
        config = ["-c", service["config"]] if service.get("config") else []
        return typed([service.get("supervisorctl") or "supervisorctl", *config, verb, name])
    user = ["--user"] if service.get("scope") == "user" else []
    return typed(["systemctl", *user, verb, name])


def _drained(of: Options, which: str) -> list[str]:
    return [command_of(one) for one in of.items(which, f"rollback_{which}")]


def _service_stop(of: Options, _plan: Values) -> list[str]:
    stops = [service_command(one, "stop") for one in of.items("services", "rollback_services")]
    return [*_drained(of, "drain"), *reversed(stops)]


def _service_start(of: Options, _plan: Values) -> list[str]:
    starts = [service_command(one, "start") for one in of.items("services", "rollback_services")]
    return [*starts, *_drained(of, "undrain")]


def _alembic_downgrade(of: Options, _plan: Values) -> list[str]:
    where = of.get("project", "rollback_repo", "")
    python = of.items("python") or [".venv/bin/python"]
    more: list[t.Any] = []
    for flag, option, usual in (("-c", "config", "alembic.ini"), ("-n", "section", "alembic")):
        value = of.get(option, default=usual)
        more += [flag, value] if value != usual else []
    for value in of.items("x"):
        more += ["-x", value]
    release = of.get("release", default="")
    lines = [f"# with the migrations of {release}, in a checkout of its own"] if release else []
    lines.append(typed(["cd", where]))
    lines.append(f"# what the downgrade destroys is exported to {RESTORE_POINT}/export.sqlite first")
    return [*lines, *(typed([*python, "-m", "alembic", *more, "downgrade", to]) for to in of.items("to"))]


def _git_revert(of: Options, _plan: Values) -> list[str]:
    repo, method = of.get("repo", "rollback_repo", ""), of.get("method", default="revert")
    if method == "release":
        to = of.get("to", default="") or f"<the release before {of.get('from', default='')}>"
        link = repo if repo.rstrip("/").endswith("/current") else f"{repo.rstrip('/')}/current"
        return [f"ln -sfn releases/{to} {typed([link])}"]
    mainline = of.get("mainline", default=0)
    if method == "checkout":
        lines = [typed(["git", "-C", repo, "checkout", of.get("to", default="")])]
    else:
        parent = ["-m", mainline] if mainline else []
        lines = [typed(["git", "-C", repo, "revert", "--no-edit", *parent, *of.items("commits")])]
    install = of.items("install", "rollback_install")
    if install:
        lines.append(f"{typed(['cd', repo])} && {typed(install)}")
    remote = of.get("push_remote", default="")
    if remote:
        lines.append(typed(["git", "-C", repo, "push", remote, f"HEAD:{of.get('push_branch', default='')}"]))
        lines[-1] += "  # once all is done and verified"
    return lines


def _config_restore(of: Options, plan: Values) -> list[str]:
    repo = of.get("repo", "rollback_repo", "")
    commits = of.items("commits") or plan["commits"]
    before = of.get("commit", default="") or (
        f"{commits[-1]}~1" if len(commits) == 1 else "<the commit before the change>"
    )
    lines = []
    in_git = [item for item in of.items("paths", "rollback_config") if not isinstance(item, dict)]
    if in_git:
        lines.append(typed(["git", "-C", repo, "checkout"]) + f" {before} -- {typed(in_git)}")
    for item in of.items("paths", "rollback_config"):
        if isinstance(item, dict):
            lines.append(_restored(item))
    check = of.get("validate", default=[])
    return [*lines, *([command_of(check)] if check else [])]


def _restored(item: Values) -> str:
    path, source = typed([item.get("path")]), item.get("source")
    if item.get("keys"):
        return f"# {', '.join(map(str, item['keys']))} in {path}, {f'from {source}' if source else 'as before'}"
    if source:
        return typed(["cp", "-p", source, item.get("path")])
    origin = f"the template {item['template']}" if item.get("template") else "the text in the inventory"
    return f"# {path} from {origin}"


def _verify(of: Options, _plan: Values) -> list[str]:
    services = {one.get("name"): one for one in of.items("services", "rollback_services") if isinstance(one, dict)}
    lines = []
    for check in of.items("checks", "rollback_checks"):
        kind = next((kind for kind in _CHECKS if isinstance(check, dict) and check.get(kind)), "")
        if kind == "service":
            lines.append(service_command(services.get(check[kind], {"name": check[kind]}), "status"))
        elif kind:
            lines += _CHECKS[kind](check[kind])
    return lines


def _http(of: Values) -> list[str]:
    method = ["-X", of["method"]] if of.get("method", "GET") != "GET" else []
    return [typed(["curl", "-fsS", *method, of.get("url")])]


def _command(of: Values) -> list[str]:
    chdir = f"{typed(['cd', of['chdir']])} && " if of.get("chdir") else ""
    return [chdir + command_of(of.get("argv") or [])]


def _files(of: Values) -> list[str]:
    return [typed(["sha256sum", *(of.get("paths") or []), *(of.get("sha256") or {})])]


def _sql(of: Values, *queries: str) -> list[str]:
    database = str(of.get("database"))
    client = "psql" if "://" in database or database.startswith("$") else "sqlite3"
    return [typed([client, database, query]) for query in queries]


# SQL to be read, not run: no plan of this collection comes to a database this way.
_CHECKS: dict[str, t.Callable[[Values], list[str]]] = {
    "service": lambda of: [],
    "http": _http,
    "command": _command,
    "files": _files,
    "journal": lambda of: [typed(["journalctl", "-p", "err", "-u", of.get("unit")])],
    "log": lambda of: [typed(["tail", "-n", "100", of.get("path")])],
    "revision": lambda of: _sql(of, f"SELECT version_num FROM {of.get('version_table') or 'alembic_version'}"),  # noqa: S608
    "sql": lambda of: _sql(of, str(of.get("query"))),
    "rows": lambda of: _sql(of, *(f"SELECT count(*) FROM {one}" for one in of.get("tables") or ["<each table>"])),  # noqa: S608
    "content": lambda of: _sql(of, f"SELECT {', '.join(of.get('columns') or ['*'])} FROM {of.get('table')}"),  # noqa: S608
}


def _run_script(of: Options, _plan: Values) -> list[str]:
    where = of.get("directory", "rollback_repo", "")
    lines = [typed(["cd", where])] if where else []
    return [*lines, typed([of.get("script", default=""), *of.items("arguments")])]


def _manual_step(of: Options, _plan: Values) -> list[str]:
    lines = str(of.get("instructions", default="")).splitlines()
    return ["# a person does this:", *(f"#   {line}".rstrip() for line in lines)]


_KNOWN: dict[str, t.Callable[[Options, Values], list[str]]] = {
    "backup": _backup,
    "service_stop": _service_stop,
    "alembic_downgrade": _alembic_downgrade,
    "git_revert": _git_revert,
    "config_restore": _config_restore,
    "service_start": _service_start,
    "verify": _verify,
    "run_script": _run_script,
    "manual_step": _manual_step,
}

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How an app stands on a host: its code, database, config and services. Only reads. Private to this collection.

Each part is read by itself: what keeps one from being read is a sentence, and the others are there all the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import typing as t

from ._command import Commands, PhaseError
from ._env_file import read_environment
from ._files import ABSENT, FILE, FOLDER, LINK, look, walk
from ._git import AsOwner, git_of_owner, printable
from ._read_database import database_at
from ._redact import redact
from ._service_systemd import Systemd
from ._services import PATTERN, Service, read_states, services_from
from ._stack import changes_in, migrations_in, missing_in

PART_TIMEOUT = 20.0  # seconds that one part may take, so that a database which hangs leaves time for the services


def read_status(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """All parts of the module's options, as JSON values without secrets.

    ``code`` is None where no repository is given, ``services`` and ``revisions`` are by name, ``files`` are SHA-256 by
    path, ``digest`` is one of all files. ``changes``, ``migrations`` and ``missing`` are what ``_stack`` tells of the
    changes that are asked for.
    ``unread``: a sentence for each part that cannot be read.
    """
    found: dict[str, t.Any] = {
        "repo": params["repo"] or "",
        "code": None,
        "revisions": {},
        "digest": "",
        "files": {},
        "services": {},
        "changes": {},
        "migrations": {},
        "missing": {},
    }
    unread: dict[str, str] = {}
    environ, timeout = dict(os.environ), min(params["timeout"], PART_TIMEOUT)
    all_in_time = Commands(params["timeout"])

    def commands(cls: type[Commands] = Commands) -> Commands:
        return cls(all_in_time.remaining(timeout), environ)

    def read(part: str, work: t.Callable[[], t.Any]) -> None:
        try:
            found[part] = work()
        except PhaseError as exc:
            unread[part] = str(exc)
        except OSError as exc:
            unread[part] = redact(f"{exc.filename or 'a file'} cannot be read ({exc.strerror or exc}).")

    def variables() -> None:
        environ.update(read_environment(params["environment_files"]))

    read("environment", variables)
    found.pop("environment", None)
    if params["repo"]:
        read("code", lambda: _code(params["repo"], t.cast(AsOwner, commands(AsOwner))))
    if found["code"] and found["code"]["commit"]:
        git = git_of_owner(params["repo"], t.cast(AsOwner, commands(AsOwner)))
        read("changes", lambda: changes_in(git, params["changes"], params["config"]))
        read("migrations", lambda: migrations_in(git) if params["changes"] else {})
        read("missing", lambda: missing_in(git, params["changes"]))
    if params["databases"]:
        read("revisions", lambda: _revisions(params["databases"], commands()))
    if params["config"]:
        read("files", lambda: _files(params["config"], params["repo"], t.cast(AsOwner, commands(AsOwner))))
        found["digest"] = _digest(found["files"]) if "files" not in unread else ""
    if params["services"]:
        read("services", lambda: _services(params["services"], commands()))
    return dict(found, unread=unread)


def _code(repo: str, commands: AsOwner) -> dict[str, t.Any]:
    """Commit, branch and changed files; for a release behind a symlink its folder's name too."""
    release = os.path.basename(os.path.realpath(repo)) if os.path.islink(repo) else ""
    git = git_of_owner(repo, commands)
    try:
        git.top()
    except PhaseError:
        if release and os.path.isdir(repo):
            return {"commit": "", "branch": "", "changed": [], "release": release}
        raise
    changed = [printable(name) for name in git.dirty()]
    return {"commit": git.head(), "branch": git.branch(), "changed": changed, "release": release}


def _revisions(tables: t.Mapping[str, str], commands: Commands) -> dict[str, list[str]]:
    """The rows of each database's version table, by its address; ``base`` where there are none."""
    found = {}
    for address, table in tables.items():
        database = database_at(address, commands)
        faults = list(database.missing())
        if faults:
            raise PhaseError(" ".join(faults))
        left = commands.remaining() or 0.0
        there = database.tables(left).get(table)
        rows = database.query(f"SELECT version_num FROM {there}", left) if there else []  # noqa: S608 (a quoted name)
        found[redact(address)] = sorted(str(row[0]) for row in rows) or ["base"]
    return found


def _files(paths: t.Sequence[str], repo: str | None, commands: AsOwner) -> dict[str, str]:
    """SHA-256 of each config file, by its path as given; of a folder in git the tracked ones. Empty: there is none."""
    found = {}
    for path in paths:
        given = path.rstrip("/") or "/"
        whole = os.path.join(repo or "", given)
        if not os.path.isabs(whole):
            raise PhaseError(f"{given} is not absolute and there is no rollback_repo. Write its whole path.")
        whole = os.path.realpath(whole)
        kind = look(whole, digest=False).kind
        below = [whole]
        if kind == FOLDER:
            tracked = _tracked(whole, commands)
            below = list(walk(whole)) if tracked is None else [os.path.join(whole, name) for name in tracked]
        for one in below:
            there = look(one)
            if there.kind in (FILE, LINK, ABSENT):
                name = given if one == whole else os.path.join(given, os.path.relpath(one, whole))
                found[printable(name)] = there.sha256 or ""
    return found


def _tracked(folder: str, commands: AsOwner) -> list[str] | None:
    """The files below ``folder`` that git tracks; None where it is in no work tree, or git tracks nothing there."""
    git = git_of_owner(folder, commands)
    if git.run("rev-parse", "--is-inside-work-tree", check=False).out.strip() != "true":
        return None
    return git.names("ls-files", "--cached", "-z") or None


def _digest(files: t.Mapping[str, str]) -> str:
    """One digest of all files."""
    lines = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _services(items: t.Sequence[dict[str, t.Any]], commands: Commands) -> dict[str, str]:
    """A word for each service, and for each unit where a pattern is given."""
    services: list[Service] = []
    for service in services_from(items):
        names = [service.name]
        if isinstance(service.manager, Systemd) and PATTERN.search(service.name):
            names = service.manager.loaded(commands, service.name)
        services += [dataclasses.replace(service, name=name) for name in names]
    states = read_states(commands, services)
    return {name: state.word if state.known else "unknown" for name, state in states.items()}

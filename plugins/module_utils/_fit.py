# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the code that is gone back to runs, tried in a copy of its own beside the live app. Private.

The code with its environment, its tests, the config as it is to be restored, and the app, which is started on a free
port and ended again. A phase that has a downgraded copy of the database gives that to the app.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import time
import typing as t
from pathlib import Path

from ._command import Commands, PhaseError
from ._config_wanted import Survey, survey
from ._env_file import read_environment
from ._files import ABSENT, FILE, LINK, look
from ._git import printable
from ._git_place import Place
from ._git_rehearsal import check_out, scratch_repository
from ._git_revert import goal_of, try_install
from ._install_command import moved
from ._libpq import url_variables
from ._phase import Context, Report
from ._processes import end_marked, marked, probe, who_holds
from ._redact import MASK, redact
from ._restore_point import RestorePoint, make_private

FIT_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "code": {"type": "list", "elements": "dict", "default": []},
        "app": {
            "type": "dict",
            "options": {
                "command": {"type": "list", "elements": "str", "default": []},
                "environment": {"type": "dict", "default": {}},
                "health": {"type": "str", "default": ""},
                "test": {"type": "list", "elements": "str", "default": []},
                "timeout": {"type": "float", "default": 30.0},
            },
        },
        "config": {
            "type": "dict",
            "options": {
                "repo": {"type": "path"},
                "paths": {"type": "list", "elements": "raw", "default": []},
                "commits": {"type": "list", "elements": "str", "default": []},
                "commit": {"type": "str", "default": ""},
                "private": {"type": "str", "no_log": True},
            },
        },
    },
}
HOW = "rollback_app does not say how (see ansible-doc -t role changeops.rollback.run)"
MARK = "CHANGEOPS_REHEARSAL"  # by this variable processes that left their group are found
# What tests get of the environment. They may empty the database that a variable of the app names.
TESTS_GET = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "http_proxy", "https_proxy", "no_proxy")
LAST = 1 << 16  # bytes of what the app printed that are looked at


class Fit:
    """The code that is gone back to, in a copy.

    :arg code: the options of git_revert.
    :arg place: a directory for all of it, which the caller removes.
    """

    def __init__(self, ctx: Context, code: dict[str, t.Any], place: Path) -> None:
        self.place = place
        self.mark = f"{MARK}={place}"
        end_marked(self.mark)  # of a rehearsal that was killed
        shutil.rmtree(str(place), ignore_errors=True)
        make_private(place / "tmp")
        self.environment: dict[str, str | None] = {MARK: str(place), "TMPDIR": str(place / "tmp")}
        environ = {**ctx.commands.environ, MARK: str(place), "TMPDIR": str(place / "tmp")}
        self.commands = Commands(ctx.commands.remaining(), environ, inherit=ctx.commands.inherit)
        self.given = ctx.params.get("fit") or {}
        self.app = self.given.get("app") or {}
        self.files = ctx.params["environment_files"]
        inner = RestorePoint(str(place / "run" / "git_revert"))
        self.where = Place(Context(dict(code, fit=None), inner, self.commands, True, {}))
        self.folder = place / "tree" / self.where.below
        self.commit = ""
        self.words: list[str] = []
        self.seconds: dict[str, float] = {}

    @property
    def said(self) -> str:
        """What was found out, for the user."""
        return " ".join(self.words)

    def inside(self, path: Path) -> Path | None:
        """Where a file or directory of the work tree is in the copy; None where it is not in the work tree.

        :arg path: a symlink stands for itself.
        """
        real = os.path.join(os.path.realpath(str(path.parent)), path.name)
        below = os.path.relpath(real, os.path.realpath(str(self.where.repo)))
        return None if below.startswith(os.pardir) else self.place / "tree" / below

    def prepare(self) -> None:
        """Make the code, install what it needs, and run its tests.

        :raises PhaseError: something of it fails.
        """
        self._refuse_wrong()
        scratch = scratch_repository(self.where.git, self.place / "tree")
        self.commit = goal_of(self.where, scratch, self.where.position()["commit"])["target"]
        params = self.where.ctx.params
        install = shlex.join(params["install"])
        if params["install"] and params["rehearse_install"]:
            began = time.monotonic()
            self.environment.update(try_install(self.where, scratch, self.commit).environment)
            self._tell("install", f"'{install}' works in a copy of {self.commit[:10]}", began)
        else:
            check_out(scratch, self.commit)
            if install:
                self.words.append(f"'{install}' was not tried (git_revert_rehearse_install).")
        if self.app.get("test"):
            self._test()

    def _tell(self, what: str, words: str, began: float) -> None:
        self.seconds[what] = round(time.monotonic() - began, 3)
        self.words.append(f"{words} ({self.seconds[what]:.1f} s).")

    def _test(self) -> None:
        began = time.monotonic()
        argv = self._moved(self.app["test"])
        others = [name for name in self.commands.environ if name not in TESTS_GET and not name.startswith("LC_")]
        try:
            done = self.commands.run(
                argv, cwd=self.folder, env={**dict.fromkeys(others), **self.environment}, check=False
            )
        finally:
            end_marked(self.mark)
        shown = redact(shlex.join(self.app["test"]))
        if done.rc:
            raise PhaseError(
                f"The tests of the code that is gone back to ({self.commit[:10]}) fail: '{shown}' ended with exit code "
                f"{done.rc}: {last_lines(done.out + done.err)}. Correct what they find, or the command (rollback_app, "
                "test)."
            )
        self._tell("test", f"Its tests pass: '{shown}'", began)

    # --- the app

    def _texts(self) -> tuple[list[str], list[str]]:
        """The texts of rollback_app that a list of processes may show, and the others."""
        return [*self.app.get("command", []), self.app.get("health", "")], [
            str(value) for value in self.app.get("environment", {}).values()
        ]

    def _refuse_wrong(self) -> None:
        """Refuse what cannot be meant: it would ask the live app, or show a password."""
        shown, environment = self._texts()
        if not any(shown):
            return
        if not all((self.app["command"], self.app["health"])):
            raise PhaseError("rollback_app needs both command and health, to start the app and to see that it works.")
        if "{port}" not in self.app["health"] or not any("{port}" in text for text in [*shown[:-1], *environment]):
            raise PhaseError(
                "rollback_app has to say {port} in health, and in command or environment: a free port is put there, so "
                "that neither is the live app's."
            )
        if any("{database_url}" in text for text in shown):
            raise PhaseError(
                "rollback_app says {database_url} in command or health, where everybody on the host could read its "
                "password. Give it to the app in environment."
            )

    @property
    def starts(self) -> bool:
        """Whether it is known how the app is started."""
        return bool(self.app.get("command"))

    def leave(self) -> None:
        """Say that the app is not started, and why."""
        why = "since there is no downgraded copy here that it could use" if self.starts else f"because {HOW}"
        self.words.append(f"Its app was not started, {why}.")

    def start(self, database: dict[str, str] | None = None) -> None:
        """Start the app, see that it answers, and end it.

        :arg database: what stands for ``{database}`` and ``{database_url}``; None where there is no copy.
        :raises PhaseError: it does not start or answer in time, or left the port in use.
        """
        shown, environment = self._texts()
        needs = any("{database}" in text or "{database_url}" in text for text in [*shown, *environment])
        if not self.starts or (needs and database is None):
            self.leave()
            return
        if database is not None and not needs:
            raise PhaseError(
                "rollback_app does not say how the app is told its database, so it would use the live one. Write "
                '{database} or {database_url} where it goes, as in environment: {DATABASE_URL: "{database_url}"}'
            )
        port = free_port()
        values = {"port": str(port), "config": str(self.place / "config"), **(database or {})}
        files = self._restored()
        places = [files.get(os.path.realpath(path), Path(path)) for path in self.files]
        own = read_environment(str(path) for path in places if path)
        own.update({name: filled(str(value), values) for name, value in self.app["environment"].items()})
        began = time.monotonic()
        try:
            self._ask(own, values)
        finally:
            end_marked(self.mark)
        if probe("127.0.0.1", port) is not False:
            raise PhaseError(f"The app of {self.commit[:10]} was ended, but {who_holds(port)}. Look at it and end it.")
        self._tell("start", f"The app of that code starts{' on the downgraded copy' if database else ''}", began)

    def _ask(self, own: dict[str, str], values: dict[str, str]) -> None:
        """Start it and wait for its answer."""
        argv = [filled(word, values) for word in self._moved(self.app["command"])]
        url = filled(self.app["health"], values)
        environ = {**os.environ, **own, **{name: value for name, value in self.environment.items() if value}}
        for name in [name for name, value in self.environment.items() if value is None]:
            environ.pop(name, None)
        secrets = [*secrets_of(own), *secrets_of(values)]
        began, printed = time.monotonic(), self.place / "printed"
        seconds = t.cast("float", self.commands.remaining(self.app["timeout"]))
        with printed.open("wb") as output, self.commands.running(argv, self.folder, environ, output) as process:
            fine, ended, said = False, False, "it was not asked"
            while not fine and not ended and time.monotonic() - began < seconds:
                fine, said = ask(url, self.commands, max(0.1, min(5.0, began + seconds - time.monotonic())))
                ended = process.poll() is not None and not marked(self.mark)  # what it started may be the app
                time.sleep(0 if fine else 0.1)
            told = hidden(last_lines(printed.read_bytes()[-LAST:].decode("utf-8", "replace")), secrets)
        if fine and not ended:
            return
        after = time.monotonic() - began
        why = (
            f"ended with exit code {process.returncode} after {after:.1f} s"
            if ended
            else f"did not answer {url} within {seconds:g} s ({said})"
        )
        raise PhaseError(
            f"The app of the code that is gone back to ({self.commit[:10]}) does not start"
            f"{' on the downgraded copy' if 'database' in values else ''}: '{redact(shlex.join(self.app['command']))}' "
            f"{hidden(why, secrets)}. It printed: {told}. Correct the plan, or how it is started (rollback_app)."
        )

    def _moved(self, argv: t.Sequence[str]) -> list[str]:
        return moved(argv, self.folder, self.where.app)

    def _restored(self) -> dict[str, Path | None]:
        """Put the config as it is to be restored into the copy; what is not in the work tree goes below ``config``.

        Returns where each file is, None for one that is not to be there any more.
        """
        config = self.given.get("config")
        if not config or not config["paths"]:
            return {}
        ctx = Context(config, self.where.ctx.point, self.commands, True, {})
        found = survey(ctx, Path(make_folder(self.place / "survey")))
        try:
            return self._put(found)
        finally:
            shutil.rmtree(str(self.place / "survey"), ignore_errors=True)

    def _put(self, found: Survey) -> dict[str, Path | None]:
        changes = {change.path: change for change in found.changes}
        placed: dict[str, Path | None] = {}
        for path in sorted(found.state):
            change = changes.get(path)
            copy = self.inside(Path(path)) or self.place / "config" / path.lstrip("/")
            make_folder(copy.parent)
            if os.path.realpath(str(self.place)) not in map(str, Path(os.path.realpath(str(copy.parent))).parents):
                raise PhaseError(f"{copy.parent} leads out of the copy of the code, so {path} was not restored there.")
            with contextlib.suppress(FileNotFoundError):
                copy.unlink()
            then = change.then if change else look(path, digest=False)
            placed[path] = None if then.kind == ABSENT else copy
            if then.kind == LINK:
                os.symlink(str(then.target), str(copy))
            elif then.kind == FILE:
                shutil.copyfile(str(change.content if change else path), str(copy))
                copy.chmod((then.mode or 0) | 0o600)
        return placed


def rehearse_code(ctx: Context) -> Report:
    """The rehearsal of git_revert, where no phase of this host has a downgraded copy of the database."""
    fit = Fit(ctx, ctx.params, ctx.point.scratch_path / "fit")
    fit.prepare()
    fit.start()
    return Report(
        f"{ctx.prepared['what']} gives {fit.commit[:10]}. {fit.said}",
        after={**fit.where.goal(ctx.prepared), "fit": fit.seconds},
        facts={
            "asked": ctx.params["commits"] if fit.where.moves_branch else [ctx.params["to"]],
            "commit": fit.commit,
            "files": [{"path": printable(one["path"]), "status": one["status"]} for one in ctx.prepared["files"]],
            "fit": fit.seconds,
        },
    )


def make_folder(path: Path) -> Path:
    """Make a directory with its parents."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def filled(text: str, values: t.Mapping[str, str]) -> str:
    """``text`` with the values put where their names stand in braces; other braces stay."""
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def ask(url: str, commands: Commands, timeout: float) -> tuple[bool, str]:
    """Ask the app once: whether it answers with 200, and what it said."""
    from ._check_http import HTTP_ARGUMENT, Http
    from ._check_kind import Look, Scene

    options = {name: spec.get("default") for name, spec in HTTP_ARGUMENT["options"].items()}
    options.update(url=url, validate_certs=False)  # it has that of the live app's name, if it has one
    return Http().attempt(Look(options, timeout, Scene(commands, {})))


def last_lines(text: str) -> str:
    """The last lines that a program printed, for a sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return redact(" / ".join(lines[-6:])).rstrip(".") or "nothing"


def secrets_of(values: t.Mapping[str, str]) -> list[str]:
    """Values that must not be shown: those of variables with such a name, and passwords in URLs."""
    found = [value for name, value in values.items() if redact(f"{name}=x") != f"{name}=x"]
    found += [(url_variables(value) or {}).get("PGPASSWORD", "") for value in values.values()]
    return [value for value in found if len(value) > 3]


def hidden(text: str, secrets: t.Iterable[str]) -> str:
    """``text`` without ``secrets``."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text

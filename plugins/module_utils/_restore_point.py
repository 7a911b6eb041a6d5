# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore point on a host: what a run found and kept. Private to this collection.

Layout (directories 0700, files 0600; where phases of one run work as several accounts, see ``_shared``)::

    <state dir>/                    /var/lib/changeops for root, else ~/.local/state/changeops. 0711: anybody may go
                                    through to hold.json, and nobody can list what else is there
        hold.json                   0644, what must not be shipped again (see ``_hold``)
        lock.json                   which run works on this host (see the restore_point module)
        work.lock                   held with flock by whatever works on this host now
        program/<key>/              our modules of one version, sent once (see ``_prepared_start``); may be removed
        <restore point id>/
            run.json                change, digest of the plan, who
            server-<uid>.sock       while the run is at work, see ``_prepared_server``
            <phase>.sock            until the phase is at work, see ``_alembic_ahead``
            <phase>/                one part for each phase
                state.json          what preflight found, how far main came
                reserve             room for what recovery notes on a disk that is full
                scratch/            removed when the run ends
                ...                 what the phase keeps
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import stat
import time
import typing as t
from pathlib import Path

from ._command import PhaseError, end_group
from ._shared import is_shared

STANDALONE = "standalone"
STATE_MODE = 0o711
RESERVE, RESERVED = "reserve", 1 << 20  # bytes; the driver of Alembic and a few notes
ANYBODYS = "/var/tmp/changeops"  # noqa: S108 (what a message suggests to accounts without a home)


def default_state_dir(euid: int, environ: t.Mapping[str, str]) -> Path:
    """Where restore points lie unless told otherwise: FHS for root, XDG for everybody else."""
    if euid == 0:
        return Path("/var/lib/changeops")
    base = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "changeops"


def user_name(uid: int) -> str:
    """The account's name, or its number where it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def told(exc: OSError, state_dir: Path, phase: str = "", alone: bool = False) -> str:
    """An error of the system as a sentence; about the restore point's place it says what to set."""
    said = f"{exc.filename or phase}: {exc.strerror or exc}."
    path = Path(str(exc.filename or "/nowhere"))
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        said += " Make room there."
    elif state_dir in (path, *path.parents) or path in state_dir.parents:
        setting, place = "rollback_state_dir", ANYBODYS
        if alone:
            setting, place = f"{phase}_restore_point", f"{place}/{STANDALONE}/{phase}"
        said += (
            f" {user_name(os.geteuid())} cannot keep a restore point there. Set {setting} to a directory that this "
            f"account may enter and write to, such as {place}."
        )
    return said


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write ``data`` so that a reader sees the old content or the new one, also after a crash.

    What root writes into the part of another account belongs to that account, which has to read it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    try:
        fd = os.open(str(temporary), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(fd, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            owner = path.parent.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.fchown(stream.fileno(), owner.st_uid, owner.st_gid)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(str(temporary), str(path))
    except OSError as exc:
        with contextlib.suppress(OSError):
            temporary.unlink()
        exc.filename = exc.filename or str(path)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make a rename in ``path`` last through a power cut."""
    fd = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_json(path: Path, value: t.Any) -> None:
    """Write ``value`` as JSON, atomically, mode 0600."""
    write_file(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> t.Any:
    """Read JSON; None where there is no such file.

    :raises PhaseError: the file is there and is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as exc:
        raise PhaseError(f"{path} is damaged ({exc}). Look at it, and move it away to go on without it.") from exc


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def make_private(path: Path, mode: int = 0o700) -> None:
    """Make ``path`` and its missing parents, each with ``mode``; what a run shares with its accounts stays so."""
    for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
        folder.mkdir(mode=mode, exist_ok=True)
    # Another account of the run may not set what is as it should be.
    if not is_shared(path) and stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


class RestorePoint:
    """One phase's part of a restore point.

    :arg text: ``<restore point id>/<phase>``, below the default state directory, or an absolute path to the part.
    """

    def __init__(self, text: str, euid: int | None = None, environ: t.Mapping[str, str] | None = None) -> None:
        given = Path(os.path.expanduser(text))
        if ".." in given.parts:
            raise PhaseError(f"The restore point '{text}' must not contain '..'.")
        if not given.is_absolute():
            euid = os.geteuid() if euid is None else euid
            given = default_state_dir(euid, os.environ if environ is None else environ) / given
        self.part = given
        self.phase = given.name

    @property
    def root(self) -> Path:
        """The run's restore point."""
        return self.part.parent

    @property
    def state_dir(self) -> Path:
        """Where all restore points of this host lie."""
        return self.root.parent

    @property
    def standalone(self) -> bool:
        """True where a role is used by itself, outside a run."""
        return self.root.name == STANDALONE

    def make(self) -> None:
        """Make the directories, each 0700 but the state directory."""
        make_private(self.state_dir, STATE_MODE)
        for path in (self.root, self.part):
            make_private(path)

    def read(self) -> dict[str, t.Any]:
        """What this phase has noted so far; empty where nothing was."""
        return t.cast("t.Dict[str, t.Any]", read_json(self.part / "state.json") or {})

    def write(self, **changes: t.Any) -> dict[str, t.Any]:
        """Note ``changes`` beside what is there (values are JSON), durably, before acting on them."""
        state = dict(self.read(), **changes)
        self.make()
        write_json(self.part / "state.json", state)
        return state

    def reserve(self) -> None:
        """Take room on the disk, so that what failed because it is full can be put back and that be noted."""
        if not (self.part / RESERVE).exists():
            write_file(self.part / RESERVE, os.urandom(RESERVED))  # zeros might take none

    def use_reserve(self) -> None:
        """Give that room back."""
        with contextlib.suppress(FileNotFoundError):
            (self.part / RESERVE).unlink()

    def check_host(self, run: str) -> None:
        """See that the host still belongs to ``run``; empty for any. To be asked under the work lock.

        :raises PhaseError: its lock was broken, by a run that may be at work here by now or that is done.
        """
        lock = read_json(self.state_dir / "lock.json") or {}
        if run and lock.get("run") != run:
            by = "run {run} of {executed_by} from {controller} broke its lock and rolls back {change}"
            raise PhaseError(
                "Run {} has lost this host: {}. It does nothing more here.".format(
                    run, by.format(**lock) if lock else "its lock was broken"
                )
            )

    def reset(self) -> None:
        """Forget this part, files and all."""
        shutil.rmtree(str(self.part), ignore_errors=True)

    def scratch(self) -> Path:
        """An empty directory for what is needed only until the run ends. Emptied at each call."""
        path = self.part / "scratch"
        shutil.rmtree(str(path), ignore_errors=True)
        self.make()
        make_private(path)
        return path

    @property
    def scratch_path(self) -> Path:
        """Where ``scratch`` was made."""
        return self.part / "scratch"


class WorkLock:
    """The flock that everything which changes a host holds, together with the commands that it started.

    Killing the controller does not kill what it started: the lock is inherited by the commands and is free only when
    the last of them has ended.
    """

    def __init__(self, path: Path, label: str) -> None:
        self.path = path
        self.label = label
        self.fd = -1

    def holder(self) -> dict[str, t.Any]:
        """Who holds it: label, pid, pgid of the command that it runs, since (Unix time). Empty if unknown."""
        try:
            return t.cast("t.Dict[str, t.Any]", json.loads(self.path.read_text() or "{}"))
        except (OSError, ValueError):
            return {}

    def _note(self, pgid: int | None = None) -> None:
        data = {"label": self.label, "pid": os.getpid(), "pgid": pgid, "since": time.time()}
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, json.dumps(data).encode(), 0)

    def note_command(self, pgid: int) -> None:
        """Note the process group that now works under this lock."""
        self._note(pgid)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def acquire(self, wait: float, end: bool = False) -> dict[str, t.Any] | None:
        """Take the lock; wait ``wait`` seconds for its holder, then give up, or with ``end`` end the holder.

        Returns None if it was free, else who held it, with ``waited`` (seconds) and ``ended`` (whether it had to be
        ended).

        :raises PhaseError: the holder still works, or could not be ended.
        """
        make_private(self.path.parent, STATE_MODE)
        self.fd = os.open(str(self.path), os.O_RDWR | os.O_CREAT, 0o600)
        os.set_inheritable(self.fd, False)
        started = time.monotonic()
        found = None
        while not self._try():
            found = self.holder()
            if time.monotonic() - started >= wait:
                if not end:
                    raise PhaseError(
                        f"{found.get('label', 'Something')} still works on this host (process {found.get('pid')}, "
                        f"holding {self.path}). Wait until it has ended, then run the same command again."
                    )
                self._end(found)
                found["ended"] = True
                break
            time.sleep(0.05)
        if found is not None:
            found["waited"] = round(time.monotonic() - started, 1)
            found.setdefault("ended", False)
        self._note()
        return found

    def _end(self, holder: dict[str, t.Any]) -> None:
        for key in ("pgid", "pid"):
            number = holder.get(key)
            if not number or not self._holds(key, int(number)):
                continue
            with contextlib.suppress(PermissionError):
                if key == "pgid":
                    end_group(int(number))
                else:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(number), 9)
            until = time.monotonic() + 2
            while time.monotonic() < until:
                if self._try():
                    return
                time.sleep(0.05)
        raise PhaseError(
            "{} still works on this host (process {}, holding {}) and could not be ended. "
            "End it (kill -9 {}) and run the same command again.".format(
                holder.get("label", "Another run"), holder.get("pid"), self.path, holder.get("pid")
            )
        )

    def _holds(self, key: str, number: int) -> bool:
        """Whether that process (group) really has the lock open: the number may be another process's by now."""
        if not Path("/proc/self/fd").is_dir():
            return True
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(entry.name)
                mine = pid if key == "pid" else os.getpgid(pid)
                if mine == number and any(link.samefile(self.path) for link in (entry / "fd").iterdir()):
                    return True
        return False

    def release(self) -> None:
        """Let go of it (commands that inherited it still hold it)."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

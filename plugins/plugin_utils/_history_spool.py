# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What could not be written to the history, kept in a file until it can. Private to this collection.

One file for each run, ``<state dir>/spool/<run>.jsonl``, mode 0600. Each line is a JSON object with ``store`` (which
store it is for), ``rows`` (phase rows), ``truth`` (rows of truth tables) and ``end`` (outcome, summary and time, or
null).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t
from pathlib import Path

from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils._redact import redacted
from ._awx import EPHEMERAL, job_of, place_of
from ._history import HistoryError, Refused, Store, now_utc, state_dir, store_url


@contextlib.contextmanager
def _locked(path: Path, flags: int) -> t.Iterator[int]:
    """Open ``path`` under an exclusive lock, and again if it was removed while we waited for the lock."""
    while True:
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                yield fd
                return
        finally:
            os.close(fd)


def spool(
    directory: Path,
    store_digest: str,
    run: str,
    rows: t.Sequence[t.Mapping[str, t.Any]],
    end: t.Mapping[str, str] | None = None,
    truth: t.Sequence[t.Mapping[str, t.Any]] = (),
) -> Path:
    """Keep ``rows``, ``truth`` and ``end`` for later; returns the file.

    :raises OSError: the file cannot be written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{run}.jsonl"
    line = json.dumps({**redacted({"store": store_digest, "rows": list(rows), "end": end}), "truth": list(truth)})
    with _locked(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as fd:
        os.write(fd, f"{line}\n".encode())
    return path


def _read(fd: int) -> list[dict[str, t.Any]]:
    events = []
    with os.fdopen(os.dup(fd), encoding="utf-8", errors="replace") as stream:
        for line in stream:
            with contextlib.suppress(ValueError):  # the last line of a process that was killed
                events.append(json.loads(line))
    return events


def replay(directory: Path, store: Store) -> int:
    """Write to ``store`` what was kept for it, and remove the files; returns how many.

    :raises HistoryError: the store cannot be written; the files stay.
    """
    done = 0
    for path in sorted(directory.glob("*.jsonl")):
        try:
            with _locked(path, os.O_RDONLY) as fd:
                events = _read(fd)
                if not events or events[0].get("store") != store.digest:
                    continue
                with store.transaction() as connection:
                    if not store.knows(connection, path.stem):
                        continue  # the database was made anew since
                    for event in events:
                        store.save_rows(connection, path.stem, event["rows"], event.get("truth", ()))
                        if event["end"]:
                            store.end_run(connection, path.stem, **event["end"])
                path.unlink()
        except OSError as exc:
            raise HistoryError(f"{path} cannot be read back into the history: {exc.strerror}.") from exc
        done += 1
    return done


def open_store(option: t.Any, variable: t.Any, environ: t.Mapping[str, str], python: str) -> Store:
    """The store that ``store_url`` names, with all that was kept for it meanwhile.

    :arg python: the one that runs Ansible, for messages.
    :raises HistoryError: it cannot be used.
    """
    store = Store(store_url(option, variable, environ), now_utc, python)
    replay(state_dir(environ) / "spool", store)
    return store


def store_of(option: t.Any, variables: t.Mapping[str, t.Any], templar: t.Any, python: str) -> Store:
    """The store that a task on the controller uses.

    :arg option: the URL that the task names, or None.
    :arg variables: of the task; ``rollback_history_url`` and ``rollback_allow_ephemeral_history`` are templated here.
    :raises HistoryError: as ``open_store``.
    :raises Refused: it would be a file in the container of an AWX job.
    """
    shared, allowed = (
        templar.template(variables.get(name)) for name in ("rollback_history_url", "rollback_allow_ephemeral_history")
    )
    job = job_of(variables, os.environ)
    if (
        job
        and not boolean(allowed or False, strict=False)
        and store_url(option, shared, os.environ).startswith("sqlite")
    ):
        raise Refused(EPHEMERAL.format(place=place_of(job)))
    return open_store(option, shared, os.environ, python)

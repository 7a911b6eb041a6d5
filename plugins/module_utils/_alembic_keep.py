# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The export of a downgrade on disk, and its manifest. Private; runs in the app's own interpreter."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import typing as t

from ._alembic_loss import Statement, refusal, statement
from ._alembic_pg_tables import plain
from ._alembic_sqlite import DriverError, spoken

MANIFEST = "export.json"
EXPORT = "export.sqlite"
LEFT = "left-{}.sqlite"


def manifest_of(request: dict[str, t.Any]) -> str:
    """Where the manifest lies."""
    return os.path.join(request["kept"], MANIFEST)


def export_of(request: dict[str, t.Any]) -> str:
    """Where the export lies."""
    return os.path.join(request["kept"], EXPORT)


def write_manifest(request: dict[str, t.Any], database: str, **more: t.Any) -> None:
    """Note durably what was kept, of which downgrade of ``database``."""
    note = {"database": database, "from": request["from"], "to": request["to"], "sha256": sha256_of(export_of(request))}
    write_json(manifest_of(request), dict(note, **more))


def read_manifest(request: dict[str, t.Any], database: str) -> dict[str, t.Any]:
    """What ``write_manifest`` noted, checked against the export.

    :raises DriverError: there is none, so the downgrade was not ours; or the export was changed.
    """
    manifest, export = manifest_of(request), export_of(request)
    if not os.path.exists(manifest):
        upgrade = " && ".join(f"alembic upgrade {revision}" for revision in request["from"])
        raise DriverError(
            f"The database {request['database']} stands at {spoken(request['to'])}, but this phase did not bring it "
            f"there and kept nothing to put back. Upgrade it by hand: {upgrade}"
        )
    with open(manifest, encoding="utf-8") as stream:
        kept = t.cast("t.Dict[str, t.Any]", json.load(stream))
    if (kept["database"], kept["from"], kept["to"]) != (database, request["from"], request["to"]):
        raise DriverError(f"The export {export} is of another downgrade ({kept['database']}). Nothing was changed.")
    if not os.path.exists(export) or sha256_of(export) != kept["sha256"]:
        raise DriverError(
            f"The export {export} is missing, or is not what the downgrade wrote. Nothing was changed. "
            "Bring back the file, or the backup of the database."
        )
    return kept


def note_left(request: dict[str, t.Any], kept: dict[str, t.Any], left: list[str]) -> None:
    """Note durably what is not going to be put back, as sentences, before that is so."""
    if left or "left" in kept:
        write_json(manifest_of(request), dict(kept, left=left))


def finish(request: dict[str, t.Any]) -> list[str]:
    """The database stands where it stood before the downgrade, so nothing more is put back. What was not, stays, under
    a name that no later downgrade writes to. Returns what ``note_left`` noted, with that name.
    """
    left: list[str] = []
    with contextlib.suppress(FileNotFoundError), open(manifest_of(request), encoding="utf-8") as stream:
        left = json.load(stream).get("left", [])
    if left:
        number = 1
        while os.path.exists(os.path.join(request["kept"], LEFT.format(number))):
            number += 1
        path = os.path.join(request["kept"], LEFT.format(number))
        with contextlib.suppress(FileNotFoundError):
            os.rename(export_of(request), path)
        left = [f"{sentence} What was kept of them is in {path}." for sentence in left]
    remove(manifest_of(request))
    return left


def exported(kept: dict[str, dict[str, t.Any]]) -> dict[str, int]:
    """How many rows were kept of each table."""
    numbers = {name: max(entry.get("exported", 0), entry.get("changed", 0)) for name, entry in kept.items()}
    return {name: number for name, number in numbers.items() if number}


def loss_of(request: dict[str, t.Any], kept: dict[str, dict[str, t.Any]]) -> Statement:
    """What was destroyed, told by the export on disk."""
    with contextlib.closing(sqlite3.connect(":memory:")) as con:
        con.execute("ATTACH ? AS export", (export_of(request),))
        return statement(con, kept, plain if request["kind"] else str)


def loss_kept(request: dict[str, t.Any], database: str) -> Statement:
    """What an earlier attempt destroyed; nothing where the downgrade was not ours, or its export is damaged."""
    with contextlib.suppress(DriverError):
        return loss_of(request, read_manifest(request, database)["tables"])
    return {}


def refuse_unforeseen(request: dict[str, t.Any], found: Statement) -> None:
    """Refuse to destroy what neither the plan accepts nor preflight has said to go. Its numbers may have grown since.

    :raises DriverError: with the statement, and the words that accept it.
    """
    foreseen = request["foreseen"]
    if foreseen is None:
        return
    words = [f"{table}.{column}" for table, loss in foreseen.items() for column in loss["values"]]
    words += [table for table, loss in foreseen.items() if loss["dropped"]]
    subject = f"With the data of now, the downgrade of {request['database']} to {spoken(request['to'])}"
    said = refusal(found, request["accept_loss"], subject, request["alone"], words)
    if said:
        raise DriverError(said)


def remove(path: str) -> None:
    """Remove a file that may be gone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def write_empty(path: str) -> None:
    """Make an empty private file in the place of one that may be there."""
    remove(path)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))


def sha256_of(path: str) -> str:
    """The digest of a file, which is on disk afterwards."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
        os.fsync(stream.fileno())
    return digest.hexdigest()


def write_json(path: str, value: t.Any) -> None:
    """Write a private file, whole or not at all, that lasts through a power cut."""
    temporary = path + ".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    fd = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)

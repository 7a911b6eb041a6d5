# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where backups lie, and whether they are still what was written. Private to this collection."""

from __future__ import annotations

import datetime
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._files import FILE, Found, damage
from ._phase import Context
from ._restore_point import RestorePoint, read_json

STANDALONE_PART = "standalone/backup"

Manifest = t.Dict[str, t.Any]


def home(ctx: Context) -> RestorePoint:
    """The phase's part; in check mode the context has a throw-away one, and this is the one that it stands for."""
    return RestorePoint(ctx.params["restore_point"] or STANDALONE_PART) if ctx.check else ctx.point


def current_store(ctx: Context) -> Path:
    """Where files are kept. Used alone: the newest complete backup, or a new one."""
    if not home(ctx).standalone:
        return home(ctx).part
    complete = [store for store in all_stores(ctx) if (store / "manifest.json").exists()]
    return complete[-1] if complete else new_store(ctx)


def all_stores(ctx: Context) -> list[Path]:
    """The backups that were made alone, oldest first, with those that were not finished."""
    return sorted(new_store(ctx).parent.glob("*Z"))


def new_store(ctx: Context) -> Path:
    """Where a backup that is made alone now would lie."""
    point = home(ctx)
    now = datetime.datetime.now(datetime.timezone.utc)
    return point.root / f"{point.phase}-kept" / now.strftime("%Y%m%dT%H%M%S.%fZ")


def read_manifest(store: Path) -> Manifest:
    """What a complete backup holds; empty where there is none."""
    return t.cast("Manifest", read_json(store / "manifest.json") or {})


def extras(manifest: Manifest) -> list[Manifest]:
    """The records of the archive and of the databases."""
    archive = manifest.get("archive")
    return ([archive] if archive else []) + list(manifest.get("databases", []))


def verify(store: Path, manifest: Manifest) -> None:
    """Compare every kept file in ``store`` with the manifest.

    :raises PhaseError: a file is missing or damaged; all of them are named.
    """
    faults = []
    for record in manifest["files"]:
        if record["kind"] == FILE:
            fault = damage(store / record["kept"], Found.read(record))
            if fault:
                faults.append(f"{record['path']}: {fault}")
    for record in extras(manifest):
        fault = damage(store / record["kept"], Found(FILE, size=record["size"], sha256=record["sha256"]))
        if fault:
            faults.append(f"{record.get('name', 'The archive')}: {fault}")
    if faults:
        raise PhaseError(
            "The backup in {} is not what was written. {} Move {} away only if you can do without this backup, then "
            "run the same command again.".format(store, " ".join(faults), store / "manifest.json"),
            damaged=faults,
        )

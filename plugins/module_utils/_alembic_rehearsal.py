# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of ``alembic_downgrade``: there and back on a copy of the database with all its data. Private.

The steps of the phase themselves do it, as they would on the app's database, so what they take and what they destroy is
known before. The app's database is only read.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import typing as t
from pathlib import Path

from ._alembic_downgrade import drive, free_space, pending, shortage, task
from ._alembic_sayings import destroyed, standing, way
from ._command import PhaseError
from ._phase import Context, Report
from ._restore_point import make_private


def rehearse(ctx: Context) -> Report:
    """Downgrade the copy, tell what that destroyed, and bring it back."""
    noted, other = ctx.prepared, ctx.params["done_by"]
    if not pending(ctx):
        return Report(standing(noted))
    if other:
        return Report(f"{other}, which has the same database, rehearses the downgrade for this host too.")
    if noted["kind"] == "mysql":
        return Report(
            f"The downgrade of {way(noted)} is not rehearsed with data, because with MySQL and MariaDB nothing of it "
            "can be taken back. What it destroys was read from its statements."
        )
    place = ctx.point.scratch_path / "rehearsal"
    shutil.rmtree(str(place), ignore_errors=True)
    make_private(place)
    if not noted["kind"]:
        _refuse_without_room(noted, place)
    try:
        return _there_and_back(ctx, Path(noted["folder"]), place)
    except PhaseError as exc:
        raise PhaseError(f"The rehearsal with all data failed, on a copy of the database. {exc}") from exc
    finally:
        shutil.rmtree(str(place), ignore_errors=True)


def _refuse_without_room(noted: dict[str, t.Any], place: Path) -> None:
    """Refuse to fill the disk: the copy, and the one that is migrated beside it.

    :raises PhaseError: says how much is needed.
    """
    short = shortage({str(place): 2 * noted["size"] + noted["export_size"]}, free_space, "rehearsal with all data")
    if short:
        raise PhaseError(f"{short} That the migrations run, on a copy of the schema without data, preflight has shown.")


def _there_and_back(ctx: Context, folder: Path, place: Path) -> Report:
    noted = ctx.prepared
    request = dict(task(noted), place=str(place / "copy.sqlite"), kept=str(place / "kept"))
    try:
        made = drive(ctx, folder, "copy", **request)
        request["copy"] = made["copy"]
        if not noted["kind"]:
            request.update(database=made["copy"]["name"], live=noted["database"])
        down = _timed(ctx, folder, "downgrade", request)
        found = drive(ctx, folder, "digest", lost=True, **request)
        up = _timed(ctx, folder, "recover", request)
        again = drive(ctx, folder, "digest", lost=False, **request)["digests"]
    finally:
        with contextlib.suppress(PhaseError):  # what failed before is what is to be said; the next one clears up
            drive(ctx, folder, "discard", **dict(request, database=noted["database"], copy={}))
    before, after, lost = made["digests"], found["digests"], found["lost"]
    unchanged = sorted(name for name in before if after.get(name) == before[name])
    same_columns = [name for name in before if name in after and after[name]["columns"] == before[name]["columns"]]
    _refuse_unlike(
        [name for name in same_columns if name not in {*lost, *unchanged}],
        "changes rows of {}, which its export does not hold",
    )
    _refuse_unlike(
        [name for name in {**before, **again} if again.get(name) != before.get(name)],
        "cannot be taken back: after the upgrade, with all that was kept put back, another content is in {}",
    )
    words = destroyed(lost)
    seconds = {"main": round(down, 3), "recover": round(up, 3)}
    return Report(
        f"The downgrade of {way(noted)} took {down:.1f} s on a copy with all data, and the way back {up:.1f} s. It "
        f"destroys {', '.join(words) or 'nothing'}. Unchanged: {', '.join(unchanged) or 'no table'}.",
        after={"loss": lost, "seconds": seconds},
        facts={"destroys": words, "loss": lost, "unchanged": unchanged, "seconds": seconds},
    )


def _timed(ctx: Context, folder: Path, action: str, request: dict[str, t.Any]) -> float:
    """Do it, and return how many seconds it took."""
    began = time.monotonic()
    drive(ctx, folder, action, **request)
    return time.monotonic() - began


def _refuse_unlike(tables: list[str], words: str) -> None:
    if tables:
        raise PhaseError(f"The downgrade {words.format(', '.join(sorted(tables)))}. Correct the migration.")

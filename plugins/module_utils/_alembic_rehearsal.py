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

from ._alembic_downgrade import drive, free_space, pending, refuse_loss, shortage, task
from ._alembic_loss import Statement, destroyed, whole
from ._alembic_sayings import standing, way
from ._command import PhaseError
from ._phase import Context, Report
from ._restore_point import make_private

SCHEMA_ONLY = "Or rehearse it on a copy of the schema alone: -e alembic_downgrade_rehearse_data=false"


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
    if not ctx.params["rehearse_data"]:
        return _without_data(ctx)
    place = ctx.point.scratch_path / "rehearsal"
    shutil.rmtree(str(place), ignore_errors=True)
    make_private(place)
    if not noted["kind"]:
        _refuse_without_room(noted, place)
    try:
        return _there_and_back(ctx, Path(noted["folder"]), place)
    except PhaseError as exc:
        raise PhaseError(f"The rehearsal with all data failed, on a copy of the database. {exc}", **exc.facts) from exc
    finally:
        shutil.rmtree(str(place), ignore_errors=True)


def _without_data(ctx: Context) -> Report:
    """What is known without a copy of the data."""
    noted = ctx.prepared
    refuse_loss(noted["losses"], ctx, f"The downgrade of {way(noted)}")
    tried = "was tried on a copy of its schema alone, and so was the upgrade after it"
    if noted["untried"]:
        tried = "was not even tried on a copy of its schema, only its statements were worked out"
    words = destroyed(noted["losses"])
    return Report(
        f"The downgrade of {way(noted)} {tried}, because alembic_downgrade_rehearse_data is false. By what the "
        f"database holds it destroys {', '.join(words) or 'nothing'}.{whole(noted['losses'])} How long it takes, "
        "whether the migrations run on the data, and which rows they change, is not known.",
        facts={"destroys": words},
    )


def _refuse_without_room(noted: dict[str, t.Any], place: Path) -> None:
    """Refuse to fill the disk: the copy, and the one that is migrated beside it.

    :raises PhaseError: says how much is needed.
    """
    short = shortage({str(place): 2 * noted["size"] + noted["export_size"]}, free_space, "rehearsal with all data")
    if short:
        raise PhaseError(f"{short} {SCHEMA_ONLY}")


def _there_and_back(ctx: Context, folder: Path, place: Path) -> Report:
    noted = ctx.prepared
    # The loss is judged at the end, when it is known whether it can be taken back.
    request = dict(task(noted), place=str(place / "copy.sqlite"), kept=str(place / "kept"), foreseen=None)
    try:
        made = _copied(ctx, folder, request)
        request["copy"] = made["copy"]
        if not noted["kind"]:
            request.update(database=made["copy"]["name"], live=noted["database"])
        down, lost = _timed(ctx, folder, "downgrade", request)
        after = drive(ctx, folder, "digest", **request)["digests"]
        up, _nothing = _timed(ctx, folder, "recover", request)
        again = drive(ctx, folder, "digest", **request)["digests"]
    finally:
        with contextlib.suppress(PhaseError):  # what failed before is what is to be said; the next one clears up
            drive(ctx, folder, "discard", **dict(request, database=noted["database"], copy={}))
    before = made["digests"]
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
    facts = {"destroys": words, "loss": lost, "unchanged": unchanged, "seconds": seconds}
    refuse_loss(lost, ctx, f"With all data, the downgrade of {way(noted)}", **facts)
    return Report(
        f"The downgrade of {way(noted)} took {down:.1f} s on a copy with all data, and the way back {up:.1f} s. It "
        f"destroys {', '.join(words) or 'nothing'}.{whole(lost)} Unchanged: {', '.join(unchanged) or 'no table'}.",
        after={"loss": lost, "seconds": seconds},
        facts=facts,
    )


def _copied(ctx: Context, folder: Path, request: dict[str, t.Any]) -> dict[str, t.Any]:
    try:
        return drive(ctx, folder, "copy", **request)
    except PhaseError as exc:
        raise PhaseError(f"{exc} {SCHEMA_ONLY}") from exc


def _timed(ctx: Context, folder: Path, action: str, request: dict[str, t.Any]) -> tuple[float, Statement]:
    """Do it, and return how many seconds it took, and what it destroyed."""
    began = time.monotonic()
    reply = drive(ctx, folder, action, **request)
    return time.monotonic() - began, reply.get("loss", {})


def _refuse_unlike(tables: list[str], words: str) -> None:
    if tables:
        raise PhaseError(f"The downgrade {words.format(', '.join(sorted(tables)))}. Correct the migration.")

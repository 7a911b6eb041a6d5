# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rehearsal of ``alembic_downgrade``: there and back on a copy of the database with all its data. Private.

The steps of the phase themselves do it, as they would on the app's database, so what they take and what they destroy is
known before. The app's database is only read.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import typing as t
from pathlib import Path

from ._alembic_downgrade import free_space, pending, refuse_loss, shortage, task
from ._alembic_drive import config_of, drive, project_of
from ._alembic_loss import Statement, destroyed, whole
from ._alembic_sayings import standing, way
from ._alembic_sqlite import spoken
from ._command import PhaseError
from ._fit import Fit, make_folder
from ._phase import Context, Report
from ._restore_point import make_private

SCHEMA_ONLY = "Or rehearse it on a copy of the schema alone: -e alembic_downgrade_rehearse_data=false"


class Unfit(PhaseError):
    """The app of the code that is gone back to does not start."""


def rehearse(ctx: Context) -> Report:
    """Downgrade the copy, tell what that destroyed, and bring it back."""
    noted, other = ctx.prepared, ctx.params["done_by"]
    if not pending(ctx):
        return Report(standing(noted))
    fit = _code(ctx)
    if other:
        said = f"{other}, which has the same database, rehearses the downgrade for this host too."
        return _with_fit(Report(said), fit, other)
    if noted["kind"] == "mysql":
        report = Report(
            f"The downgrade of {way(noted)} is not rehearsed with data, because with MySQL and MariaDB nothing of it "
            "can be taken back. What it destroys was read from its statements."
        )
        return _with_fit(report, fit)
    if not ctx.params["rehearse_data"]:
        return _with_fit(_without_data(ctx), fit)
    place = ctx.point.scratch_path / "rehearsal"
    shutil.rmtree(str(place), ignore_errors=True)
    make_private(place)
    if not noted["kind"]:
        _refuse_without_room(noted, place)
    try:
        return _with_fit(_there_and_back(ctx, Path(noted["folder"]), place, fit), fit)
    except Unfit:
        raise
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


def _code(ctx: Context) -> Fit | None:
    """The code that is gone back to, tried as far as it needs no database; None where that is not known.

    :raises PhaseError: it cannot be made, or its migrations lead elsewhere than the database will stand.
    """
    project = Path(os.path.realpath(os.path.expanduser(ctx.params["project"])))
    for code in (ctx.params.get("fit") or {}).get("code", []):
        if code["method"] == "release":
            continue  # the rehearsal of git_revert says so
        fit = Fit(ctx, code, ctx.point.scratch_path / "fit")
        folder = fit.inside(project)
        if folder:
            fit.prepare()
            _refuse_other_head(ctx, fit, folder)
            return fit
    return None


def _refuse_other_head(ctx: Context, fit: Fit, folder: Path) -> None:
    noted, config, own = ctx.prepared, config_of(ctx), project_of(ctx)
    if not (folder / config).exists():  # it need not be in git
        make_folder((folder / config).parent)
        shutil.copy2(str(own / config), str(folder / config))
    found = drive(ctx, folder, "heads", **task(noted))
    if not found["fit"]:
        heads = ", ".join(f"{head} ({path})" for head, path in sorted(found["heads"].items())) or "nowhere"
        raise PhaseError(
            f"The code that is gone back to ({fit.commit[:10]}) does not fit the database: its migrations lead to "
            f"{heads}, and the database will stand at {spoken(noted['to'])}. Correct alembic_downgrade_to, or what "
            "git_revert goes back by."
        )
    fit.words.append(f"Its migrations lead to {spoken(noted['to'])}, as the database will stand.")


def _with_fit(report: Report, fit: Fit | None, other: str = "") -> Report:
    """The report, with what was found out of the code."""
    if not fit:
        return report
    if other and fit.starts:
        fit.words.append(f"The app is started on {other}, where the downgraded copy is.")
    elif "start" not in fit.seconds:
        fit.leave()
    report.msg = f"{report.msg} {fit.said}"
    report.after = dict(report.after, fit=fit.seconds)
    report.facts = dict(report.facts, fit=fit.seconds)
    return report


def _there_and_back(ctx: Context, folder: Path, place: Path, fit: Fit | None) -> Report:
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
        if fit and fit.starts:
            # a second time, so that what the app writes when it starts is not taken for what does not come back
            drive(ctx, folder, "downgrade", **request)
            _start(fit, {"database": made["copy"]["name"], "database_url": made["url"]})
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


def _start(fit: Fit, database: dict[str, str]) -> None:
    try:
        fit.start(database)
    except PhaseError as exc:
        raise Unfit(str(exc), **exc.facts) from exc


def _timed(ctx: Context, folder: Path, action: str, request: dict[str, t.Any]) -> tuple[float, Statement]:
    """Do it, and return how many seconds it took, and what it destroyed."""
    began = time.monotonic()
    reply = drive(ctx, folder, action, **request)
    return time.monotonic() - began, reply.get("loss", {})


def _refuse_unlike(tables: list[str], words: str) -> None:
    if tables:
        raise PhaseError(f"The downgrade {words.format(', '.join(sorted(tables)))}. Correct the migration.")

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the database can be upgraded again after a rollback that had come to its end. Private to this collection."""

from __future__ import annotations

import os
from pathlib import Path

from ._alembic_downgrade import pending, task
from ._alembic_drive import drive, kept_in
from ._alembic_keep import MANIFEST, read_manifest
from ._alembic_sqlite import DriverError, spoken
from ._command import PhaseError
from ._phase import Context, Report


def can_undo(ctx: Context) -> Report:
    """See that the database stands where the rollback left it, and that the export is what that wrote."""
    noted = ctx.prepared
    if not pending(ctx):
        return Report(f"The database {noted['database']} had not been downgraded, so there is nothing to put back.")
    reply = drive(ctx, Path(noted["folder"]), "look", identify=True, **task(noted))
    facts = {"identity": reply["identity"]}
    if reply["from"]:
        return Report(f"The database {noted['database']} stands at {spoken(reply['current'])} already.", facts=facts)
    if not reply["to"]:
        raise PhaseError(
            f"The database {noted['database']} was migrated since the rollback: it stands at "
            f"{spoken(reply['current'])}, and was left at {spoken(noted['to'])}. Undo what came after it first."
        )
    there = (kept_in(ctx) / MANIFEST).exists()
    if not there and (noted.get("elsewhere") or noted.get("done_by")):
        return Report(
            f"The database {noted['database']} was downgraded from another host, which has to put it back.",
            facts={**facts, "elsewhere": True},
        )
    name = noted["database"] if noted["kind"] else os.path.realpath(noted["database"])
    try:
        read_manifest({"kept": str(kept_in(ctx)), **{key: noted[key] for key in ("database", "from", "to")}}, name)
    except DriverError as exc:
        raise PhaseError(str(exc)) from exc
    way_back = f"from {spoken(noted['to'])} to {spoken(noted['from'])}"
    words = f"The database {noted['database']} can be upgraded {way_back} again"
    if noted["kind"] == "mysql":
        lost = f"What the downgrade of {noted['database']} destroyed was not exported, so it does not come back."
        return Report(f"{words}.", facts=facts, warnings=[lost])
    return Report(f"{words}, with what was exported.", facts=facts)

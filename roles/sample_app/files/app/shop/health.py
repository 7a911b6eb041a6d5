# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this release can do its work: /health answers 200 when it can, 503 when not, and why."""

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse

from shop.settings import ROOT, Settings


def code_revision() -> str | None:
    """Return the revision that the code's migrations lead to."""
    return ScriptDirectory.from_config(Config(str(ROOT / "alembic.ini"))).get_current_head()


def check(settings: Settings, engine: Engine, revision: str | None) -> dict[str, tuple[bool, str]]:
    """Return for each check whether it passes and a sentence."""
    checks = {"config": (not settings.faults, "; ".join(settings.faults) or "valid")}
    try:
        with engine.connect() as connection:
            rows = connection.scalar(text("SELECT count(*) FROM invoices"))
            stands_at = connection.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError as exc:
        return checks | {"database": (False, str(exc).splitlines()[0])}
    checks["database"] = (True, f"{rows} invoices")
    same = stands_at == revision
    checks["revision"] = (same, f"{stands_at}" if same else f"the database is at {stands_at}, the code at {revision}")
    return checks


def health(request: Request) -> JSONResponse:
    """GET /health."""
    state = request.app.state
    checks = check(state.settings, state.engine, state.revision)
    passed = all(ok for ok, _said in checks.values())
    answer = {
        "status": "ok" if passed else "failing",
        "release": state.settings.release,
        "checks": {name: said if ok else f"FAILING: {said}" for name, (ok, said) in checks.items()},
    }
    return JSONResponse(answer, status_code=200 if passed else 503)

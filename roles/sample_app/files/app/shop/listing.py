# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List invoices."""

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop.tables import Invoice


def listing(request: Request) -> JSONResponse:
    """GET /invoices?limit=: the newest first."""
    state = request.app.state
    limit = request.query_params.get("limit", "")
    rows = int(limit) if limit.isdecimal() else state.settings.config["shop"]["page_size"]
    columns = Invoice.__table__.columns
    with Session(state.engine) as session:
        found = session.execute(select(*columns).order_by(Invoice.id.desc()).limit(rows)).mappings()
        return JSONResponse([dict(row) for row in found])


routes = [Route("/invoices", listing, methods=["GET"])]

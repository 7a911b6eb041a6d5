# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count and add invoices."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop.tables import Invoice


def count(request: Request) -> JSONResponse:
    """GET /invoices/count."""
    with Session(request.app.state.engine) as session:
        return JSONResponse({"count": session.scalar(select(func.count()).select_from(Invoice))})


async def add(request: Request) -> JSONResponse:
    """POST /invoices with number, issued and amount (cents)."""
    body = await request.json()
    try:
        invoice = Invoice(number=str(body["number"]), issued=str(body["issued"]), amount=int(body["amount"]))
    except (KeyError, TypeError, ValueError) as exc:
        raise HTTPException(422, "an invoice needs number, issued and amount in cents") from exc
    with Session(request.app.state.engine) as session:
        session.add(invoice)
        session.commit()
        return JSONResponse({"id": invoice.id, "number": invoice.number}, status_code=201)


routes = [Route("/invoices/count", count), Route("/invoices", add, methods=["POST"])]

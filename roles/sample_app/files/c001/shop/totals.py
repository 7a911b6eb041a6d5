# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invoice totals: the amount with tax and fee."""

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import humanize
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop.tables import Invoice

ROUNDING = {"half_even": ROUND_HALF_EVEN, "half_up": ROUND_HALF_UP}


def total(amount: int, fee: int, tax_percent: int, rounding: str) -> int:
    """Return the total in cents. With a rounding that is not known, halves are rounded up."""
    exact = Decimal(amount) * (100 + tax_percent) / 100
    return int(exact.quantize(Decimal(1), ROUNDING.get(rounding, ROUND_HALF_UP))) + fee


async def enter(request: Request) -> JSONResponse:
    """POST /invoices/{id}/total with total (cents): what the customer was really charged."""
    body = await request.json()
    state = request.app.state
    with Session(state.engine) as session:
        invoice = session.get(Invoice, request.path_params["id"])
        if invoice is None or not isinstance(body.get("total"), int):
            raise HTTPException(422, "a total in cents belongs to an invoice that is there")
        invoice.total = body["total"]
        session.commit()
        shown = f"{humanize.intcomma(invoice.total / 100, 2)} {state.settings.config['shop']['currency']}"
        return JSONResponse({"id": invoice.id, "total": invoice.total, "shown": shown})


routes = [Route("/invoices/{id:int}/total", enter, methods=["POST"])]

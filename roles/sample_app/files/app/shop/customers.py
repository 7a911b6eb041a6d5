# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who buys."""

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop.tables import Customer


def listing(request: Request) -> JSONResponse:
    """GET /customers."""
    with Session(request.app.state.engine) as session:
        customers = session.scalars(select(Customer).order_by(Customer.name))
        return JSONResponse([{"id": customer.id, "name": customer.name} for customer in customers])


routes = [Route("/customers", listing)]

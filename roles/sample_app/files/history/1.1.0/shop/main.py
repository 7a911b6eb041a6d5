# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The web application."""

from sqlalchemy import create_engine
from starlette.applications import Starlette
from starlette.routing import Route

from shop import customers, health, invoices
from shop.settings import Settings, load


def create_app(settings: Settings | None = None) -> Starlette:
    """Return the application; uvicorn calls this."""
    settings = settings or load()
    app = Starlette(routes=[Route("/health", health.health), *invoices.routes, *customers.routes])
    app.state.settings = settings
    app.state.engine = create_engine(settings.database_url)
    app.state.revision = health.code_revision()
    return app

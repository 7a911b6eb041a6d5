# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A history store of each kind."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import sqlalchemy as sa

NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/history.sqlite"
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'psycopg[binary]')")
    place = request.getfixturevalue("postgresql")
    name = f"history{next(NUMBERS)}"
    engine = sa.create_engine(f"postgresql+psycopg://postgres@/postgres?host={place}", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return f"postgresql://postgres@/{name}?host={place}"

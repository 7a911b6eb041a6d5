# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A shop with an empty database in a temporary folder."""

import pytest
from alembic import command
from alembic.config import Config
from starlette.testclient import TestClient

from shop.main import create_app
from shop.settings import ROOT, load


@pytest.fixture
def shop(tmp_path, monkeypatch):
    env_file = tmp_path / "shop.env"
    env_file.write_text(f"DATABASE_URL=sqlite:///{tmp_path / 'shop.db'}\n")
    monkeypatch.setenv("SHOP_ENV_FILE", str(env_file))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    command.upgrade(Config(str(ROOT / "alembic.ini")), "head")
    return TestClient(create_app(load(ROOT / "tests" / "app.toml")))

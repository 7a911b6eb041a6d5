# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invoices."""

import sqlalchemy as sa
from alembic import op

revision = "2c81d0f4"
down_revision = None


def upgrade() -> None:
    """Create the invoices."""
    op.create_table(
        "invoices",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.String(20), nullable=False, unique=True),
        sa.Column("issued", sa.String(10), nullable=False),
        sa.Column("amount", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop the invoices."""
    op.drop_table("invoices")

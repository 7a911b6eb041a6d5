# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Customers."""

import sqlalchemy as sa
from alembic import op

revision = "51b7d9aa"
down_revision = "2c81d0f4"


def upgrade() -> None:
    """Create the customers and let invoices name theirs."""
    op.create_table(
        "customers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(80), nullable=False),
    )
    op.add_column("invoices", sa.Column("customer_id", sa.Integer, nullable=True))


def downgrade() -> None:
    """Drop the customers."""
    op.drop_column("invoices", "customer_id")
    op.drop_table("customers")

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Invoice totals."""

import sqlalchemy as sa
from alembic import op

revision = "8ae1f0c2"
down_revision = "51b7d9aa"


def upgrade() -> None:
    """Give invoices a total. The release fills it in with shop.backfill."""
    op.add_column("invoices", sa.Column("total", sa.Integer, nullable=True))


def downgrade() -> None:
    """Drop the totals."""
    op.drop_column("invoices", "total")

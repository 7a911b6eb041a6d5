# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill the database of the good release, always with the same rows. Run by deploy.py in the app's own environment."""

import datetime
import sys

from shop.settings import load
from sqlalchemy import create_engine, text

CUSTOMERS = "INSERT INTO customers (id, name) VALUES (:id, :name)"
INVOICES = "INSERT INTO invoices (id, number, issued, amount, customer_id) VALUES (:id, :number, :issued, :amount, :by)"
# A server counts by itself, and does not see the numbers that it was given.
COUNT_ON = "SELECT setval(pg_get_serial_sequence('invoices', 'id'), (SELECT max(id) FROM invoices))"


def seed(rows: int) -> None:
    """Insert the customers and ``rows`` invoices."""
    first = datetime.date(2024, 1, 1)
    customers = [{"id": id_, "name": f"Customer {id_:03}"} for id_ in range(1, 201)]
    invoices = [
        {
            "id": i,
            "number": f"2024-{i:05}",
            "issued": str(first + datetime.timedelta(i % 700)),
            "amount": 500 + i * 7919 % 95_000,
            "by": i * 31 % 200 + 1,
        }
        for i in range(1, rows + 1)
    ]
    with create_engine(load().database_url).begin() as connection:
        connection.execute(text(CUSTOMERS), customers)
        connection.execute(text(INVOICES), invoices)
        if connection.dialect.name == "postgresql":
            connection.execute(text(COUNT_ON))


if __name__ == "__main__":
    seed(int(sys.argv[1]))

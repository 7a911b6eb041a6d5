# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in the totals of the invoices so far: python -m shop.backfill FEES.csv

The fees (invoice id, cents) come from accounting, once. They are in no table, so the totals cannot be computed again.
"""

import csv
import sys

from sqlalchemy import create_engine, text

from shop.settings import load
from shop.totals import total


def main(path: str) -> None:
    """Write a total for every invoice that the file names."""
    settings = load()
    rules = settings.config["totals"]
    with open(path, newline="") as stream:
        fees = {int(number): int(fee) for number, fee in csv.reader(stream)}
    with create_engine(settings.database_url).begin() as connection:
        amounts = connection.execute(text("SELECT id, amount FROM invoices")).all()
        totals = [
            {"id": id_, "total": total(amount, fees[id_], rules["tax_percent"], rules["rounding"])}
            for id_, amount in amounts
            if id_ in fees
        ]
        connection.execute(text("UPDATE invoices SET total = :total WHERE id = :id"), totals)
    print(f"{len(totals)} totals filled in.")


if __name__ == "__main__":
    main(sys.argv[1])

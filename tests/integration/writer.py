# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a test host: works with the app all the time, and notes what it acknowledged: writer.py PORT NAME LOG

Each line of LOG is a JSON list, ``[invoice id, number, total]``, written after the app's answer: the total, which only
the bad release knows, is null where the app did not take it.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request

PORT, NAME, LOG = sys.argv[1:]


def post(path: str, body: dict[str, object]) -> dict[str, object] | None:
    """The app's answer; None where it did not acknowledge."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def main() -> None:
    number = 0
    with open(LOG, "a", buffering=1) as log:
        while True:
            number += 1
            invoice = post("/invoices", {"number": f"{NAME}-{number}", "issued": "2026-11-21", "amount": 100 + number})
            if invoice is not None:
                total = 500_000 + number
                entered = post(f"/invoices/{invoice['id']}/total", {"total": total})
                print(json.dumps([invoice["id"], invoice["number"], total if entered else None]), file=log)
            time.sleep(0.5)


if __name__ == "__main__":
    main()

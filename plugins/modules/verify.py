#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: verify
short_description: Check that an app is well after a rollback
version_added: 0.1.0
author: changeops.rollback contributors (@changeops)
description:
  - Runs a list of checks, each with a timeout, retries and evidence. All are run; those that do not hold are named
    together.
  - O(step=preflight) counts the rows for C(rows) checks, and tells how the others stand now without requiring anything.
    It does not run C(command) checks, as they may change something.
  - Databases are read directly, so far SQLite.
extends_documentation_fragment:
  - changeops.rollback.phase
  - changeops.rollback.services
options:
  checks:
    description: The checks. Each has exactly one of C(http), C(service), C(revision), C(sql), C(rows) and C(command).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the check is called in messages; made from what it checks unless given. Must be unique.
        type: str
      http:
        description: An HTTP request is answered. Redirects are followed, and this host is asked without a proxy.
        type: dict
        suboptions:
          url:
            description: The URL, with http or https.
            type: str
            required: true
          status:
            description: The expected status.
            type: int
            default: 200
          contains:
            description: Text that the answer must contain.
            type: str
          headers:
            description: Headers of the request.
            type: dict
            default: {}
          validate_certs:
            description: Whether the certificate of an https URL is checked.
            type: bool
            default: true
      service:
        description: The name of one of O(services), which must be up and stay up for O(stays_up) seconds.
        type: str
      revision:
        description: A database is at an Alembic revision.
        type: dict
        suboptions:
          database:
            description: Path of the SQLite file.
            type: path
            required: true
          expected:
            description:
              - The revision, or the revisions where there are several heads; four characters or more are enough.
              - V(base) is a database without a revision.
            type: list
            elements: str
            required: true
      sql:
        description: A query gives the expected value. It cannot write.
        type: dict
        suboptions:
          database:
            description: Path of the SQLite file.
            type: path
            required: true
          query:
            description: The query, of whose first row the first column is taken.
            type: str
            required: true
          expected:
            description: The expected value, compared as text; V(true) is 1 and no value is C(NULL).
            type: raw
            required: true
      rows:
        description: Tables have no fewer rows than O(step=preflight) counted.
        type: dict
        suboptions:
          database:
            description: Path of the SQLite file.
            type: path
            required: true
          tables:
            description: The tables; all, except Alembic's own, if it is empty.
            type: list
            elements: str
            default: []
          except:
            description: Tables that the rollback drops or empties.
            type: list
            elements: str
            default: []
          exactly:
            description: The number must not have grown either.
            type: bool
            default: false
      command:
        description: A command ends well.
        type: dict
        suboptions:
          argv:
            description: The program and its arguments.
            type: list
            elements: str
            required: true
          chdir:
            description: The directory to run it in.
            type: path
          rc:
            description: The expected exit code.
            type: int
            default: 0
          contains:
            description: Text that it must print.
            type: str
      timeout:
        description: Seconds that one attempt may take.
        type: float
        default: 5.0
      retries:
        description: How often the check is tried again after it did not hold.
        type: int
        default: 10
      delay:
        description: Seconds between two attempts.
        type: float
        default: 0.5
  stays_up:
    description: Seconds that a service must stay up, with the same processes.
    type: float
    default: 1.0
"""

EXAMPLES = r"""
---
- name: Check that the shop is well
  changeops.rollback.verify:
    services:
      - name: shop-web
        manager: systemd
        port: 8080
    checks:
      - http: {url: "http://127.0.0.1:8080/health", contains: ok}
      - service: shop-web
      - revision: {database: /srv/shop/shop.db, expected: 51b7d9aa}
      - name: The shop has customers
        sql: {database: /srv/shop/shop.db, query: SELECT count(*) > 0 FROM customers, expected: 1}
      - rows: {database: /srv/shop/shop.db, except: [invoice_totals]}
      - command: {argv: [/srv/shop/bin/smoke-test], chdir: /srv/shop}
        timeout: 30
        retries: 2
"""

RETURN = r"""
msg:
  description: What was found, in a sentence.
  returned: always
  type: str
  sample: "All 1 checks hold: GET http://127.0.0.1:8080/health (HTTP 200 in 12 ms)."
pending:
  description: Always V(null), as this phase only follows the others.
  returned: for O(step=preflight)
  type: bool
  sample: null
before:
  description: What preflight counted, C(rows), and how the checks stood then, C(checks).
  returned: success
  type: dict
  sample: {rows: {rows of /srv/shop/shop.db: {customers: 10000}}, checks: {service shop-web: true}}
after:
  description: How the checks stand now.
  returned: success
  type: dict
  sample: {checks: {service shop-web: true}}
checks:
  description: The checks that were run, also when some do not hold.
  returned: for O(step=preflight) and O(step=main)
  type: list
  elements: dict
  contains:
    name:
      description: The check's name.
      returned: always
      type: str
      sample: service shop-web
    ok:
      description: Whether it holds.
      returned: always
      type: bool
      sample: true
    evidence:
      description: What was seen, without secrets, at most 300 characters.
      returned: always
      type: str
      sample: HTTP 200 in 12 ms
    attempts:
      description: How often it was tried.
      returned: always
      type: int
      sample: 1
    seconds:
      description: When it was settled, in seconds from the start of the checks.
      returned: always
      type: float
      sample: 0.013
"""

import hashlib
import json

from ansible_collections.changeops.rollback.plugins.module_utils import _verify
from ansible_collections.changeops.rollback.plugins.module_utils._checks import CHECKS_ARGUMENT
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module
from ansible_collections.changeops.rollback.plugins.module_utils._services import SERVICES_ARGUMENT


def main():
    """Check that an app is well."""
    run_module(
        {
            "checks": CHECKS_ARGUMENT,
            "services": SERVICES_ARGUMENT,
            "stays_up": {"type": "float", "default": 1.0},
        },
        _verify.preflight,
        _verify.main,
        _verify.recover,
        subject=lambda params: hashlib.sha256(json.dumps(params["checks"], sort_keys=True).encode()).hexdigest(),
        phase="verify",
    )


if __name__ == "__main__":
    main()

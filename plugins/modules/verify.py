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
    together. A check that is only wanted does not fail the step; it is a warning with its evidence.
  - When all required checks hold, HTTP answers and services are looked at again for O(stays_healthy) seconds, and logs
    are read last.
  - O(step=preflight) takes down what C(rows), C(content) and C(files) checks compare with and where the logs end, and
    tells how the other checks stand now without requiring anything. It runs no C(command) checks, and no C(http) ones
    with a method that may change something.
  - Databases are SQLite, read by Python, and PostgreSQL, read by C(psql). The connections cannot write.
extends_documentation_fragment:
  - changeops.rollback.phase
  - changeops.rollback.services
options:
  checks:
    description:
      - The checks. Each has exactly one of C(http), C(service), C(revision), C(sql), C(rows), C(content), C(files),
        C(log), C(journal) and C(command).
      - A C(database) is the path of an SQLite file, a PostgreSQL URL without a password, or V(${NAME}), the variable
        with the app's own URL from a file of O(environment_files).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What the check is called in messages; made from what it checks unless given. Must be unique.
        type: str
      required:
        description: Whether the step fails when the check does not hold. If not, it is only wanted, and a warning.
        type: bool
        default: true
      http:
        description:
          - An HTTP request is answered. This host is asked without a proxy. Redirects are followed unless C(status) has
            one; a redirect to another server is followed without the headers.
        type: dict
        suboptions:
          url:
            description: The URL, with http or https.
            type: str
            required: true
          status:
            description: The expected status, or several of which each will do.
            type: list
            elements: int
            default: [200]
          contains:
            description: Text that the answer must contain.
            type: str
          json:
            description:
              - Values that the answer must have as a JSON document, by their path. A path is keys joined by dots, and
                places in lists counted from 0, as in V(checks.database.rows) and V(items.0.id).
              - Values are compared with their types. V(1) is C(1.0), and neither is C(true) or C("1").
            type: dict
            default: {}
          method:
            description: The method of the request.
            type: str
            default: GET
          body:
            description: The body of the request; a dictionary or a list is sent as JSON.
            type: raw
          headers:
            description:
              - Headers of the request. V(${NAME}) in a value is a variable from a file of O(environment_files), so that
                a secret need not stand here. Such values are never shown.
            type: dict
            default: {}
          basic_auth:
            description: User and password, as V(user:${NAME}) with the variable that holds the password.
            type: str
          unix_socket:
            description: Path of a socket on this host where the request is sent, whatever host the URL names.
            type: path
          validate_certs:
            description: Whether the certificate of an https URL is checked.
            type: bool
            default: true
      service:
        description: The name of one of O(services), which must be up, and the same processes for O(stays_healthy).
        type: str
      revision:
        description: A database is at an Alembic revision.
        type: dict
        suboptions:
          database:
            description: The database.
            type: str
            required: true
          expected:
            description:
              - The revision, or the revisions where there are several heads; four characters or more are enough.
              - V(base) is a database without a revision.
            type: list
            elements: str
            required: true
          version_table:
            description: Alembic's table; in PostgreSQL V(schema.table) when it lies outside the search path.
            type: str
            default: alembic_version
      sql:
        description: A query gives the expected value. It cannot write.
        type: dict
        suboptions:
          database:
            description: The database.
            type: str
            required: true
          query:
            description: The query, of whose first row the first column is taken.
            type: str
            required: true
          expected:
            description:
              - The expected value, compared as text. V(true) is 1 in SQLite and C(t) in PostgreSQL, and no value is
                C(NULL).
            type: raw
            required: true
      rows:
        description: Tables have no fewer rows than O(step=preflight) counted.
        type: dict
        suboptions:
          database:
            description: The database.
            type: str
            required: true
          tables:
            description:
              - The tables; all, except Alembic's own, if it is empty. In PostgreSQL V(schema.table) for one outside the
                search path.
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
      content:
        description:
          - No row of a table has other values in some columns than O(step=preflight) found, or is gone. New rows are
            allowed. Digests are compared, so the values themselves are kept nowhere.
          - For columns that nobody edits while the rollback is being prepared, and that it does not drop.
        type: dict
        suboptions:
          database:
            description: The database.
            type: str
            required: true
          table:
            description: The table.
            type: str
            required: true
          columns:
            description: The columns, the key first. The evidence names rows by the first column.
            type: list
            elements: str
            required: true
          exactly:
            description: There must be no new rows either.
            type: bool
            default: false
      files:
        description: Files have the content that O(step=preflight) found, or one that is given.
        type: dict
        suboptions:
          paths:
            description:
              - Files, and folders with all below them, none of which may be gone or changed after the rollback. New
                files are allowed. Of a symlink its target is compared.
            type: list
            elements: path
            default: []
          exactly:
            description: There must be no new files below C(paths) either.
            type: bool
            default: false
          sha256:
            description: The SHA-256 that a file must have, by its path.
            type: dict
            default: {}
      log:
        description:
          - Nothing worse than a warning was written to a log file since C(service_start) began in the same run, or
            without that since O(step=preflight). Rotated files are read as well.
          - The first word for a level that a line has is its level; in JSON lines the key C(level) or C(severity) and
            the like. Tracebacks and panics are errors.
        type: dict
        suboptions:
          path:
            description: The log file.
            type: path
            required: true
          worse:
            description: A regular expression for the lines that are worse than a warning, in place of the above.
            type: str
          ignore:
            description: Regular expressions for lines that do not count.
            type: list
            elements: str
            default: []
      journal:
        description:
          - Nothing worse than a warning is in a unit's journal since C(service_start) began in the same run, or without
            that since O(step=preflight); by priority, and by the text as for C(log).
        type: dict
        suboptions:
          unit:
            description: The unit.
            type: str
            required: true
          scope:
            description: Whose unit it is. V(user) is the user that the task runs as.
            type: str
            choices: [system, user]
            default: system
          worse:
            description: A regular expression for the messages that are worse than a warning, in place of both.
            type: str
          ignore:
            description: Regular expressions for messages that do not count.
            type: list
            elements: str
            default: []
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
        description: How often the check is tried again after it did not hold. C(log) and C(journal) are read once.
        type: int
        default: 10
      delay:
        description: Seconds between two attempts.
        type: float
        default: 0.5
  stays_healthy:
    description:
      - Seconds that the app must stay healthy once all required checks hold. The C(http) checks that only read and the
        C(service) checks are looked at each second; one that stops to hold fails the step at once.
    type: float
    default: 3.0
"""

EXAMPLES = r"""
---
- name: Check that the shop is well
  changeops.rollback.verify:
    services:
      - name: shop-web
        manager: systemd
        port: 8080
    environment_files: [/etc/shop/shop.env]
    stays_healthy: 10
    checks:
      - http:
          url: http://127.0.0.1:8080/health
          json: {status: ok, checks.database.rows: 12000}
          headers: {Authorization: "Bearer ${HEALTH_TOKEN}"}
      - service: shop-web
      - journal: {unit: shop-web, ignore: [deprecated]}
        required: false
      - revision: {database: /srv/shop/shop.db, expected: 51b7d9aa}
      - name: The shop has customers
        sql: {database: /srv/shop/shop.db, query: SELECT count(*) > 0 FROM customers, expected: 1}
      - rows: {database: /srv/shop/shop.db, except: [invoice_totals]}
      - content: {database: "${SHOP_DATABASE_URL}", table: invoices, columns: [id, number, amount]}
      - files: {paths: [/srv/shop/uploads]}
        timeout: 60
      - command: {argv: [/srv/shop/bin/smoke-test], chdir: /srv/shop}
        timeout: 30
        retries: 2
"""

RETURN = r"""
msg:
  description: What was found, in a sentence.
  returned: always
  type: str
  sample: "All 1 checks hold and stayed so for 10 s: GET http://127.0.0.1:8080/health (HTTP 200 in 12 ms)."
pending:
  description: Always V(null), as this phase only follows the others.
  returned: for O(step=preflight)
  type: bool
  sample: null
before:
  description: What preflight took down, C(kept), and how the checks stood then, C(checks).
  returned: success
  type: dict
  sample: {kept: {rows of /srv/shop/shop.db: 10000 rows in 1 table}, checks: {service shop-web: true}}
after:
  description: How the checks stand now, each with the beginning of its evidence.
  returned: for O(step=main), also when some do not hold
  type: dict
  sample: {checks: {service shop-web: {ok: true, evidence: shop-web is up as process 4711}}}
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
    required:
      description: Whether the step fails when it does not hold.
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
            "stays_healthy": {"type": "float", "default": 3.0},
        },
        _verify.preflight,
        _verify.main,
        _verify.recover,
        subject=lambda params: hashlib.sha256(json.dumps(params["checks"], sort_keys=True).encode()).hexdigest(),
        phase="verify",
        undone=_verify.undone,
    )


if __name__ == "__main__":
    main()

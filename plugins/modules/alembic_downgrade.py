#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: alembic_downgrade
short_description: Downgrade an app's database with Alembic, keeping what that destroys
version_added: 0.1.0
description:
  - Brings a database from the revision of a change to the one before it, with the app's own Alembic and interpreter.
  - Columns, tables and values that the downgrade destroys are exported first. V(recover) upgrades again and puts them
    back.
  - Whatever dies, and whenever, leaves the old database or the new one. With SQLite a copy is migrated, which then
    takes the place of the database in one step. With PostgreSQL the migrations, the export and what is put back are one
    transaction, also where C(env.py) has C(transaction_per_migration) and where a migration has C(autocommit_block());
    C(CONCURRENTLY) is left out, because nobody else is there.
  - It refuses to work when the database stands at another revision, when revisions of later changes came on top, when a
    migration cannot be undone, or not be done again afterwards, and while other processes have the database open.
  - With PostgreSQL, preflight tries the migrations on a scratch database with the schema of the live one. That needs
    C(psql) and C(pg_dump) on the host and a database user with C(CREATEDB). Without these the result has a warning,
    and V(main) finds in its transaction what is to be exported.
  - A loss that O(accept_loss) does not accept is refused, by V(preflight) with what it counts in the database, and by
    V(main), before the database is changed, with what its export holds.
  - A table without a primary key is exported whole and comes back whole. Where it only loses columns, its rows cannot
    be matched once the app has written to it.
  - With MySQL and MariaDB nothing is exported, and nothing can be taken back. What it destroys is read from its
    statements, and all of it has to stand in O(accept_loss); a statement that cannot be judged is refused. An attempt
    that ended between two migrations is gone on with from there. One that ended inside a migration with several
    statements has to be mended by hand, because the revision does not tell which of them were done.
  - V(rehearse) does all of it on a copy with the data of the database, with PostgreSQL on its server, and upgrades that
    again, while the app works; so what is lost, how long it takes, and that nothing is missing after the way back, are
    known before. The copy is removed. Not with MySQL and MariaDB.
  - With O(fit), V(rehearse) also makes the code that is gone back to, in a copy of its own. It runs its tests, sees
    that its migrations lead to O(to), and starts its app on the downgraded copy of the database.
  - Several hosts that have one PostgreSQL database make one downgrade and one export. The others wait and find it done.
author:
  - changeops.rollback contributors (@changeops)
extends_documentation_fragment:
  - changeops.rollback.phase
  - changeops.rollback.fit
options:
  project:
    description: Directory that holds O(config). Alembic runs there.
    type: path
    required: true
  config:
    description: Alembic's configuration, relative to O(project), as its option C(-c) has it. Also V(pyproject.toml).
    type: str
    default: alembic.ini
  section:
    description: Section of O(config), as Alembic's option C(-n) has it.
    type: str
    default: alembic
  x:
    description:
      - What C(env.py) gets from C(context.get_x_argument()), as Alembic's option C(-x) has it, a list of C(key=value).
      - No secrets. They belong in O(environment_files).
    type: list
    elements: str
    default: []
  python:
    description:
      - Command that starts the app's interpreter, as a list of arguments.
      - Without it, C(.venv/bin/python) in O(project) where that exists, else C(uv run --no-sync python).
    type: list
    elements: str
    default: []
  from:
    description:
      - Revision that the change brought, where the database stands now.
      - A database with branches stands at several revisions at once. All of them are named here, as a list.
    type: list
    elements: str
    required: true
  to:
    description:
      - Revision to go back to, or all revisions that a database with branches stands at afterwards. V(base) is allowed.
        Everything that they do not build on is undone.
      - V(-1), V(-2) and so on count from O(from). In a database with branches V(shop@-1) counts in the branch labelled
        V(shop), V(shop@base) undoes the whole of it, and other branches stay. V(8ae1f0c2-1) is the revision before
        V(8ae1f0c2). All of these are resolved once, in O(step=preflight).
    type: list
    elements: str
    required: true
  release:
    description:
      - Commit whose migrations and code are used, in a checkout of its own, because the work tree does not have them
        any more.
    type: str
    default: ''
  preserve:
    description:
      - Keep a checkout of the present commit and use that, because the code is going to be reverted before the
        database.
    type: bool
    default: false
  install:
    description: Command that makes the app's environment in such a checkout, as a list of arguments.
    type: list
    elements: str
    default: []
  accept_loss:
    description:
      - What may be lost, as V(table), which stands for all that is in it, or V(table.column). Of PostgreSQL, where it
        is in another schema, V(schema.table.column).
      - Whatever holds data and is not named here is refused; values that are C(NULL) and tables without rows are none.
        Rows that a migration changes, deletes or adds are accepted by their table.
      - With MySQL and MariaDB everything that the downgrade destroys, also without data.
    type: list
    elements: str
    default: []
  rehearse_data:
    description: Whether V(rehearse) tries it on a copy with all data, or only on a copy of the schema.
    type: bool
    default: true
  rehearsing:
    description:
      - V(rehearse) follows on V(preflight), which leaves it to that to refuse a loss, because with all data it is known
        better.
    type: bool
    default: false
  done_by:
    description:
      - Name of another host that has the same database and works on it for this one as well. Here it is only looked at
        whether that host has done so, in V(main) and in V(recover).
      - Hosts have the same database where V(preflight) returns the same RV(identity) on them. Not for SQLite.
    type: str
    default: ''
  left_out:
    description:
      - Hosts that take no part, because C(--limit) leaves them out, and whose apps may have the same database. Each
        has the address or the DNS name by which it is reached.
      - V(preflight) refuses while one of them has a PostgreSQL database open. A session from where this host comes from
        itself does not count, since that may be an app that is going to be stopped.
    type: dict
    default: {}
  schema_compatible:
    description:
      - Each of the two releases runs on either schema, so apps on other hosts may have a PostgreSQL, MySQL or MariaDB
        database open meanwhile. They wait for the tables that are changed.
      - Without it the downgrade is refused while there is any other session.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Bring the database back to the revision before the invoice totals
  changeops.rollback.alembic_downgrade:
    project: /srv/shop
    from: 8ae1f0c2
    to: 51b7d9aa
  environment:
    DATABASE_URL: sqlite:////srv/shop/var/shop.db

- name: Downgrade a copy of it with all data, and upgrade that again, while the app works
  changeops.rollback.alembic_downgrade:
    step: rehearse
    project: /srv/shop
    from: 8ae1f0c2
    to: 51b7d9aa
  register: rehearsal

- name: Undo what a change did to one of two branches
  changeops.rollback.alembic_downgrade:
    project: /srv/shop
    from: [8ae1f0c2, 3d20aa17]
    to: [51b7d9aa, 3d20aa17]

- name: Do it after the code was reverted already
  changeops.rollback.alembic_downgrade:
    project: /srv/shop
    from: 8ae1f0c2
    to: 51b7d9aa
    release: 4f1c2e9
    install: [uv, sync, --frozen]
"""

RETURN = r"""
msg:
  description: What was done, or what is to be done, in a sentence.
  returned: always
  type: str
  sample: Downgraded /srv/shop/shop.db from 8ae1f0c2 to 51b7d9aa; nothing had to be exported.
pending:
  description: Whether O(step=main) would change something.
  returned: for O(step=preflight)
  type: bool
  sample: true
before:
  description: The revision and the database that preflight found.
  returned: success
  type: dict
  sample: {revision: 8ae1f0c2, database: /srv/shop/shop.db}
after:
  description: The revision and the database afterwards, and the rows that were exported by table.
  returned: success
  type: dict
  sample: {revision: 51b7d9aa, database: /srv/shop/shop.db, exported: {invoices: 120}}
identity:
  description:
    - The same on all hosts that share this database, and on no other.
    - Empty where that cannot be told, as for SQLite, whose file is known on its own host only.
  returned: for O(step=preflight) and O(step=can_undo)
  type: str
  sample: postgresql 1795599123456789/16385/"public"."alembic_version"
elsewhere:
  description: That another host, which downgraded the database, is the one to put it back.
  returned: for O(step=can_undo), where that is so
  type: bool
  sample: true
destroys:
  description: What the downgrade is going to destroy, and has therefore to export.
  returned: for O(step=preflight) and O(step=rehearse), when there is something to do
  type: list
  elements: str
  sample: [invoices.total (120 values)]
loss:
  description:
    - What the downgrade destroyed, told by its export, by table, with C(rows), the number that it had; C(dropped),
      whether all of it is gone; C(values), of each lost column the number of those that are not C(NULL); the rows that
      were C(changed), C(deleted) and C(added) by a migration; and C(whole), whether all of it was exported because no
      primary key tells its rows apart.
    - Without a primary key C(changed) are rows that are not there afterwards as they were.
  returned: for O(step=main), and for O(step=rehearse) with data, when there is something to do
  type: dict
  sample: {invoices: {dropped: false, rows: 140, values: {total: 120}, changed: 0, deleted: 0, added: 0, whole: false}}
unchanged:
  description: The tables whose rows are the same after the downgrade of the copy, by their number and a digest.
  returned: for O(step=rehearse), when there is something to do
  type: list
  elements: str
  sample: [customers]
seconds:
  description: How long O(step=main) and O(step=recover) took on the copy.
  returned: for O(step=rehearse), when there is something to do
  type: dict
  sample: {main: 1.25, recover: 1.5}
fit:
  description: How many seconds the code that is gone back to took to C(install), to C(test) and to C(start) its app.
  returned: for O(step=rehearse), when there is something to do and O(fit) tells of the code
  type: dict
  sample: {install: 3.2, start: 1.1}
exported:
  description: Rows that were exported, or put back, by table.
  returned: for O(step=main), and for O(step=recover) when it changed something
  type: dict
  sample: {invoices: 120}
"""

from ansible_collections.changeops.rollback.plugins.module_utils._alembic_downgrade import (
    can_recover,
    preflight,
    recover,
)
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_downgrade import main as downgrade
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_rehearsal import rehearse
from ansible_collections.changeops.rollback.plugins.module_utils._alembic_undo import can_undo
from ansible_collections.changeops.rollback.plugins.module_utils._fit import FIT_ARGUMENT
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_module

ARGS = {
    "project": {"type": "path", "required": True},
    "config": {"type": "str", "default": "alembic.ini"},
    "section": {"type": "str", "default": "alembic"},
    "x": {"type": "list", "elements": "str", "default": []},
    "python": {"type": "list", "elements": "str", "default": []},
    "from": {"type": "list", "elements": "str", "required": True},
    "to": {"type": "list", "elements": "str", "required": True},
    "release": {"type": "str", "default": ""},
    "preserve": {"type": "bool", "default": False},
    "install": {"type": "list", "elements": "str", "default": []},
    "accept_loss": {"type": "list", "elements": "str", "default": []},
    "done_by": {"type": "str", "default": ""},
    "left_out": {"type": "dict", "default": {}},
    "schema_compatible": {"type": "bool", "default": False},
    "rehearse_data": {"type": "bool", "default": True},
    "rehearsing": {"type": "bool", "default": False},
    "fit": FIT_ARGUMENT,
}


def main():
    run_module(
        ARGS,
        preflight,
        downgrade,
        recover,
        subject=lambda params: " ".join([params["project"], *params["from"], *params["to"]]),
        phase="alembic_downgrade",
        can_recover=can_recover,
        can_undo=can_undo,
        rehearse=rehearse,
    )


if __name__ == "__main__":
    main()

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A downgrade taken back days later, on SQLite and PostgreSQL: what was written since stays, the rest is back."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("alembic")

from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop, statements
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_shop import Shop

pytestmark = pytest.mark.usefixtures("forked_alembic")

WORDS = {
    "sqlite": {
        "{empty}": "DELETE FROM",
        "{serial}": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "{int}": "INTEGER PRIMARY KEY",
    },
    "postgresql": {"{empty}": "TRUNCATE", "{serial}": "serial PRIMARY KEY", "{int}": "int PRIMARY KEY"},
}


def spelled(kind, lines):
    return [re.sub(r"\{\w+\}", lambda found: WORDS[kind][found.group()], line) for line in lines]


def make(kind, tmp_path, patch, socket, up, down, setup=()):
    """A project whose database stands at ``new``, with the tables of ``setup`` and what ``up`` made of them."""
    up, down, setup = (spelled(kind, lines) for lines in (up, down, setup))
    if kind == "postgresql":
        pytest.importorskip("psycopg")
        return PgShop(tmp_path, patch, socket(), up, down, setup=setup)
    shop = Shop(tmp_path, statements(*up), statements(*down))
    shop.sql(*setup, *up)
    return shop


# What is there before the change, upgrade, downgrade, rows, what is written after the downgrade; then queries with
# their answers after recovery, and what is said. Each has tables of its own, so that one downgrade does for all.
CASES = {
    "rows inserted since have what the upgrade gives them": (
        ["CREATE TABLE t1 (id {serial}, name text)"],
        ["ALTER TABLE t1 ADD v text DEFAULT 'up'", "ALTER TABLE t1 ADD w text"],
        ["ALTER TABLE t1 DROP COLUMN v", "ALTER TABLE t1 DROP COLUMN w"],
        ["INSERT INTO t1 (name, v, w) VALUES ('a', 'va', 'wa'), ('b', NULL, NULL)"],
        ["INSERT INTO t1 (name) VALUES ('since')"],
        {"SELECT * FROM t1 ORDER BY id": [(1, "a", "va", "wa"), (2, "b", None, None), (3, "since", "up", None)]},
        [],
    ),
    "rows updated since keep that and get their old values": (
        ["CREATE TABLE t2 (id {serial}, name text, state text)"],
        ["ALTER TABLE t2 ADD v text"],
        ["ALTER TABLE t2 DROP COLUMN v"],
        ["INSERT INTO t2 (name, state, v) VALUES ('a', 'open', 'va'), ('b', 'open', 'vb')"],
        ["UPDATE t2 SET name = 'A', state = 'done' WHERE id = 1"],
        {"SELECT * FROM t2 ORDER BY id": [(1, "A", "done", "va"), (2, "b", "open", "vb")]},
        [],
    ),
    "rows deleted since stay deleted": (
        ["CREATE TABLE t3 (id {serial}, name text)"],
        ["ALTER TABLE t3 ADD v text", "ALTER TABLE t3 ADD w text"],
        ["ALTER TABLE t3 DROP COLUMN v", "ALTER TABLE t3 DROP COLUMN w"],
        ["INSERT INTO t3 (name, v) VALUES ('a', 'va'), ('b', 'vb'), ('c', 'vc')"],
        ["DELETE FROM t3 WHERE id > 1", "INSERT INTO t3 (name) VALUES ('d')"],
        {"SELECT id, v FROM t3 ORDER BY id": [(1, "va"), (4, None)]},
        ["2 rows of t3 were deleted since, so their values of v, w were not put back."],
    ),
    "a key that was given again belongs to another row": (
        ["CREATE TABLE t4 (id {int}, name text, state text)"],
        ["ALTER TABLE t4 ADD v text"],
        ["ALTER TABLE t4 DROP COLUMN v"],
        ["INSERT INTO t4 VALUES (1, 'a', 'x', 'va'), (2, 'b', 'x', 'vb'), (3, 'c', 'x', 'vc'), (4, 'd', 'x', 'vd')"],
        [
            "DELETE FROM t4 WHERE id > 2",
            "UPDATE t4 SET name = 'A', state = 'z' WHERE id = 1",
            "INSERT INTO t4 VALUES (3, 'new', 'new'), (4, 'newer', 'x')",
        ],
        {
            "SELECT id, name, v FROM t4 WHERE id > 1 ORDER BY id": [
                (2, "b", "vb"),
                (3, "new", None),
                (4, "newer", "vd"),
            ],
            "sqlite: SELECT v FROM t4 WHERE id = 1": [("va",)],
        },
        [
            "sqlite: 1 rows of t4 (3) share nothing but the key with those of before: they are taken for others, "
            "without values of v.",
            "sqlite: 1 rows of t4 (4) were changed since so that they may be new ones with the same key; values of v "
            "were put back into them.",
            "postgresql: 2 rows of t4 share nothing but the key with those of before: they are taken for others, "
            "without values of v.",
            "postgresql: 1 rows of t4 were changed since so that they may be new ones with the same key; values of v "
            "were put back into them.",
        ],
    ),
    "a natural key": (
        ["CREATE TABLE t5 (code text PRIMARY KEY, name text, state text)"],
        ["ALTER TABLE t5 ADD v text"],
        ["ALTER TABLE t5 DROP COLUMN v"],
        ["INSERT INTO t5 VALUES ('a', 'n1', 'x', 'va'), ('b', 'n2', 'x', 'vb'), ('c', 'n3', 'x', 'vc')"],
        [
            "DELETE FROM t5 WHERE code = 'a'",
            "INSERT INTO t5 VALUES ('a', 'm1', 'y')",
            "UPDATE t5 SET name = 'm2' WHERE code = 'b'",
        ],
        {"SELECT code, name, v FROM t5 ORDER BY code": [("a", "m1", None), ("b", "m2", "vb"), ("c", "n3", "vc")]},
        [
            "1 rows of t5 share nothing but the key with those of before: they are taken for others, without values of "
            "v.",
            "1 rows of t5 were changed since so that they may be new ones with the same key; values of v were put back "
            "into them.",
        ],
    ),
    "no row was deleted but those that are missing, so no key was given again": (
        ["CREATE TABLE t6 (id {int}, name text, state text)"],
        ["ALTER TABLE t6 ADD v text"],
        ["ALTER TABLE t6 DROP COLUMN v"],
        ["INSERT INTO t6 VALUES (1, 'a', 'x', 'va'), (2, 'b', 'x', 'vb'), (3, 'c', 'x', 'vc')"],
        ["DELETE FROM t6 WHERE id = 2", "UPDATE t6 SET name = 'A', state = 'z' WHERE id = 1"],
        {"SELECT id, name, v FROM t6 ORDER BY id": [(1, "A", "va"), (3, "c", "vc")]},
        ["1 rows of t6 were deleted since, so their values of v were not put back."],
    ),
    "a table comes back without the rows whose parents are gone": (
        ["CREATE TABLE p7 (id {serial}, name text)"],
        [
            "CREATE TABLE t7 (id {serial}, parent int REFERENCES p7 (id), v text)",
            "CREATE TABLE u7 (id {serial}, t7 int NOT NULL REFERENCES t7 (id))",
            "CREATE TABLE w7 (a int, parent int REFERENCES p7 (id))",
        ],
        ["DROP TABLE w7", "DROP TABLE u7", "DROP TABLE t7"],
        [
            "INSERT INTO p7 (name) VALUES ('a'), ('b'), ('c')",
            "INSERT INTO t7 (parent, v) VALUES (1, 'x'), (2, 'y'), (NULL, 'z'), (2, 'y2'), (3, 'c')",
            "INSERT INTO u7 (t7) VALUES (1), (2), (3), (4)",
            "INSERT INTO w7 VALUES (1, 1), (2, 2), (2, 2)",
        ],
        ["DELETE FROM p7 WHERE id = 2", "INSERT INTO p7 (name) VALUES ('d')"],
        {
            "SELECT id, name FROM p7 ORDER BY id": [(1, "a"), (3, "c"), (4, "d")],
            "SELECT id, v FROM t7 ORDER BY id": [(1, "x"), (3, "z"), (5, "c")],
            "SELECT id, t7 FROM u7 ORDER BY id": [(1, 1), (3, 3)],
            "SELECT * FROM w7": [(1, 1)],
        },
        [
            "2 rows of t7 refer to rows of p7 that are not there any more, so they were not put back.",
            "2 rows of u7 refer to rows of t7 that are not there any more, so they were not put back.",
            "2 rows of w7 refer to rows of p7 that are not there any more, so they were not put back.",
        ],
    ),
    "what has to be unique and was taken since": (
        ["CREATE TABLE t8 (id {serial}, name text)"],
        ["ALTER TABLE t8 ADD slug text DEFAULT 's2'", "CREATE UNIQUE INDEX t8_slug ON t8 (slug)"],
        ["DROP INDEX t8_slug", "ALTER TABLE t8 DROP COLUMN slug"],
        ["INSERT INTO t8 (name, slug) VALUES ('a', 's1'), ('b', 's2')", "DELETE FROM t8 WHERE name = 'a'"],
        ["DELETE FROM t8", "INSERT INTO t8 VALUES (4, 'b')"],
        {"SELECT * FROM t8 ORDER BY id": [(4, "b", "s2")]},
        ["1 rows of t8 were deleted since, so their values of slug were not put back."],
    ),
    "a row that the downgrade deleted, and whose unique value was taken since": (
        ["CREATE TABLE t9 (id {serial}, name text UNIQUE)"],
        [],
        ["DELETE FROM t9 WHERE id IN (2, 3)", "UPDATE t9 SET name = 'down' WHERE id = 4"],
        ["INSERT INTO t9 (name) VALUES ('a'), ('b'), ('c'), ('d')"],
        ["INSERT INTO t9 (name) VALUES ('b'), ('d')"],
        {"SELECT * FROM t9 ORDER BY id": [(1, "a"), (3, "c"), (4, "down"), (5, "b"), (6, "d")]},
        [
            "1 rows of t9 clash with what was written since, so they keep their present values.",
            "1 rows of t9 clash with what was written since, so they were not put back.",
        ],
    ),
    "numbers go on after the highest that was ever given": (
        [],
        ["CREATE TABLE t10 (id {serial}, v text)"],
        ["DROP TABLE t10"],
        ["INSERT INTO t10 (v) VALUES ('a'), ('b'), ('c')", "DELETE FROM t10 WHERE id = 3"],
        [],
        {
            "SELECT * FROM t10 ORDER BY id": [(1, "a"), (2, "b")],
            "INSERT INTO t10 (v) VALUES ('next') RETURNING id": [(4,)],
            "INSERT INTO t1 (name) VALUES ('next') RETURNING id": [(4,)],
        },
        [],
    ),
    "rows that the downgrade changed, deleted or added": (
        ["CREATE TABLE t11 (id {serial}, name text, state text)"],
        [],
        [
            "UPDATE t11 SET state = 'down' WHERE id < 4",
            "DELETE FROM t11 WHERE id = 4",
            "INSERT INTO t11 VALUES (98, 'added', ''), (99, 'added', '')",
        ],
        ["INSERT INTO t11 (name, state) VALUES ('a', 'x'), ('b', 'x'), ('c', 'x'), ('d', 'x'), ('e', 'x')"],
        [
            "UPDATE t11 SET state = 'since' WHERE id IN (1, 99)",
            "DELETE FROM t11 WHERE id = 2",
        ],
        {
            "SELECT * FROM t11 ORDER BY id": [
                (1, "a", "since"),
                (3, "c", "x"),
                (4, "d", "x"),
                (5, "e", "x"),
                (99, "added", "since"),
            ]
        },
        [
            "1 rows of t11 that the downgrade had changed were deleted since and stay deleted.",
            "1 rows of t11 were written to since and keep their present values.",
            "1 rows of t11 that the downgrade had added were written to since and stay.",
        ],
    ),
    "a column is dropped, and rows are changed": (
        ["CREATE TABLE t18 (id {serial}, name text, state text)"],
        ["ALTER TABLE t18 ADD v int DEFAULT 7"],
        ["ALTER TABLE t18 DROP COLUMN v", "UPDATE t18 SET state = 'down' WHERE id < 4", "DELETE FROM t18 WHERE id = 4"],
        [
            "INSERT INTO t18 VALUES (1, 'a', 'x', 1), (2, 'b', 'x', 2), (3, 'c', 'x', 3)",
            "INSERT INTO t18 VALUES (4, 'd', 'x', 4), (5, 'e', 'x', 5)",
        ],
        [
            "UPDATE t18 SET state = 'mine' WHERE id = 1",
            "DELETE FROM t18 WHERE id IN (2, 5)",
            "INSERT INTO t18 VALUES (4, 'new', 'new')",
        ],
        {"SELECT * FROM t18 ORDER BY id": [(1, "a", "mine", 1), (3, "c", "x", 3), (4, "new", "new", 7)]},
        [
            "2 rows of t18 were deleted since, so their values of v were not put back.",
            "2 rows of t18 were written to since and keep their present values.",
            "sqlite: 1 rows of t18 (4) share nothing but the key with those of before: they are taken for others, "
            "without values of v.",
            "postgresql: 1 rows of t18 share nothing but the key with those of before: they are taken for others, "
            "without values of v.",
        ],
    ),
    "a row that the downgrade added, and that is referred to since": (
        ["CREATE TABLE p12 (id {serial}, name text)", "CREATE TABLE t12 (id {serial}, p int REFERENCES p12 (id))"],
        [],
        ["INSERT INTO p12 VALUES (50, 'down'), (51, 'down')"],
        ["INSERT INTO p12 (name) VALUES ('a')"],
        ["INSERT INTO t12 (p) VALUES (50)"],
        {"SELECT * FROM p12 ORDER BY id": [(1, "a"), (50, "down")], "SELECT * FROM t12": [(1, 50)]},
        ["1 rows of p12 that the downgrade had added stay, because rows of t12 refer to them."],
    ),
    "without a key, not written to": (
        [],
        ["CREATE TABLE t13 (a int, v text)"],
        ["DROP TABLE t13"],
        ["INSERT INTO t13 VALUES (1, 'x'), (1, 'x'), (NULL, NULL)"],
        [],
        {"SELECT * FROM t13 ORDER BY v NULLS FIRST": [(None, None), (1, "x"), (1, "x")]},
        [],
    ),
    "without a key, written to": (
        ["CREATE TABLE t14 (a int)"],
        ["ALTER TABLE t14 ADD v text"],
        ["ALTER TABLE t14 DROP COLUMN v"],
        ["INSERT INTO t14 VALUES (1, 'x'), (2, 'y')"],
        ["INSERT INTO t14 VALUES (3)"],
        {"SELECT * FROM t14 ORDER BY a": [(1, None), (2, None), (3, None)]},
        ["t14 has no usable primary key and was written to since, so it was left as it is."],
    ),
    "a table that the upgrade fills from rows that were written to since": (
        ["CREATE TABLE t16 (id {serial}, name text, street text)"],
        [
            "CREATE TABLE u16 (id {int}, street text, checked int DEFAULT 0)",
            "INSERT INTO u16 (id, street) SELECT id, street FROM t16",
            "UPDATE t16 SET street = NULL",
        ],
        ["UPDATE t16 SET street = (SELECT u.street FROM u16 u WHERE u.id = t16.id)", "DROP TABLE u16"],
        [
            "INSERT INTO t16 (name) VALUES ('a'), ('b')",
            "INSERT INTO u16 VALUES (1, 's1', 1), (2, 's2', 0), (7, 's7', 1)",
        ],
        ["UPDATE t16 SET street = 'since' WHERE id = 2", "INSERT INTO t16 (name, street) VALUES ('c', 'new')"],
        {"SELECT id, street FROM u16 ORDER BY id": [(1, "s1"), (2, "since"), (3, "new"), (7, "s7")]},
        [
            "2 rows of u16 are as the upgrade made them, which is not how they were exported.",
            "1 rows of t16 were written to since and keep their present values.",
        ],
    ),
    "rows that the upgrade makes by itself, and that had been edited": (
        [],
        ["CREATE TABLE t17 (id {int}, v text)", "INSERT INTO t17 VALUES (1, 'seed'), (2, 'seed')"],
        ["DROP TABLE t17"],
        ["UPDATE t17 SET v = 'edited' WHERE id = 1", "DELETE FROM t17 WHERE id = 2", "INSERT INTO t17 VALUES (3, 'x')"],
        [],
        {"SELECT * FROM t17 ORDER BY id": [(1, "edited"), (3, "x")]},
        [],
    ),
    "a table that was emptied since": (
        ["CREATE TABLE t19 (id {serial}, name text)"],
        [],
        ["UPDATE t19 SET name = 'down' WHERE id = 1"],
        ["INSERT INTO t19 (name) VALUES ('a'), ('b')"],
        ["{empty} t19"],
        {"SELECT * FROM t19": []},
        ["1 rows of t19 that the downgrade had changed were deleted since and stay deleted."],
    ),
    "names that change": (
        ["CREATE TABLE t15 (id {serial}, a text)"],
        ["ALTER TABLE t15 RENAME TO u15", "ALTER TABLE u15 RENAME COLUMN a TO b"],
        ["ALTER TABLE u15 RENAME COLUMN b TO a", "ALTER TABLE u15 RENAME TO t15"],
        ["INSERT INTO u15 (b) VALUES ('x'), ('y'), ('z')"],
        [
            "UPDATE t15 SET a = 'since' WHERE id = 1",
            "DELETE FROM t15 WHERE id = 2",
            "INSERT INTO t15 (a) VALUES ('new')",
        ],
        {"SELECT * FROM u15 ORDER BY id": [(1, "since"), (3, "z"), (4, "new")]},
        [],
    ),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def recovered(request, tmp_path_factory, forked_alembic):
    """The database with the tables of ``CASES`` after recovery, its kind, and what was said."""
    before, up, down, rows, since = ([line for case in CASES.values() for line in case[n]] for n in range(5))
    with pytest.MonkeyPatch.context() as patch:
        shop = make(
            request.param,
            tmp_path_factory.mktemp("cases"),
            patch,
            lambda: request.getfixturevalue("postgresql"),
            up,
            down,
            before,
        )
        shop.sql(*spelled(request.param, rows))
        shop.accepted = re.findall(r"\b[a-z]\d+\b", " ".join(before + up))
        shop.run("main")
        shop.sql(*spelled(request.param, since))
        report = shop.run("recover")
        yield shop, request.param, report


@pytest.mark.parametrize("name", CASES)
def test_what_was_written_since_stays_and_what_was_destroyed_is_back(recovered, name):
    shop, kind, report = recovered
    queries, said = CASES[name][5:]
    for query, answer in queries.items():
        only, _sep, rest = query.rpartition(": ")
        if only in ("", kind):
            assert shop.sql(rest) == answer, query
    tables = set(re.findall(r"\b[a-z]\d+\b", " ".join(CASES[name][0] + CASES[name][1])))
    found = [words for words in report.warnings if tables.intersection(re.findall(r"\b[a-z]\d+\b", words))]
    expected = [words.partition(": ")[2] if words.startswith(kind) else words for words in said]
    expected = [words for words in expected if not words.startswith(tuple(WORDS))]
    assert sorted(words.partition(" What was kept")[0] for words in found) == sorted(expected)

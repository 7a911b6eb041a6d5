# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""alembic_downgrade on a real PostgreSQL: every value of every type comes back, and nothing written since is lost."""

from __future__ import annotations

import os
import shutil

import pytest

pytest.importorskip("alembic")
pytest.importorskip("psycopg")

from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.alembic_pg import PgShop

pytestmark = pytest.mark.usefixtures("forked_alembic")

# A type, and values of it as they stand in SQL.
TYPES = {
    "bytea": [r"'\x00ff5c27'", "''"],
    "numeric": ["'NaN'", "'Infinity'", "'-Infinity'", "123456789012345678901234567890.12345678901234567890", "0.10"],
    "numeric(12,3)": ["1.5", "'NaN'"],
    "float8": ["'NaN'", "'-Infinity'", "0.1::float8 + 0.2::float8", "'-0'", "5e-324", "1.7976931348623157e308"],
    "real": ["'NaN'", "0.1", "16777217"],
    "bigint": ["9223372036854775807", "-9223372036854775808"],
    "boolean": ["true", "false"],
    "timestamptz": ["'infinity'", "'-infinity'", "'2026-03-29 02:30:00.123456+05:45'", "'0044-03-15 12:00:00+00 BC'"],
    "timestamp": ["'2026-03-29 02:30:00.999999'", "'infinity'"],
    "date": ["'infinity'", "'4713-01-01 BC'", "'5874897-12-31'"],
    "time": ["'24:00:00'", "'12:34:56.789012'"],
    "timetz": ["'12:34:56.789012-07:30'"],
    "interval": ["'1 year -2 mons 3 days -04:05:06.789012'", "'-178000000 years'"],
    "json": ["""'{"b": 1,  "a": [1.0, 1e2], "b": 2}'""", "'null'"],
    "jsonb": ["""'{"b": 1.10, "a": "\\u00e9\\u263a"}'""", "'null'"],
    "text": ["'Größe \U0001f600 \t\n\\ ''quoted'' \"double\"'", "''", "'NULL'", "'{a,b}'", "':name %(x)s %s'"],
    "char(5)": ["'ab'", "''"],
    "varchar(3)": ["'äöü'"],
    '"char"': ["'x'"],
    "name": ["'pg_name'"],
    "uuid": ["'6F9619FF-8B86-D011-B42D-00CF4FC964FF'"],
    "inet": ["'10.0.0.1/8'", "'::1'"],
    "cidr": ["'2001:db8::/32'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "bit(5)": ["B'10101'"],
    "bit varying": ["B'1'", "B''"],
    "money": ["-1234.56"],
    "point": ["'(1.1,-2.2)'"],
    "int4range": ["'[1,10)'", "'empty'", "'(,5]'"],
    "tstzrange": ["'[2026-01-01 00:00:00.000001+00,infinity)'"],
    "int4multirange": ["'{[1,3),[7,9)}'"],
    "tsvector": ["'a fat cat'::tsvector"],
    "xml": ["'<a b=\"1\">&amp;</a>'"],
    "int[]": ["'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'{}'", "'[0:1]={5,6}'"],
    "text[]": ["""ARRAY['a,b', '"', NULL, 'NULL', '', E'\\\\', '{}']"""],
    "numeric[]": ["'{NaN,1.10,NULL}'"],
    "jsonb[]": ["""ARRAY['{"a": [1, "b"]}', 'null']::jsonb[]"""],
    "bytea[]": [r"ARRAY['\x00', NULL, '\x5c22']::bytea[]"],
    "timestamptz[]": ["ARRAY['infinity', '2026-01-01 00:00:00.000001+00']::timestamptz[]"],
    "mood": ["'sad'", "'so-so, mostly'"],
    "mood[]": ["ARRAY['sad', 'so-so, mostly', NULL]::mood[]"],
    "percent": ["99.50"],
    "place": ["ROW('a \"b\"', NULL, '{1,2}')::place", "ROW(NULL, 1, NULL)::place"],
    "oid": ["4294967295"],
}
MADE = [
    "CREATE TYPE mood AS ENUM ('sad', 'so-so, mostly')",
    "CREATE DOMAIN percent AS numeric(5,2) CHECK (VALUE <= 100)",
    "CREATE TYPE place AS (street text, number int, floors int[])",
]
COLUMNS = ", ".join(f"c{n} {kind}" for n, kind in enumerate(TYPES))
ALL_TYPES_UP = [
    *MADE,
    "ALTER TABLE kept " + ", ".join(f"ADD c{n} {kind}" for n, kind in enumerate(TYPES)),
    f"CREATE TABLE gone ({COLUMNS})",
]
ALL_TYPES_DOWN = [
    "ALTER TABLE kept " + ", ".join(f"DROP c{n}" for n in range(len(TYPES))),
    "DROP TABLE gone",
    "DROP TYPE place",
    "DROP DOMAIN percent",
    "DROP TYPE mood",
]


@pytest.fixture(scope="module", params=["psycopg", "psycopg2", "asyncpg"])
def round_trip(request, tmp_path_factory, postgresql, forked_alembic):
    """What the tables with all types held before the downgrade, in the export, and after recovery."""
    pytest.importorskip(request.param)
    with pytest.MonkeyPatch.context() as patch:
        shop = PgShop(
            tmp_path_factory.mktemp("types"),
            patch,
            postgresql,
            ALL_TYPES_UP,
            ALL_TYPES_DOWN,
            driver=request.param,
            setup=["CREATE TABLE kept (id text PRIMARY KEY)"],
        )
        for number, values in enumerate(TYPES.values()):
            for place, value in enumerate(values):
                shop.sql(
                    f"INSERT INTO kept (id, c{number}) VALUES ('{number}:{place}', {value})",
                    f"INSERT INTO gone (c{number}) VALUES ({value})",
                )

        def look():
            found = {}
            for number, kind in enumerate(TYPES):
                column = f"c{number}::text"
                found[kind] = [
                    shop.sql(f'SELECT {column} FROM {name} WHERE {column} IS NOT NULL ORDER BY {column} COLLATE "C"')
                    for name in ("kept", "gone")
                ]
            return found

        before = look()
        shop.run("preflight")
        assert shop.run("main").facts["exported"] == {
            "kept": len(before) and sum(map(len, TYPES.values())),
            "gone": sum(map(len, TYPES.values())),
        }
        assert shop.sql("SELECT count(*) FROM pg_type WHERE typname IN ('mood', 'place')") == [(0,)]
        shop.run("recover")
        yield before, look()


@pytest.mark.parametrize("kind", TYPES)
def test_every_value_of_every_type_comes_back(round_trip, kind):
    before, after = round_trip
    assert len(before[kind][0]) == len(before[kind][1]) == len(TYPES[kind])
    assert after[kind] == before[kind]


# What is there before the change, upgrade, downgrade, and rows written at the new revision. Each has tables of its own,
# so that one downgrade does for all.
MIGRATIONS = {
    "a composite key, names in mixed case and reserved words": (
        ['CREATE TABLE "Order" ("Select" int, "select" text, "a:b%" text, PRIMARY KEY ("Select", "select"))'],
        ['ALTER TABLE "Order" ADD "From" text, ADD "from" numeric DEFAULT 7'],
        ['ALTER TABLE "Order" DROP "From", DROP "from"'],
        ["""INSERT INTO "Order" VALUES (1, 'a', 'x', 'F', 1.10), (1, 'b', 'y', NULL, NULL), (2, 'a', 'z', '', 3)"""],
    ),
    "a schema other than public": (
        ["CREATE SCHEMA billing", "CREATE TABLE billing.items (id uuid PRIMARY KEY)"],
        ["ALTER TABLE billing.items ADD v text", "CREATE TABLE billing.gone (id int PRIMARY KEY, v text)"],
        ["ALTER TABLE billing.items DROP v", "DROP TABLE billing.gone"],
        [
            "INSERT INTO billing.items VALUES ('6f9619ff-8b86-d011-b42d-00cf4fc964ff', 'x')",
            "INSERT INTO billing.gone VALUES (1, 'y')",
        ],
    ),
    "an identity column and a generated one": (
        ["CREATE TABLE counted (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int)"],
        [
            "ALTER TABLE counted ADD w int, ADD sum int GENERATED ALWAYS AS (v + w) STORED",
            "CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v int,"
            " d int GENERATED ALWAYS AS (v * 2) STORED)",
        ],
        ["ALTER TABLE counted DROP sum, DROP w", "DROP TABLE numbered"],
        [
            "INSERT INTO counted (v, w) SELECT g, g * 10 FROM generate_series(1, 20) g",
            "INSERT INTO numbered (v) SELECT g FROM generate_series(1, 20) g",
            "DELETE FROM numbered WHERE id > 15",
        ],
    ),
    "tables that refer to each other and to themselves": (
        ["CREATE TABLE stays (id int PRIMARY KEY)"],
        [
            "CREATE TABLE parents (id serial PRIMARY KEY, parent int REFERENCES parents, child int)",
            "CREATE TABLE a_child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parents, s int REFERENCES stays)",
            "ALTER TABLE parents ADD FOREIGN KEY (child) REFERENCES a_child",
            "ALTER TABLE stays ADD parent int REFERENCES parents ON DELETE CASCADE",
        ],
        ["ALTER TABLE stays DROP parent", "DROP TABLE a_child, parents"],
        [
            "INSERT INTO stays (id) VALUES (1), (2)",
            "INSERT INTO parents (id, parent) VALUES (3, NULL), (1, 3), (2, 1)",
            "INSERT INTO a_child VALUES (1, 1, 1), (2, 3, 2)",
            "UPDATE parents SET child = 2 WHERE id = 1",
            "UPDATE stays SET parent = id",
        ],
    ),
    "a table without a primary key": (
        [],
        ["CREATE TABLE loose (a int, b text)", "INSERT INTO loose VALUES (0, 'seed')"],
        ["DROP TABLE loose"],
        ["INSERT INTO loose VALUES (1, 'x'), (1, 'x'), (NULL, NULL)"],
    ),
    "a partitioned table": (
        [
            "CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
            "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
            "CREATE TABLE parted_2 PARTITION OF parted DEFAULT",
        ],
        [
            "ALTER TABLE parted ADD v text",
            "CREATE TABLE slices (id int, v text) PARTITION BY LIST (id)",
            "CREATE TABLE slices_1 PARTITION OF slices DEFAULT",
        ],
        ["ALTER TABLE parted DROP v", "DROP TABLE slices"],
        [
            "INSERT INTO parted VALUES (1, '2026-01-05', 'x'), (1, '2026-03-05', 'y')",
            "INSERT INTO slices VALUES (1, 'a'), (2, 'b')",
        ],
    ),
    "a table that inherits": (
        ["CREATE TABLE base_t (id int PRIMARY KEY)", "CREATE TABLE heir (x int, PRIMARY KEY (id)) INHERITS (base_t)"],
        ["ALTER TABLE base_t ADD v text"],
        ["ALTER TABLE base_t DROP v"],
        ["INSERT INTO base_t (id, v) VALUES (1, 'base')", "INSERT INTO heir (id, v, x) VALUES (1, 'heir', 2)"],
    ),
    "names that change": (
        ["CREATE TABLE was (id int PRIMARY KEY, a text)"],
        ["ALTER TABLE was RENAME TO is_now", "ALTER TABLE is_now RENAME a TO b"],
        ["ALTER TABLE is_now RENAME b TO a", "ALTER TABLE is_now RENAME TO was"],
        ["INSERT INTO is_now VALUES (1, 'x')"],
    ),
    "a type that holds less": (
        ["CREATE TABLE typed (id int PRIMARY KEY, v int, w text)"],
        ["ALTER TABLE typed ALTER v TYPE numeric(8,2)"],
        ["ALTER TABLE typed ALTER v TYPE int"],
        ["INSERT INTO typed VALUES (1, 1.25, 'x'), (2, 7, 'y'), (3, NULL, 'z')"],
    ),
    "rows that the downgrade changes, deletes and adds": (
        ["CREATE TABLE rows_t (id int PRIMARY KEY, v text, w text)"],
        ["UPDATE rows_t SET v = 'up' WHERE false"],
        [
            "UPDATE rows_t SET v = 'down' WHERE id < 3",
            "DELETE FROM rows_t WHERE id = 4",
            "INSERT INTO rows_t VALUES (99, 'added', '')",
        ],
        ["INSERT INTO rows_t SELECT g, 'v' || g, 'w' FROM generate_series(1, 6) g"],
    ),
    "a table that the downgrade empties": (
        ["CREATE TABLE emptied (id int PRIMARY KEY, v text)"],
        [],
        ["TRUNCATE emptied"],
        ["INSERT INTO emptied VALUES (1, 'x'), (2, NULL)"],
    ),
    "rows that only the upgrade changes": (
        ["CREATE TABLE cents (id int PRIMARY KEY, amount int)"],
        ["UPDATE cents SET amount = amount * 100"],
        [],
        ["INSERT INTO cents VALUES (1, 150), (2, NULL)"],
    ),
    "a table that is dropped and made anew": (
        ["CREATE TABLE anew (id int PRIMARY KEY, v text)"],
        ["DROP TABLE anew", "CREATE TABLE anew (id int PRIMARY KEY, v text, w text)"],
        ["DROP TABLE anew", "CREATE TABLE anew (id int PRIMARY KEY, v text)"],
        ["INSERT INTO anew VALUES (1, 'x', 'y')"],
    ),
    "another primary key": (
        ["CREATE TABLE keyed (id int, other text NOT NULL, CONSTRAINT keyed_id PRIMARY KEY (id))"],
        ["ALTER TABLE keyed DROP CONSTRAINT keyed_id, ADD CONSTRAINT keyed_other PRIMARY KEY (other)"],
        ["ALTER TABLE keyed DROP CONSTRAINT keyed_other, ADD CONSTRAINT keyed_id PRIMARY KEY (id)"],
        ["INSERT INTO keyed VALUES (1, 'x')"],
    ),
    "a trigger that would change what is put back": (
        [
            "CREATE TABLE stamped (id int PRIMARY KEY, at timestamptz DEFAULT '2020-01-01')",
            "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$",
            "CREATE TRIGGER stamp BEFORE UPDATE OR INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION stamp()",
            "ALTER TABLE stamped ENABLE ALWAYS TRIGGER stamp",
        ],
        ["ALTER TABLE stamped ADD v text"],
        ["ALTER TABLE stamped DROP v"],
        ["INSERT INTO stamped (id, v) VALUES (1, 'x')"],
    ),
    "an index without locks": (
        ["CREATE TABLE indexed (id int PRIMARY KEY, v text)"],
        ["CREATE INDEX CONCURRENTLY i ON indexed (v)"],
        ["DROP INDEX CONCURRENTLY i"],
        ["INSERT INTO indexed VALUES (1, 'x')"],
    ),
}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory, postgresql, forked_alembic):
    """Everything that was in the tables of ``MIGRATIONS`` before, at the old revision and after recovery."""
    before, up, down, rows = ([line for case in MIGRATIONS.values() for line in case[n]] for n in range(4))
    with pytest.MonkeyPatch.context() as patch:
        shop = PgShop(tmp_path_factory.mktemp("migrated"), patch, postgresql, up, down, setup=before)
        shop.sql(*rows)
        found = shop.dump()
        shop.run("preflight")
        assert shop.dump() == found
        shop.run("main")
        old = shop.dump()
        report = shop.run("recover")
        assert report.warnings == []
        yield found, old, shop.dump(), shop


@pytest.mark.parametrize("name", MIGRATIONS)
def test_everything_that_a_migration_destroyed_is_back(migrated, name):
    found, _old, after, _shop = migrated
    words = {word for part in MIGRATIONS[name] for line in part for word in line.replace("(", " ").split()}
    tables = [table for table in found if table in words]
    assert tables
    for table in tables:
        assert after[table] == found[table]


def test_sequences_triggers_and_foreign_keys_are_as_they_were(migrated):
    shop = migrated[3]
    assert shop.sql("INSERT INTO numbered (v) VALUES (1) RETURNING id") == [(21,)]
    assert shop.sql("SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'stamp'") == [("A",)]
    assert shop.sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND condeferrable") == [(0,)]
    assert shop.sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f'")[0][0] >= 5


UNTRIED = (
    "The downgrade of {} was not tried, because no scratch database could be made: {} Its statements were worked out, "
    "and main runs them in one transaction, which exports what they destroy and is taken back if one fails, or if it "
    "destroys what the plan does not accept."
)


@pytest.mark.parametrize(
    "why",
    [
        "psql says: ERROR: permission denied to create database. Let an administrator of the server run: ALTER ROLE "
        '"app" CREATEDB;',
        "psql is not installed on this host. Install psql and pg_dump on this host.",
    ],
)
def test_without_a_scratch_database_it_warns_and_keeps_everything_nevertheless(tmp_path, monkeypatch, postgresql, why):
    up = ["ALTER TABLE invoices ADD total int", "CREATE TABLE log (v text)"]
    down = ["ALTER TABLE invoices DROP total", "DROP TABLE log", "UPDATE invoices SET name = 'down'"]
    shop = PgShop(tmp_path, monkeypatch, postgresql, up, down, createdb=False)
    shop.sql("INSERT INTO invoices VALUES (1, 'a', 'b', 3)", "INSERT INTO log VALUES ('x'), ('x')")
    if "installed" in why:
        monkeypatch.setenv("PATH", "/nonexistent")
    before = shop.dump()
    report = shop.run("preflight")
    assert report.warnings == [UNTRIED.format(f"{shop.name} on {postgresql}", why)]
    assert "destroys" not in report.facts
    assert "ALTER TABLE invoices DROP total;" in report.diff[0]["prepared"]
    assert shop.dump() == before
    with pytest.raises(PhaseError, match=r"destroys log \(the table, 2 rows\), which the plan does not accept\."):
        shop.run("main", accept_loss=["invoices"])
    assert shop.dump() == before
    assert shop.run("main").facts["exported"] == {"invoices": 1, "log": 2}
    shop.run("recover")
    assert shop.dump() == before


def test_a_table_without_key_comes_back_whole_where_that_is_accepted(tmp_path, monkeypatch, postgresql):
    setup = ["CREATE TABLE loose (a int)"]
    up, down = ["ALTER TABLE loose ADD v text"], ["ALTER TABLE loose DROP v"]
    shop = PgShop(tmp_path, monkeypatch, postgresql, up, down, setup=setup)
    shop.sql("INSERT INTO loose VALUES (1, 'x'), (1, 'y'), (2, NULL)")
    before = shop.dump()
    shop.run("main", accept_loss=["loose.v"])
    shop.run("recover", accept_loss=["loose.v"])
    assert shop.dump() == before
    shop.run("main", point="R2/1-alembic_downgrade", accept_loss=["loose"])
    shop.sql("INSERT INTO loose VALUES (3)")
    report = shop.run("recover", point="R2/1-alembic_downgrade", accept_loss=["loose"])
    assert report.warnings == [
        "loose has no usable primary key and was written to since, so it was left as it is. What was kept of them is "
        f"in {shop.state}/R2/1-alembic_downgrade/left-1.sqlite."
    ]
    assert shop.sql("SELECT * FROM loose ORDER BY a") == [(1, None), (1, None), (2, None), (3, None)]


def test_the_password_is_in_no_file_and_no_argument(tmp_path, monkeypatch, postgresql):
    shop = PgShop(
        tmp_path, monkeypatch, postgresql, ["ALTER TABLE invoices ADD total int"], ["ALTER TABLE invoices DROP total"]
    )
    seen = tmp_path / "seen"
    for name in ("psql", "pg_dump"):
        tool = tmp_path / "bin" / name
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(f'#!/bin/sh\necho "{name} $@" >>{seen}\nexec {shutil.which(name)} "$@"\n')
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    texts = [repr(shop.run(step)) for step in ("preflight", "main", "recover")]
    assert "pg_dump" in seen.read_text()
    texts += [path.read_bytes().decode("latin1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if "hunter2" in text]

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the phase backup keeps for those who want it: an archive, and whole databases. Restored by hand, as it says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import stat
import subprocess
import threading
import time

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils import _backup as backup
from ansible_collections.changeops.rollback.plugins.module_utils import _backup_databases as databases
from ansible_collections.changeops.rollback.plugins.module_utils._command import Commands, PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import sha256_file
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import backup_host
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.backup_host import (
    NEW,
    ROOT,
)
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

host = backup_host.host


def by_hand(command):
    """What the message says to type, typed."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_archive_is_kept_and_restored_by_what_the_message_says(host):
    with contextlib.suppress(OSError):
        os.setxattr(str(host.uploads / "one.txt"), "user.note", b"kept")
    attributes = os.listxattr(str(host.uploads / "one.txt"))
    params = {"archive": [str(host.uploads)], "exclude": ["*.tmp", str(host.uploads / "a b" / "cache/")]}
    before = host.everything()
    found = host.step("preflight", **params)
    assert "an archive of 4 files" in found.msg
    report = host.step("main", **params)
    assert host.everything() == before
    record = report.facts["archive"]
    path = host.part / record["kept"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.stat().st_size, sha256_file(path)) == (record["size"], record["sha256"])
    assert path.stat().st_size < 1 << 20, "a hole of 64 MiB takes no room"
    assert "never restored by itself" in report.msg
    assert f"'{record['restore']}'" in report.msg
    shutil.rmtree(str(host.uploads))
    by_hand(record["restore"])
    gone = [name for name in before if "left.tmp" in name or "cache" in name]
    assert len(gone) == 3
    after = host.everything()
    here = str(host.uploads.parent), str(host.uploads)
    assert {k: v for k, v in after.items() if k not in here} == {
        k: v for k, v in before.items() if k not in (*here, *gone)
    }
    assert (host.uploads / "one.txt").stat().st_ino == (host.uploads / "two.txt").stat().st_ino
    assert (host.uploads / "sparse").stat().st_blocks < 2048
    assert os.listxattr(str(host.uploads / "one.txt")) == attributes
    listed = by_hand(record["look"])
    assert "one.txt" in listed
    assert "left.tmp" not in listed
    assert "cache" not in listed


def test_a_socket_is_left_out_with_a_warning(host):
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        os.chdir(str(host.uploads))  # the whole name would be too long for a socket
        listening.bind("s")
        os.mkfifo(str(host.uploads / "pipe"))
        report = host.step("main", archive=[str(host.uploads)])
    assert sorted(report.warnings) == [
        f"{host.uploads}/pipe is a socket or pipe; it is not archived.",
        f"{host.uploads}/s is a socket or pipe; it is not archived.",
    ]


@pytest.mark.parametrize("what", ["grows", "goes"])
def test_a_file_that_changes_is_warned_of_and_kept(host, what):
    """The stand-in for tar harms the file right before, or while, the real one reads it."""
    log = host.uploads / "shop.log"
    log.write_text("x" * 100)
    real = shutil.which("tar")
    tar = host.tmp / "bin" / "tar"
    tar.parent.mkdir()
    harm = f"rm -f {log}" if what == "goes" else f"(while :; do echo x >>{log}; done) & trap 'kill $!' EXIT"
    tar.write_text(f'#!/bin/sh\n[ "$1" = --create ] && {{ {harm}\n}}\n{real} "$@"\n')
    tar.chmod(0o755)
    if what == "grows":
        with log.open("ab") as stream:
            stream.write(os.urandom(5 << 20))  # it takes tar a while
    (host.tmp / "env").write_text(f"PATH={tar.parent}:{os.environ['PATH']}\n")
    report = host.step("main", archive=[str(host.uploads)], environment_files=[str(host.tmp / "env")])
    assert report.warnings == [f"{log} changed while it was archived; it is in there as far as it was read."]
    assert "one.txt" in by_hand(report.facts["archive"]["look"])
    assert not host.step("main", archive=[str(host.uploads)]).changed


def test_an_archive_that_does_not_read_back_is_no_backup(host):
    """The stand-in for tar writes another content than the file has."""
    tar = host.tmp / "bin" / "tar"
    tar.parent.mkdir()
    one, real = host.uploads / "one.txt", shutil.which("tar")
    harm = f"printf two\\\\n >{one}; touch -d @1000000000 {one}"
    tar.write_text(f'#!/bin/sh\n{real} "$@" || exit $?\n[ "$1" = --create ] && {{ {harm}\n}}\nexit 0\n')
    tar.chmod(0o755)
    (host.tmp / "env").write_text(f"PATH={tar.parent}:{os.environ['PATH']}\n")
    with pytest.raises(PhaseError, match=r"reads back differently: .*one\.txt"):
        host.step("main", archive=[str(host.uploads)], environment_files=[str(host.tmp / "env")])
    assert not (host.part / "manifest.json").exists()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_sqlite_database_is_dumped_while_the_app_writes(host, journal):
    """Two rows that belong together are in the dump both, or none of them is."""
    host.fill(20000, journal)
    stop = threading.Event()
    written = []

    def write():
        con = sqlite3.connect(str(host.database), timeout=30)
        con.execute("PRAGMA synchronous = OFF")  # a slow disk must not keep it from writing while the dump is made
        while not stop.is_set():
            with con:
                con.execute("INSERT INTO invoice VALUES (NULL, 1, 'debit')")
                con.execute("INSERT INTO invoice VALUES (NULL, 1, 'credit')")
            written.append(time.monotonic())
            time.sleep(0.001)
        con.close()

    app = threading.Thread(target=write)
    app.start()
    try:
        params = {"databases": [{"sqlite": str(host.database)}]}
        host.step("preflight", **params)
        while not written and app.is_alive():
            time.sleep(0.001)
        started = time.monotonic()
        report = host.step("main", **params)
        ended = time.monotonic()
    finally:
        stop.set()
        app.join()
    assert [moment for moment in written if started < moment < ended]
    (record,) = report.facts["databases"]
    copy = host.part / record["kept"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert (copy.stat().st_size, sha256_file(copy)) == (record["size"], record["sha256"])
    assert record["seconds"] >= 0
    assert os.listdir(str(copy.parent)) == [copy.name]
    assert "What is written later is not in there." in report.msg
    host.database.write_text("lost")
    by_hand(record["restore"])
    with contextlib.closing(sqlite3.connect(str(host.database))) as con:
        count = "SELECT count(*) FROM invoice WHERE note = ?"
        assert con.execute(count, ("x",)).fetchone() == (20000,)
        assert con.execute(count, ("debit",)).fetchone() == con.execute(count, ("credit",)).fetchone()
        assert con.execute("PRAGMA journal_mode").fetchone() == (journal,)
    assert not host.step("main", **params).changed


def test_a_dump_does_not_start_anew_at_every_write(host, monkeypatch):
    """The app writes between any two pages; SQLite's backup alone would never come to an end."""
    host.fill(5000)
    steps = []

    def write(self, limit=None):
        steps.append(1)
        assert len(steps) < 500, "it started anew"
        with contextlib.closing(sqlite3.connect(str(host.database), isolation_level=None)) as con:
            con.execute("INSERT INTO invoice VALUES (NULL, 1, 'between')")

    monkeypatch.setattr(databases, "_PAGES", 1)
    monkeypatch.setattr(Commands, "remaining", write)
    report = host.step("main", databases=[{"sqlite": str(host.database)}])
    assert len(steps) > 10
    (record,) = report.facts["databases"]
    with contextlib.closing(sqlite3.connect(str(host.part / record["kept"]))) as con:
        assert con.execute("SELECT count(*) FROM invoice").fetchone() == (5000,)


def test_a_dump_ends_in_time(host, monkeypatch):
    host.fill(5000, "delete")
    monkeypatch.setattr(databases, "_PAGES", 1)
    with pytest.raises(PhaseError, match="did not finish in time"):
        host.step("main", timeout=0.0, databases=[{"sqlite": str(host.database)}])


@pytest.mark.parametrize("what", ["archive.tar.gz", "databases/1.sqlite"])
def test_a_damaged_extra_is_named(host, what):
    host.fill()
    params = {"archive": [str(host.uploads)], "databases": [{"sqlite": str(host.database)}]}
    host.step("main", **params)
    with (host.part / what).open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff\x00")
    for step in ("preflight", "main"):
        with pytest.raises(PhaseError, match=f"the kept copy .*{what} is damaged"):
            host.step(step, **params)


def test_a_killed_backup_is_finished_and_check_mode_writes_nothing(host, monkeypatch):
    host.fill()
    params = {"archive": [str(host.uploads)], "databases": [{"sqlite": str(host.database)}]}
    planned = host.step("main", check=True, **params)
    assert planned.changed
    assert "an archive of 6 files" in planned.msg
    assert f"a dump of SQLite database {host.database}" in planned.msg
    assert not (host.tmp / "state").exists()

    def killed(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(databases, "_copy", killed)
    with pytest.raises(KeyboardInterrupt):
        host.step("main", **params)
    monkeypatch.undo()
    assert not (host.part / "manifest.json").exists()
    assert host.step("main", **params).changed
    assert json.loads((host.part / "manifest.json").read_text())["archive"]["kept"] == "archive.tar.gz"
    assert not list(host.part.rglob("*.part"))


def test_used_alone_a_new_dump_is_made_at_each_use(host):
    host.fill()
    part = host.tmp / "state" / "standalone" / "backup"
    for number in range(7):
        assert host.step("main", part=part, databases=[{"sqlite": str(host.database)}]).changed, number
    assert len(list((part.parent / "backup-kept").iterdir())) == backup.STANDALONE_KEPT


@pytest.fixture(scope="module")
def server(postgresql):
    """A server with a database and a user of its own, who may not read one table."""

    def run(sql, database="postgres"):
        argv = ["psql", "-h", postgresql, "-U", "postgres", "-d", database, "-qtAc", sql]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    run("CREATE DATABASE dumped")
    run("CREATE ROLE dumper LOGIN PASSWORD 'canary'")
    run(NEW.replace("INTEGER PRIMARY KEY", "serial PRIMARY KEY"), "dumped")
    run("INSERT INTO invoice (total) SELECT generate_series(1, 100)", "dumped")
    run("CREATE TABLE private (a int)", "dumped")
    yield postgresql, run
    run("DROP DATABASE dumped WITH (FORCE)")
    run("DROP ROLE dumper")


@pytest.mark.parametrize("by", ["address", "variable"])
def test_a_postgresql_database_is_dumped_and_restored_by_what_the_message_says(host, server, by):
    socket_, run = server
    (host.tmp / "env").write_text(f"SHOP_URL=postgresql+psycopg://postgres:canary@/dumped?host={socket_}\n")
    item = {"postgresql_env": "SHOP_URL"}
    if by == "address":
        item = {"postgresql": f"postgresql://postgres@/dumped?host={socket_}"}
    params = {"databases": [item], "environment_files": [str(host.tmp / "env")]}
    assert "a dump of PostgreSQL database dumped" in host.step("preflight", **params).msg
    report = host.step("main", **params)
    (record,) = report.facts["databases"]
    copy = host.part / record["kept"]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert (copy.stat().st_size, sha256_file(copy)) == (record["size"], record["sha256"])
    assert "canary" not in json.dumps([report.msg, report.facts])
    run("UPDATE invoice SET total = 0; ALTER TABLE invoice DROP note", "dumped")
    by_hand(record["restore"])
    assert run("SELECT count(*), sum(total), max(note) IS NULL FROM invoice", "dumped") == "100|5050|t\n"


def test_a_dump_that_cannot_be_read_back_is_no_backup(host, server):
    """The stand-in for pg_dump leaves half a dump behind and reports no fault."""
    real = shutil.which("pg_dump")
    (host.tmp / "bin").mkdir()
    cut = "for one; do case $one in --file=*) file=${one#--file=};; esac; done; truncate -s 50 $file"
    script = f'#!/bin/sh\n{real} "$@" || exit $?\ncase "$*" in *format=custom*) {cut};; esac\n'
    (host.tmp / "bin" / "pg_dump").write_text(script)
    (host.tmp / "bin" / "pg_dump").chmod(0o755)
    (host.tmp / "env").write_text(f"PATH={host.tmp}/bin:{os.environ['PATH']}\n")
    params = {"databases": [{"postgresql": f"postgresql://postgres@/dumped?host={server[0]}"}]}
    params["environment_files"] = [str(host.tmp / "env")]
    host.step("preflight", **params)
    with pytest.raises(PhaseError, match="pg_restore failed on PostgreSQL database dumped"):
        host.step("main", **params)
    assert not (host.part / "manifest.json").exists()


REFUSALS = [
    Refusal(
        "nothing to archive, a relative path, a device",
        "Not everything can be archived: <file> does not exist. uploads is not absolute. /dev/null is a device. "
        "Correct backup_archive, leave it out by backup_exclude, or read it as another user (become_user).",
        {"archive": ["{srv}/none", "uploads", "/dev/null"]},
    ),
    Refusal(
        "no GNU tar on the host",
        "There is no GNU tar on this host, which writes backup_archive. Install it (apt-get install tar, dnf "
        "install tar, apk add tar).",
        {"archive": ["{srv}/uploads"], "PATH": "/nowhere"},
    ),
    Refusal(
        "no room for the archive",
        "The restore point <folder> needs <size> and <size> are free on <folder>. Make room there, or take large "
        "folders out of backup_paths (rollback_config) and backup_archive, or large databases out of "
        "backup_databases.",
        {"archive": ["{srv}/uploads"], "huge": True},
    ),
    Refusal(
        "a SQLite database that is not there",
        "Not every database can be dumped: There is no SQLite database /nowhere/shop.db. Correct backup_databases.",
        {"databases": [{"sqlite": "/nowhere/shop.db"}]},
    ),
    Refusal(
        "a file that is no SQLite database",
        "Not every database can be dumped: SQLite database <file> cannot be read: file is not a database. Correct "
        "backup_databases, or read it as another user (become_user).",
        {"databases": [{"sqlite": "{srv}/uploads/one.txt"}]},
    ),
    Refusal(
        "a PostgreSQL database that does not answer",
        "Not every database can be dumped: There is no connection to PostgreSQL database none on <socket>: psql: "
        'error: connection to server on socket "<path>" failed: FATAL: database "none" does not exist. Start it, '
        "or correct its address; a password comes from rollback_environment_files (PGPASSWORD or PGPASSFILE, or "
        "the variable with the whole URL).",
        {"databases": [{"postgresql": "postgresql://postgres@/none?host={socket}"}]},
    ),
    Refusal(
        "a pg_dump that is older than the server",
        "Not every database can be dumped: PostgreSQL database dumped on <socket> is of version <number>, and "
        "pg_dump on this host is of version 9, which cannot dump it. Install it (postgresql-client-<number>), or "
        "put the right one on PATH, in a file of rollback_environment_files.",
        {"databases": [{"postgresql": "postgresql://postgres@/dumped?host={socket}"}], "old": True},
    ),
    Refusal(
        "a table that the user may not read",
        "Not every database can be dumped: pg_dump failed on PostgreSQL database dumped on <socket> (exit code "
        "1): pg_dump: error: query failed: ERROR: permission denied for table invoice / pg_dump: detail: Query "
        "was: LOCK TABLE <tables> IN ACCESS SHARE MODE.",
        {"databases": [{"postgresql": "postgresql://dumper@/dumped?host={socket}"}]},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(host, server, row):
    given = json.loads(json.dumps(row.given).replace("{srv}", str(host.tmp / "srv")).replace("{socket}", server[0]))
    path = given.pop("PATH", None)
    if given.pop("old", False):
        (host.tmp / "bin").mkdir()
        (host.tmp / "bin" / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
        (host.tmp / "bin" / "pg_dump").chmod(0o755)
        path = f"{host.tmp}/bin:{os.environ['PATH']}"
    if path:
        (host.tmp / "env").write_text(f"PATH={path}\n")
        given["environment_files"] = [str(host.tmp / "env")]
    with pytest.MonkeyPatch.context() as patch:
        if given.pop("huge", False):
            patch.setattr(backup._backup_archive, "_allocated", lambda path: 1 << 60)
        with pytest.raises(PhaseError) as caught:
            host.step("preflight", **given)
    assert row.matches(str(caught.value)), str(caught.value)
    assert not host.part.exists()


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_preflight_names_what_cannot_be_read(host):
    (host.uploads / "one.txt").chmod(0)
    with pytest.raises(PhaseError, match=r"one\.txt cannot be read"):
        host.step("preflight", archive=[str(host.uploads)])

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The history store: runs, their phases on each host, and the lock on a change. Private to this collection.

Every write is one transaction. On SQLite it begins with ``BEGIN IMMEDIATE`` and waits for other writers; on PostgreSQL
the primary key of the lock lets one of two runs win. All text is redacted on its way in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
import re
import secrets
import time
import typing as t
from pathlib import Path

from ..module_utils._redact import redact, redacted
from ..module_utils._words import age
from . import _history_schema as schema
from ._history_process import Process, alive, holder_words, seconds_between, silence_words
from ._history_rehearsal import Rehearsal
from ._history_slices import NO_PROCESS, beat, enter, join
from ._outcome import FAILED, INTERRUPTED, MAIN, OUTCOMES, RECOVER, REFUSED, SKIPPED, cut_short, rows_of
from ._slices import Slice

if schema.HAS_SQLALCHEMY:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.pool import NullPool

BUSY_SECONDS = 30.0
ENDED = "Its process ended without closing it"
Rows = t.Sequence[t.Mapping[str, t.Any]]
URL_VARIABLE = "CHANGEOPS_HISTORY_URL"
CORRECT_URL = (
    f"Correct rollback_history_url, or {URL_VARIABLE}: sqlite:////var/lib/changeops/history.sqlite, say, or "
    "postgresql://changeops@db.example.com/changeops."
)
NO_SQLALCHEMY = (
    "The history needs SQLAlchemy in the Python that runs Ansible ({python}). "
    "Install it there: {python} -m pip install sqlalchemy"
)


class HistoryError(Exception):
    """What is wrong with the store, or why a run may not begin, in a sentence without secrets."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class Refused(HistoryError):
    """A run may not begin."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a run that is to be opened says of itself. ``break_lock``: the run that counts as dead, or empty.

    ``rehearsed_within``: how old the rehearsal may be that a rollback needs, in seconds; 0: it needs none.
    ``lacking``: why it may not begin unless it resumes an unfinished one; empty: it may. ``notes``: as in
    ``_history_notes``. ``job``: as ``_awx.job_of`` gives it. ``part``: which slice of a run it is, with its ``hosts``.
    """

    change: str
    plan_digest: str
    executed_by: str
    executed_from: str
    check_mode: bool = False
    limit: str = ""
    break_lock: str = ""
    kind: str = schema.ROLLBACK
    rehearsed_within: int = 0
    lacking: str = ""
    notes: tuple[t.Mapping[str, t.Any], ...] = ()
    job: t.Mapping[str, t.Any] | None = None
    part: Slice | None = None
    hosts: tuple[str, ...] = ()


def state_dir(environ: t.Mapping[str, str]) -> Path:
    """Where the controller keeps what is not in a database: XDG, mode 0700."""
    base = environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return Path(base) / "changeops"


def store_url(option: t.Any, variable: t.Any, environ: t.Mapping[str, str]) -> str:
    """The store's URL: the option, the variable ``rollback_history_url``, the environment, else a SQLite file."""
    for given in (option, variable, environ.get(URL_VARIABLE)):
        if isinstance(given, str) and given.strip():
            return given.strip()
    return f"sqlite:///{state_dir(environ) / 'history.sqlite'}"


def utc(moment: datetime.datetime) -> str:
    """A time as it is stored."""
    text = moment.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def now_utc() -> datetime.datetime:
    """The time now."""
    return datetime.datetime.now(datetime.UTC)


class Store:
    """One history store.

    :arg url: of a SQLite or PostgreSQL database.
    :raises HistoryError: SQLAlchemy or the driver is missing, the URL is wrong, the store cannot be reached, or it was
        made by a newer version.
    """

    def __init__(self, url: str, clock: t.Callable[[], datetime.datetime] = now_utc, python: str = "python3") -> None:
        if not schema.HAS_SQLALCHEMY:
            raise HistoryError(NO_SQLALCHEMY.format(python=python))
        self.clock = clock
        self.digest = hashlib.sha256(url.encode()).hexdigest()
        try:
            parsed = sa.engine.make_url(url)
        except (sa.exc.ArgumentError, ValueError):
            raise HistoryError(f"The history's URL is not a database URL. {CORRECT_URL}") from None
        # Where it is, for messages: the URL itself may hold a secret.
        self._shown = f"{parsed.database} on {parsed.host}" if parsed.host else f"{parsed.database}"
        backend = parsed.get_backend_name()
        self.is_file = backend == "sqlite"
        if backend == "sqlite":
            self._dialect: t.Any = sqlite
            self._engine = self._sqlite(parsed)
        elif backend in ("postgresql", "postgres"):
            self._dialect = postgresql
            self._engine = self._postgresql(parsed, python)
        else:
            raise HistoryError(f"The history can be kept in SQLite or PostgreSQL, not in {backend}. {CORRECT_URL}")
        self._prepare()

    def _sqlite(self, url: t.Any) -> t.Any:
        if url.database and url.database != ":memory:" and not url.database.startswith("file:"):
            path = Path(url.database)
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                # Made here for its mode. SQLite's locks would not survive that another descriptor is closed later.
                with contextlib.suppress(FileExistsError):
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            except OSError as exc:
                raise HistoryError(f"The history {path} cannot be made: {exc.strerror}. {CORRECT_URL}") from exc
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, poolclass=NullPool)

        # SQLAlchemy's documentation, "Serializable isolation / transactional DDL": the driver must not begin
        # transactions of its own, so that ours begin with the write lock.
        @sa.event.listens_for(engine, "connect")
        def connect(connection: t.Any, record: t.Any) -> None:
            connection.isolation_level = None

        @sa.event.listens_for(engine, "begin")
        def begin(connection: t.Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def _postgresql(self, url: t.Any, python: str) -> t.Any:
        if "+" not in url.drivername:
            url = url.set(drivername="postgresql+psycopg")
        try:
            # A server that went silent must be noticed soon: a rollback waits for this.
            options = f"{url.query.get('options', '')} -c lock_timeout={BUSY_SECONDS:.0f}s"
            arguments = {"connect_timeout": 10, "tcp_user_timeout": 15000, "options": options}
            return sa.create_engine(url, connect_args=arguments, pool_pre_ping=True)
        except ImportError as exc:
            raise HistoryError(
                f"The history {self._shown} needs psycopg in the Python that runs Ansible. "
                f"Install it there: {python} -m pip install 'psycopg[binary]'"
            ) from exc

    @contextlib.contextmanager
    def transaction(self) -> t.Iterator[t.Any]:
        """One transaction, its database errors as sentences.

        :raises HistoryError: the store cannot be reached or written.
        """
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.IntegrityError:
            raise
        except sa.exc.SQLAlchemyError as exc:
            cause = str(getattr(exc, "orig", None) or exc).strip().splitlines()[0].rstrip(".")
            raise HistoryError(
                f"The history {self._shown} cannot be used: {cause}. Mend that, or keep the history elsewhere: "
                f"rollback_history_url, or {URL_VARIABLE}."
            ) from exc

    def _prepare(self) -> None:
        """Make the tables where there are none, bring older ones up to date; refuse those of a newer version."""
        with self.transaction() as connection:
            found = schema.prepare(connection)
        if found > schema.SCHEMA_VERSION:
            raise HistoryError(
                f"The history {self._shown} was made by a newer changeops.rollback (its schema is {found}, this one "
                f"knows {schema.SCHEMA_VERSION}). Upgrade it here: "
                "ansible-galaxy collection install --upgrade changeops.rollback"
            )

    def open_run(self, asked: Asked, here: Process) -> dict[str, t.Any]:
        """Open a run, take the change's lock, and find out whether an unfinished run is gone on with.

        :returns: the run's columns, and ``broke_lock`` (a run id or empty), ``dead_runs`` (ids known to be over) and
            ``rehearsed`` (when the change was rehearsed, in a sentence).
        :raises Refused: another run works on the change, the plan of an unfinished one was edited, or there is no
            rehearsal where one is needed.
        """
        for _attempt in range(50):
            try:
                with self.transaction() as connection:
                    return self._open(connection, asked, here)
            except Refused as exc:
                self._note_refusal(asked, here, str(exc))
                raise
            except sa.exc.IntegrityError:
                time.sleep(0.05)  # another run took the lock first: look again, and find it open
        raise HistoryError(f"The lock on {asked.change} in {self._shown} changes hands too fast. Try again.")

    def _note_refusal(self, asked: Asked, here: Process, why: str) -> None:
        """Put an attempt that may not begin on record."""
        run = self._new_run(asked, here)
        run.update(outcome=REFUSED, summary=f"{why} No host was changed.", finished=run["started"])
        with self.transaction() as connection:
            connection.execute(schema.RUNS.insert().values(**redacted(run)))

    def _new_run(self, asked: Asked, here: Process) -> dict[str, t.Any]:
        now = self.clock()
        change = re.sub(r"[^A-Za-z0-9._-]", "_", asked.change)
        run: dict[str, t.Any] = {
            "id": f"{now.astimezone(datetime.UTC):%Y%m%dT%H%M%S}-{change}-{secrets.token_hex(2)}",
            **{name: value for name, value in dataclasses.asdict(asked).items() if name in schema.RUNS.c},
            **dataclasses.asdict(here),
            "resumes": None,
            "started": utc(now),
            "heartbeat": utc(now),
            "summary": "",
        }
        return dict(run, restore_point=run["id"])

    def _open(self, connection: t.Any, asked: Asked, here: Process) -> dict[str, t.Any]:
        run, now = self._new_run(asked, NO_PROCESS if asked.part else here), self.clock()
        joined = join(connection, asked, here, now, utc(now)) if asked.part else None
        if joined:
            return dict(joined, broke_lock="", dead_runs=self._dead(connection, here, now), rehearsed="", joined=True)
        if not asked.check_mode:
            unfinished = self._unfinished(connection, asked, here, now)
            if unfinished:
                run.update(restore_point=unfinished["restore_point"], resumes=unfinished["id"])
        rehearsal = Rehearsal(connection, asked.change, asked.plan_digest, now)
        if not asked.check_mode and not run["resumes"]:  # what is half-way has to come to an end in any case
            needed = asked.rehearsed_within if asked.kind == schema.ROLLBACK else 0
            lacking = asked.lacking or (needed and rehearsal.lacking(needed))
            if lacking:
                raise Refused(lacking)
        dead = self._dead(connection, here, now)
        connection.execute(schema.RUNS.insert().values(**redacted(run)))
        if not asked.check_mode:
            lock = {"name": f"change:{asked.change}", "run": run["id"], "taken": utc(now)}
            connection.execute(schema.LOCKS.insert().values(**lock))
        if asked.part:
            enter(connection, run["id"], asked, here, utc(now))
        return dict(run, broke_lock=asked.break_lock, dead_runs=dead, rehearsed=rehearsal.words, joined=False)

    def _unfinished(
        self, connection: t.Any, asked: Asked, here: Process, now: datetime.datetime
    ) -> dict[str, t.Any] | None:
        """The run that left hosts half-way, if there is one; a dead one is closed first."""
        runs = schema.RUNS
        query = (
            sa.select(runs)
            .where(runs.c.change == asked.change, runs.c.check_mode.is_(False))
            .order_by(runs.c.started.desc(), runs.c.id.desc())
        )
        for row in connection.execute(query).mappings().all():
            run = dict(row)
            if run["outcome"] is None:
                if alive(run, here, now) and run["id"] != asked.break_lock:
                    since = age(seconds_between(run["started"], utc(now)) or 0)
                    raise Refused(
                        f"{asked.change} is being {schema.DOING[run['kind']]} by {holder_words(run)} since {since} "
                        f"(run {run['id']}). {silence_words(run, here, now)}Wait for it, or if you are sure that it is "
                        f"dead: ansible-playbook {asked.kind}.yml -e change={asked.change} -e break_lock={run['id']}"
                    )
                run.update(self._bury(connection, run, asked.break_lock))
            if run["outcome"] in (REFUSED, INTERRUPTED) and not self._touched(connection, run["id"]):
                continue
            if run["outcome"] not in (FAILED, INTERRUPTED):
                return None
            if run["plan_digest"] != asked.plan_digest:
                raise Refused(
                    f"The plan of {asked.change} was edited since run {run['id']} began, and that run left hosts "
                    f"half-way. They can only be brought on with the plan that it began with (digest "
                    f"{run['plan_digest'][:12]}, now {asked.plan_digest[:12]}): put it back as it was, for example "
                    f"with git checkout, and run the same command again."
                )
            return run
        return None

    def _touched(self, connection: t.Any, run: str) -> bool:
        """Whether a run had begun to change a host; an undo does so with what a rollback recovers by."""
        phases = schema.PHASES
        working = phases.c.step.in_((MAIN, RECOVER))
        query = sa.select(phases.c.run).where(phases.c.run == run, working, phases.c.status != SKIPPED)
        return connection.execute(query.limit(1)).first() is not None

    def _bury(self, connection: t.Any, run: t.Mapping[str, t.Any], broken: str) -> dict[str, t.Any]:
        """Close a dead run as interrupted and say what was at work then."""
        how = "Its lock was broken" if run["id"] == broken else ENDED
        summary = cut_short(how, rows_of(self.phases(connection, [run["id"]])[run["id"]]))
        self.end_run(connection, run["id"], INTERRUPTED, summary, run["heartbeat"])
        return {"outcome": INTERRUPTED, "summary": summary}

    def _dead(self, connection: t.Any, here: Process, now: datetime.datetime) -> list[str]:
        runs = schema.RUNS
        query = sa.select(runs).where(runs.c.check_mode.is_(False)).order_by(runs.c.started.desc()).limit(200)
        rows = connection.execute(query).mappings()
        return [run["id"] for run in rows if run["outcome"] is not None or not alive(run, here, now)]

    def rehearsal(self, change: str, plan_digest: str) -> Rehearsal:
        """The last rehearsal of a change whose plan has this digest now."""
        with self.transaction() as connection:
            return Rehearsal(connection, change, plan_digest, self.clock())

    def beat(self, run: str, part: int = 0) -> None:
        """Say that the run is alive, and the slice of it that this is."""
        runs, now = schema.RUNS, utc(self.clock())
        with self.transaction() as connection:
            connection.execute(runs.update().where(runs.c.id == run).values(heartbeat=now))
            beat(connection, run, part, now)

    def knows(self, connection: t.Any, run: str) -> bool:
        """Whether there is such a run."""
        return connection.execute(sa.select(schema.RUNS.c.id).where(schema.RUNS.c.id == run)).first() is not None

    def save_rows(self, connection: t.Any, run: str, rows: Rows, truth: Rows = ()) -> None:
        """Write phase rows, and rows of truth tables, as they are now, new or known."""
        for table, values in ((schema.PHASES, [redacted(row) for row in rows]), (schema.TRUTH, truth)):
            if values:
                insert = self._dialect.insert(table)
                key = [column.name for column in table.primary_key]
                fresh = {c.name: insert.excluded[c.name] for c in table.c if c.name not in key}
                upsert = insert.on_conflict_do_update(index_elements=key, set_=fresh)
                connection.execute(upsert, [dict(row, run=run) for row in values])

    def end_run(self, connection: t.Any, run: str, outcome: str, summary: str, finished: str) -> None:
        """Close a run and free its lock. What the run says of its own end beats what others supposed."""
        if outcome not in OUTCOMES:
            raise HistoryError(f"'{outcome}' is no outcome. Outcomes are {', '.join(OUTCOMES)}.")
        runs, locks = schema.RUNS, schema.LOCKS
        values = {"outcome": outcome, "summary": redact(summary), "finished": finished}
        open_or_supposed = sa.or_(runs.c.outcome.is_(None), runs.c.outcome == INTERRUPTED)
        connection.execute(runs.update().where(runs.c.id == run, open_or_supposed).values(**values))
        connection.execute(locks.delete().where(locks.c.run == run))

    def phases(self, connection: t.Any, ids: t.Sequence[str]) -> dict[str, list[dict[str, t.Any]]]:
        """What runs did, by their IDs, in the order in which it began."""
        phases = schema.PHASES
        query = sa.select(phases).where(phases.c.run.in_(ids)).order_by(phases.c.started, phases.c.index, phases.c.host)
        found: dict[str, list[dict[str, t.Any]]] = {run: [] for run in ids}
        for row in connection.execute(query).mappings():
            found[row["run"]].append({name: value for name, value in row.items() if name != "run"})
        return found

    def runs(self, here: Process, change: str = "", run: str = "", last: int = 20) -> list[dict[str, t.Any]]:
        """The last runs, newest first, each with ``duration`` (seconds, None while it runs) and ``phases``.

        Where one ``run`` is asked for, it has its ``truth`` tables too, as ``truth_of`` gives them.
        The outcome of a run at work is None; one that died unnoticed is shown as interrupted.
        """
        runs, now = schema.RUNS, self.clock()
        query = sa.select(runs).order_by(runs.c.started.desc(), runs.c.id.desc()).limit(last)
        if change:
            query = query.where(runs.c.change == change)
        if run:
            query = query.where(runs.c.id == run)
        with self.transaction() as connection:
            found = [dict(row) for row in connection.execute(query).mappings()]
            phases = self.phases(connection, [row["id"] for row in found])
            for row in found if run else ():
                row["truth"] = schema.truth_of(connection, row["id"])
        for row in found:
            if row["outcome"] is None and not alive(row, here, now):
                summary = cut_short(ENDED, rows_of(phases[row["id"]]))
                row.update(outcome=INTERRUPTED, finished=row["heartbeat"], summary=summary)
            for name in ("controller", "machine", "pid", "pid_started", "heartbeat"):
                del row[name]
            row["duration"] = seconds_between(row["started"], row["finished"])
            row["phases"] = [dict(p, duration=seconds_between(p["started"], p["finished"])) for p in phases[row["id"]]]
        return found

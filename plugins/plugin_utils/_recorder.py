# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps the record of one open run while its playbook runs. Private to this collection.

Recording never stops a rollback: when the store fails, it warns once and keeps everything in a file from then on, which
is read back into the store later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
import typing as t
from pathlib import Path

from ..module_utils._redact import redact, redacted
from ._expected import DESTROYS, expected_words, took
from ._history import HistoryError, Store, utc
from ._history_notes import NOT_NOTIFIED, add_notes
from ._history_process import seconds_between, this_process
from ._history_schema import REHEARSAL, ROLLBACK, UNDO
from ._history_slices import end_slice
from ._history_spool import replay, spool
from ._last_words import last_words
from ._outcome import (
    BAD,
    FAILED,
    MAIN,
    OK,
    REHEARSE,
    ROW,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    WAITING,
    Decision,
    End,
    Row,
    decide,
    shorten,
)
from ._report_run import downtime, loss_of, rehearsed_loss
from ._truth import AFTER, Truth

if t.TYPE_CHECKING:
    from ._notify import Telling  # loaded where somebody is to be told

HEARTBEAT_SECONDS = 5.0
FLUSH_SECONDS = 0.25
SIGNAL_WAIT = 2.0  # seconds that a signal handler waits for a write that is under way

# Ansible forks a worker for each task. A fork while the heartbeat's thread is inside SQLite would leave SQLite's own
# locks held in the worker for ever, and a task that uses the history there would hang.
_FORK = threading.Lock()
os.register_at_fork(before=_FORK.acquire, after_in_parent=_FORK.release, after_in_child=_FORK.release)

Key = tuple[str, int, str]
_AT_WORK: list[Recorder] = []  # the one that records, for a task of the run, which is a fork of this process


@dataclasses.dataclass
class _Step:
    """One step of one phase on one host, as far as it is known.

    ``ran``: a task of it ran, not only skipped ones. ``last``: what was said last; ``message`` keeps to the failure.
    """

    host: str
    index: int
    phase: str
    role: str
    step: str
    started: str
    status: str = RUNNING
    changed: bool = False
    finished: str | None = None
    message: str = ""
    before: t.Any = None
    after: t.Any = None
    ran: bool = False
    last: str = ""

    def columns(self) -> dict[str, t.Any]:
        return {name: value for name, value in vars(self).items() if name not in ("ran", "last")}


class Recorder:
    """Records one run.

    :arg spool_dir: where the record is kept while the store fails.
    :arg run: the run as it was opened: ``id``, ``change``, ``kind``, ``check_mode``, and ``slice`` where it is one.
    :arg hosts: those of the play.
    :arg warn: shows a warning.
    :arg heartbeat: seconds between two signs of life.
    :arg width: of the terminal, for the truth tables.
    :arg phases: of the plan, each with ``index``, ``name`` and ``estimate``.
    :arg telling: tells people elsewhere how it goes.
    """

    def __init__(
        self,
        store: Store,
        spool_dir: Path,
        run: t.Mapping[str, t.Any],
        hosts: t.Iterable[str],
        warn: t.Callable[[str], None],
        heartbeat: float = HEARTBEAT_SECONDS,
        width: int = 120,
        phases: t.Sequence[t.Mapping[str, t.Any]] = (),
        telling: Telling | None = None,
    ) -> None:
        self.run = run
        self._slice: t.Mapping[str, t.Any] = run.get("slice") or {}
        self._telling = telling
        self._phases = phases
        self.hosts = frozenset(hosts)
        self._store = store
        self._spool_dir = spool_dir
        self._warn = warn
        self._steps: dict[Key, _Step] = {}
        self._dirty: dict[Key, None] = {}
        self._closed: dict[str, str] = {}
        self._problems: list[tuple[str, str]] = []
        self._truth = Truth(self.hosts)
        self._width = width
        self._lock = threading.Lock()
        self._spooling = False
        self._flushed = 0.0
        self._began = time.monotonic()
        self._heartbeat = heartbeat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="changeops-heartbeat", daemon=True)
        self._thread.start()
        _AT_WORK[:] = [self]
        if telling and not self._slice.get("joined"):
            telling.started()

    def _now(self) -> str:
        return utc(self._store.clock())

    def begin(self, host: str, index: int, phase: str, role: str, step: str) -> None:
        """A task of a phase starts on ``host``."""
        key = (host, index, step)
        if key in self._steps:
            return
        first = not any((s.index, s.step) == (index, step) for s in self._steps.values())
        with self._lock:
            self._settle(host)
            if step == MAIN:
                self._dealt_with(host)
            self._steps[key] = _Step(host, index, phase, role, step, self._now())
            self._dirty[key] = None
        # Before a phase touches its first host the record says so, whatever happens to this process then.
        self.flush(force=first)
        if (
            first
            and self._telling
            and (role, step, self.run["kind"]) == (f"changeops.rollback.{DESTROYS}", MAIN, ROLLBACK)
        ):
            self._telling.no_return(DESTROYS)

    def end(
        self,
        host: str,
        index: int,
        step: str,
        status: str,
        changed: bool = False,
        message: str = "",
        before: t.Any = None,
        after: t.Any = None,
    ) -> None:
        """A task of a phase ended on ``host``."""
        key = (host, index, step)
        known = self._steps.get(key)
        if known is None:
            return
        with self._lock:
            known.finished = self._now()
            known.changed = known.changed or changed
            known.ran = known.ran or status != SKIPPED
            if status in (*BAD, WAITING):
                known.status = status
            if message:
                known.last = shorten(redact(message))
                if status in BAD or known.status not in BAD:
                    known.message = known.last
            known.before = before if before is not None else known.before
            known.after = after if after is not None else known.after
            self._dirty[key] = None
        self.flush(force=status in BAD)

    def closed(self, host: str, outcome: str) -> None:
        """The run's last task said how it ended on ``host``."""
        self._closed[host] = outcome

    def stands(self, moment: str, host: str, result: t.Mapping[str, t.Any]) -> str:
        """The module ``status`` told how the app stands on ``host``; returns the table once it is whole, to show it.

        What comes of it after the run is shown by ``close``.
        """
        with self._lock:
            self._truth.put(moment, host, result)
        whole = moment != AFTER and self._truth.whole(moment)
        return self._titled(moment) if whole else ""

    def _titled(self, moment: str) -> str:
        text = self._truth.text(moment, self._width)
        return f"\n{self.run['change']}, {moment}:\n\n{text}\n\n" if text else ""

    def away(self, host: str, message: str) -> None:
        """``host`` became unreachable."""
        self._truth.away(host, message)

    def problem(self, host: str, message: str) -> None:
        """A task outside all phases failed, or what waited until all was verified was not done."""
        self._problems.append((host, shorten(redact(message))))

    def settle(self) -> None:
        """Nothing is at work on any host just now."""
        with self._lock:
            self._settle()

    def _settle(self, host: str = "") -> None:
        """Nothing more comes for steps that are still running (on ``host``): say how they ended."""
        for key, known in self._steps.items():
            if known.status == RUNNING and known.finished and host in ("", known.host):
                known.status = OK if known.ran else SKIPPED
                self._dirty[key] = None

    def _dealt_with(self, host: str) -> None:
        """The host went on after its failures, so the phase's own role dealt with them."""
        for key, known in self._steps.items():
            if (known.host, known.step, known.status) == (host, MAIN, FAILED):
                known.status, known.message = OK, known.last
                self._dirty[key] = None

    def flush(self, force: bool = True) -> None:
        """Write what is new, at most four times a second unless forced."""
        if force or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            with self._lock:
                self._write()

    def _write(self, end: dict[str, str] | None = None) -> None:
        keys = list(self._dirty)
        self._flushed = time.monotonic()
        truth = self._truth.new_rows()
        if not keys and not truth and end is None:
            return
        rows = [self._steps[key].columns() for key in keys]
        if not self._spooling:
            try:
                with self._store.transaction() as connection:
                    self._store.save_rows(connection, self.run["id"], rows, truth)
                    if end:
                        self._store.end_run(connection, self.run["id"], **end)
            except Exception as exc:
                self._spooling = True
                what = shorten(redact(str(exc)))
                self._warn(f"{what} The rollback goes on; its record is kept in {self._spool_dir} meanwhile.")
        if self._spooling:
            self._spool(rows, truth, end)
        for key in keys:
            self._dirty.pop(key, None)
        self._truth.kept()

    def _spool(self, rows: list[dict[str, t.Any]], truth: list[dict[str, t.Any]], end: dict[str, str] | None) -> None:
        try:
            spool(self._spool_dir, self._store.digest, self.run["id"], rows, end, truth)
            if end:
                replay(self._spool_dir, self._store)
        except HistoryError:
            pass  # still out of reach; whoever opens the store next reads the file
        except OSError as exc:
            self._warn(f"The record of run {self.run['id']} cannot be kept: {exc}.")

    def _beat(self) -> None:
        """The heartbeat's thread. It ends early only where nobody elsewhere can be waiting for a sign of life."""
        guard: t.Any = _FORK if self._store.is_file else contextlib.nullcontext()
        while not self._stop.wait(self._heartbeat) and not (self._spooling and self._store.is_file):
            with contextlib.suppress(Exception), guard:
                self._store.beat(self.run["id"], self._slice.get("number", 0))
                self.flush()

    def close(self, finished: bool, failed: t.Iterable[str] = (), signal: str = "") -> list[str]:
        """Close the record; returns the lines to show at the end."""
        self._stop.set()
        _AT_WORK.clear()
        if signal or not finished:
            # The main thread may have been interrupted in the middle of a write that holds the lock.
            free = self._lock.acquire(timeout=SIGNAL_WAIT)
        else:
            free = self._lock.acquire()
            self._settle_all()
        try:
            end = self._end(finished, failed, signal)
            decision = self._decide(end)
            ended = {"outcome": decision.outcome, "summary": decision.summary, "finished": self._now()}
            ending = None if self._slice else ended  # the last of the slices closes the run
            if finished and not signal:
                self._truth.finish(decision.touched)
            if signal or not free:
                self._spool([step.columns() for step in self._steps.values()], self._truth.new_rows(), ending)
            else:
                self._write(ending)
        finally:
            if free:
                self._lock.release()
        table, took = self._titled(AFTER), time.monotonic() - self._began
        whole = self._end_slice(end) if self._slice else decision
        if whole is None:
            which = "slice {number} of {total}".format(**self._slice)
            said = f"{self.run['change']}: {which} has ended, and the last one says how the run did"
            return [*([table] if table else []), f"{said} (run {self.run['id']})"]
        decision = whole
        phases = [step.columns() for step in self._steps.values()]
        down = downtime({"phases": phases}) or {}
        words = last_words(self.run, decision, took, down.get("seconds") if down.get("finished") else None)
        if self._telling:
            self._telling.ended(decision.outcome, words[1:], decision.summary, took, phases)
        if self.run["kind"] == REHEARSAL and decision.outcome == SUCCEEDED:
            words += expected_words(self._phases, self._rehearsed())
        return [*([table] if table else []), *words]

    def _end_slice(self, end: End) -> Decision | None:
        """Note how this slice ended; how the run did, where it is the last of them."""
        try:
            replay(self._spool_dir, self._store)
            number = self._slice["number"]
            return end_slice(self._store, self.run["id"], number, end, this_process(os.getpid()), self._now())
        except HistoryError as exc:
            self._warn(f"{exc} How this slice ended is not on record.")
            return None

    def _settle_all(self) -> None:
        for host, outcome in self._closed.items():
            if outcome == SUCCEEDED:
                self._dealt_with(host)
        self._settle()

    def _end(self, finished: bool = True, failed: t.Iterable[str] = (), signal: str = "") -> End:
        return End(
            self.hosts, self._closed, frozenset(failed), finished, signal, tuple(self._problems),
            bool(self.run["check_mode"]), self.run["kind"] == REHEARSAL, self.run["kind"] == UNDO,
        )  # fmt: skip

    def _decide(self, end: End) -> Decision:
        return decide([Row(**{n: getattr(s, n) for n in ROW}) for s in self._steps.values()], end)

    def artifacts(self) -> dict[str, t.Any]:
        """What came of the run, for later jobs of a workflow, by names with the prefix ``rollback_``.

        It is asked by the last task of the run, in that task's fork: what is settled there changes nothing here, and
        the lock may be held there for ever.
        """
        if self._slice:
            return {}  # it knows of its own hosts only; how the run did is said once all slices have ended
        self._settle_all()
        decision, now = self._decide(self._end()), self._now()
        phases = [dict(s.columns(), duration=seconds_between(s.started, s.finished)) for s in self._steps.values()]
        found = {
            "outcome": decision.outcome,
            "summary": decision.summary,
            "loss": [word for one in loss_of({"phases": phases}) for word in one["lost"]],
            "duration": seconds_between(self.run["started"], now),
            "downtime": (downtime({"phases": phases}) or {}).get("seconds") or 0.0,
            "phase_durations": took({"phases": phases}),
        }
        if self.run["kind"] == REHEARSAL:
            found["loss"] = rehearsed_loss({"phases": phases})
            found["expected"] = " ".join(expected_words(self._phases, self._rehearsed()))
        return {f"rollback_{name}": value for name, value in redacted(found).items()}

    def told(self, signal: str = "") -> list[str]:
        """Wait until all who are to be told are told, or have had their time; returns and notes who were not."""
        faults = self._telling.finish() if self._telling else []
        if faults and not signal and not self._spooling:  # a signal may have come in the middle of a write
            with contextlib.suppress(HistoryError):
                noted = {"at": self._now(), "by": "", "kind": NOT_NOTIFIED}
                add_notes(self._store, self.run["id"], [{**noted, "text": text} for text in faults])
        return faults

    def _rehearsed(self) -> dict[int, float]:
        """How long phases took in the rehearsal, by index: on the host where it was longest."""
        found: dict[int, float] = {}
        for known in self._steps.values():
            took = (known.after or {}).get("seconds", {}).get("main") if known.step == REHEARSE else None
            if took is not None:
                found[known.index] = max(found.get(known.index, 0.0), float(took))
        return found


def artifacts() -> dict[str, t.Any]:
    """As ``Recorder.artifacts``; empty where nothing records."""
    return next((recorder.artifacts() for recorder in _AT_WORK), {})

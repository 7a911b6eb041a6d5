# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a run is, and the lines that say so. It knows no terminal and no clock. Private to this collection."""

from __future__ import annotations

import dataclasses
import re
import textwrap
import typing as t

from ..module_utils._redact import redact
from ._events import Place
from ._expected import EARLIER, PLANNED, REHEARSED
from ._history_schema import REHEARSAL, UNDO
from ._history_view import duration_words
from ._outcome import BAD, FAILED, MAIN, OK, SKIPPED, WAITING, count, name_of

# What is looked at before anything is done is one line for all phases.
TOGETHER = {"preflight": "preflight", "can_undo": "preflight of undo", "can_recover": "preflight of recover"}
# What the phases of a run are there for, and what else is done with them, by kind of run.
WORK = {REHEARSAL: "rehearse", UNDO: "recover"}
VERBS = {"rehearse": "rehearse ", "recover": "recover ", "close": "finish ", "undone": "verify "}
VERBS_OF_UNDO = {"recover": "undo ", "undone": "check ", MAIN: "again "}
SOURCES = {EARLIER: "usually", REHEARSED: "rehearsed", PLANNED: "planned"}
SIGN_OF_LIFE = 30.0  # seconds after which a log says that a phase is still at work; then after twice as long, and so on
OUTPUT_LINES = 12  # of a program's output below what failed
STATUS_WIDTH = 7

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# What is to be copied in one piece, and what holds it together while lines are made.
_COMMAND = re.compile(r"ansible-playbook \S+(?: -e \S+)*")
_KEPT = "\N{NO-BREAK SPACE}"

Values = t.Mapping[str, t.Any]


class Line(t.NamedTuple):
    """Something to show. ``status`` is one of ok, skipped, waiting, failed, unreachable, or empty for what has none."""

    text: str
    status: str = ""


@dataclasses.dataclass
class Piece:
    """What is one line: one step of one phase, or of all phases together.

    ``total``: hosts that it is for, or phases. ``done``: those that are done with the task at work. ``seen``: hosts
    that had a task of it, and ``ran``: those on which one was not skipped.
    """

    title: str
    total: int
    began: float
    expected: float | None = None
    source: str = ""
    together: bool = False
    index: int = 0
    work: bool = False
    done: set[t.Any] = dataclasses.field(default_factory=set)
    seen: set[str] = dataclasses.field(default_factory=set)
    ran: set[str] = dataclasses.field(default_factory=set)
    bad: set[str] = dataclasses.field(default_factory=set)
    waits: bool = False
    said: float = SIGN_OF_LIFE

    @property
    def status(self) -> str:
        """How it stands."""
        return FAILED if self.bad else WAITING if self.waits else OK if self.ran else SKIPPED

    def counted(self, number: int, short: bool = False) -> str:
        """``2 of 3 hosts``; or ``2/3``."""
        if short:
            return f"{number}/{self.total}"
        return f"{number} of {count(self.total, 'phase' if self.together else 'host')}"


class Board:
    """How far a run is.

    :arg run: as it was opened: ``id``, ``change``, ``kind``, ``check_mode``, ``resumes``, and maybe ``expected``: by
        the index of a phase, as text, how many seconds its main is going to take and where that is known from.
    :arg plan: as checked; empty where it is not known.
    :arg now: seconds, as all moments here.
    :arg width: of the terminal; 0 for a log.
    """

    def __init__(self, run: Values, plan: Values, now: float, width: int = 0) -> None:
        self.run, self.plan, self.began, self.width = run, plan, now, width
        self.phases: t.Sequence[Values] = plan.get("phases", ())
        self.hosts: frozenset[str] = frozenset(host for batch in plan.get("batches", ()) for host in batch)
        self.batch: frozenset[str] = self.hosts
        self.piece: Piece | None = None
        self._key: tuple[t.Any, ...] = ()
        self._batches = [1, max(len(plan.get("batches", ())), 1)]
        self._work_done: set[int] = set()
        names = [phase["name"] for phase in self.phases]
        self._wide = max((len(name) for name in names), default=0) + len("rehearse ")

    # What happens

    def begin_batch(self, index: int, hosts: t.Collection[str], now: float) -> list[Line]:
        """The next hosts are begun with."""
        lines = self.at(None, now)
        self.batch, self._batches[0] = frozenset(hosts), index
        self._work_done = set()
        if self._batches[1] > 1:
            lines.append(Line(f"Batch {index} of {self._batches[1]}: {', '.join(sorted(hosts))}"))
        return lines

    def at(self, place: Place | None, now: float) -> list[Line]:
        """A task begins there; None is outside phases. Returns the line of what is over by that."""
        key = () if place is None else (place.step,) if place.step in TOGETHER else (place.step, place.number)
        if key == self._key:
            if self.piece and not self.piece.together:
                self.piece.done = set()
            return []
        lines = self.over(now)
        self._key = key
        if place is not None:
            self.piece = self._new(place, now)
        return lines

    def over(self, now: float) -> list[Line]:
        """Nothing more comes of what is at work."""
        piece, self.piece, self._key = self.piece, None, ()
        if piece is None:
            return []
        if piece.work and not piece.bad:
            self._work_done.add(piece.index)
        if not piece.ran and (not piece.work or not piece.total):
            return []
        return [Line(done_line(piece, now - piece.began, self._wide, self.width), piece.status)]

    def _new(self, place: Place, now: float) -> Piece:
        together = place.step in TOGETHER
        title = TOGETHER[place.step] if together else self.title(place)
        phase = next((one for one in self.phases if one["index"] == place.number), None)
        hosts = len(self.batch.intersection(phase["host_names"])) if phase else 0
        total = sum(place.step in one["steps"] for one in self.phases) if together else hosts
        work = place.step == WORK.get(self.run["kind"], MAIN)
        expected, source = (None, "") if together or phase is None else self.expected(phase, place.step)
        return Piece(title, total, now, expected, source, together, place.number, work)

    def title(self, place: Place) -> str:
        """A step of a phase, by name."""
        name = name_of(place.phase)
        if place.step in TOGETHER:
            return f"{TOGETHER[place.step]}, {name}"
        verbs = {**VERBS, **VERBS_OF_UNDO} if self.run["kind"] == UNDO else VERBS
        return f"{verbs.get(place.step, '')}{name}"

    def expected(self, phase: Values, step: str) -> tuple[float | None, str]:
        """How many seconds a step of a phase is going to take, and who says so."""
        if step != MAIN:
            return None, ""
        known = (self.run.get("expected") or {}).get(str(phase["index"]))
        if known is not None:
            return float(known[0]), SOURCES[known[1]]
        return (None, "") if phase["estimate"] is None else (float(phase["estimate"]), SOURCES[PLANNED])

    def ended(self, place: Place, host: str, status: str) -> None:
        """A task of the phase's own ended on ``host``."""
        piece = self.piece
        if piece is None:
            return
        piece.done.add(place.number if piece.together else host)
        piece.total = max(piece.total, len(piece.done))
        piece.seen.add(host)
        if status != SKIPPED:
            piece.ran.add(host)
        if status in BAD:
            piece.bad.add(host)
        piece.waits = piece.waits or status == WAITING

    # What there is to say

    def heading(self) -> str:
        """What begins."""
        run, what = self.run, "roll back"
        if run["kind"] == REHEARSAL:
            what = "rehearse the rollback of"
        elif run["kind"] == UNDO:
            what = "undo the rollback of"
        title = f" '{self.plan['title']}'" if self.plan.get("title") else f" {run['change']}"
        where = f" on {count(len(self.hosts), 'host')}, {count(len(self.phases), 'phase')}" if self.hosts else ""
        parts = [f"{'dry run, ' if run['check_mode'] and run['kind'] != REHEARSAL else ''}{what}{title}{where}"]
        left, sure = self.left(self.began)
        if left:
            parts.append(f"{'about' if sure else 'at least'} {duration_words(left)}")
        goes_on = f". It goes on with {run['resumes']}" if run.get("resumes") else ""
        return f"{run['change']}: {', '.join(parts)} (run {run['id']}){goes_on}"

    def left(self, now: float) -> tuple[float, bool]:
        """How many seconds what is left of the work is going to take, and whether all of that is known."""
        step = WORK.get(self.run["kind"], MAIN)
        known, sure = 0.0, True
        after = self._batches[1] - self._batches[0]
        for phase in self.phases:
            if step not in phase["steps"]:
                continue
            seconds = self.expected(phase, step)[0]
            sure = sure and seconds is not None
            rounds = after + (phase["index"] not in self._work_done)
            known += rounds * (seconds or 0.0)
        if self.piece and self.piece.work and self.piece.expected is not None:
            known -= min(now - self.piece.began, self.piece.expected)
        return max(known, 0.0), sure

    def overall(self, now: float, short: bool = False) -> str:
        """How far the whole is, on a short line."""
        step = WORK.get(self.run["kind"], MAIN)
        whole = [phase for phase in self.phases if step in phase["steps"]]
        parts = [] if short else [self.run["change"]]
        if self._batches[1] > 1:
            parts.append(f"batch {self._batches[0]} of {self._batches[1]}")
        if whole and self.piece and self.piece.work:
            parts.append(f"phase {min(len(self._work_done) + 1, len(whole))} of {len(whole)}")
        parts.append(clock(now - self.began))
        left, sure = self.left(now)
        if left >= 1 and not (self.piece and self.piece.title.startswith(VERBS["recover"])):
            parts.append(f"{'about' if sure else 'at least'} {clock(left)} left")
        return " · ".join(parts)

    def sign_of_life(self, now: float) -> list[Line]:
        """For a log: that something is still at work, at ever longer intervals."""
        piece = self.piece
        if piece is None or now - piece.began < piece.said:
            return []
        piece.said *= 2
        return [Line(done_line(piece, now - piece.began, self._wide, self.width, "at work", len(piece.done)))]


def clock(seconds: float) -> str:
    """``0:07``, ``12:30``, ``1:02:03``."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def done_line(piece: Piece, seconds: float, wide: int, width: int, status: str = "", number: int | None = None) -> str:
    """The line of what is over: how it ended, on how many hosts, how long it took and should have taken.

    :arg wide: columns that titles take, where there is room.
    :arg width: of the terminal; 0 for a log, where a line may be as long as it is.
    :arg status: what to say of it instead of how it ended, and
    :arg number: of how many hosts or phases.
    """
    status = status or piece.status
    if number is None:
        number = len(piece.done) if piece.together else len(() if piece.waits else piece.seen - piece.bad)
    took = duration_words(seconds)
    source = f" ({piece.source} {duration_words(piece.expected)})" if piece.source else ""
    line = f"{status:<{STATUS_WIDTH}} {piece.title:<{wide}} {piece.counted(number):<13} {took}{source}"
    if not width or len(line) <= width:
        return line
    line = f"{status} {piece.title} {piece.counted(number, short=True)} {took}"
    return line + source if len(line + source) <= width else wrapped(line, width, "  ")


def failure(where: str, result: Values, cause: str, width: int) -> str:
    """What failed where, why in full, and what the program said that failed, without secrets.

    :arg where: how it ended, the phase or task and the host, as in ``failed  git_revert on web2``.
    :arg result: of the task, for what a program wrote.
    """
    text = wrapped(f"{where}: {plain(redact(cause)) or 'it gave no reason'}", width, "  ")
    output = plain(redact("\n".join(_outputs(result)))).strip("\n").splitlines()
    if len(output) > OUTPUT_LINES:
        output = ["…", *output[-OUTPUT_LINES:]]
    return "\n".join([text, *(f"  | {line.rstrip()}" for line in output)])


def _outputs(result: Values) -> t.Iterator[str]:
    """What failed programs wrote, as far as the cause does not have it: to stderr, else to stdout."""
    for one in result.get("results") or (result,):
        if isinstance(one, t.Mapping) and (one.get("failed") or one is result):
            said = [one.get(name) for name in ("stderr", "module_stderr", "stdout", "module_stdout")]
            text = next((str(text) for text in said if text and str(text).strip()), "")
            if text.strip() not in str(one.get("msg") or ""):
                yield text


def verdict(message: str) -> str:
    """What comes of a failure that has been told, from a message of the run role: ``cause | what comes of it``."""
    return message.rpartition(" | ")[2].strip()


def plain(text: str) -> str:
    """Text without what a terminal would obey."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").expandtabs())


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Text in lines of at most ``width``, with its own line ends; words and commands of Ansible's stay whole.

    :arg width: 0 for a log, where a line may be as long as it is.
    :arg indent: of what goes on on a further line.
    """
    lines = _COMMAND.sub(lambda match: match[0].replace(" ", _KEPT), text).splitlines() or [""]
    if not width:
        return "\n".join([lines[0], *(f"{indent}{line}" for line in lines[1:])]).replace(_KEPT, " ")
    filled = [
        textwrap.fill(
            line,
            width,
            initial_indent=indent if number else "",
            subsequent_indent=indent,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for number, line in enumerate(lines)
    ]
    return "\n".join(filled).replace(_KEPT, " ")

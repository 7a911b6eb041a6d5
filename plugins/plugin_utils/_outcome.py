# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run ended, decided from what was recorded. Pure functions. Private to this collection."""

from __future__ import annotations

import dataclasses
import typing as t

SUCCEEDED, RECOVERED, FAILED = "succeeded", "recovered", "failed"
REFUSED, INTERRUPTED = "refused", "interrupted"
OUTCOMES = (SUCCEEDED, RECOVERED, FAILED, REFUSED, INTERRUPTED)

PREFLIGHT, REHEARSE, MAIN, RECOVER = "preflight", "rehearse", "main", "recover"
CAN_UNDO, UNDONE = "can_undo", "undone"
# An undo goes the other way: what is its work is the recovery of a rollback, and its recovery is the rollback.
IN_UNDO = {CAN_UNDO: PREFLIGHT, RECOVER: MAIN, UNDONE: MAIN, PREFLIGHT: RECOVER, MAIN: RECOVER}
READY, NOT_READY = "READY", "NOT READY"
RUNNING, OK, SKIPPED, UNREACHABLE = "running", "ok", "skipped", "unreachable"
WAITING = "waiting"  # for a person
BAD = (FAILED, UNREACHABLE)

MESSAGE_LENGTH = 500


@dataclasses.dataclass(frozen=True)
class Row:
    """One step of one phase on one host. ``phase`` is its id, as in ``3-git_revert``."""

    host: str
    index: int
    phase: str
    step: str
    status: str
    changed: bool
    message: str


ROW = tuple(field.name for field in dataclasses.fields(Row))


def rows_of(phases: t.Iterable[t.Mapping[str, t.Any]]) -> list[Row]:
    """The rows that a history has; what else it knows of a phase is left out."""
    return [Row(**{name: phase[name] for name in ROW}) for phase in phases]


@dataclasses.dataclass(frozen=True)
class End:
    """How the process ended.

    ``hosts``: those of the play. ``closed``: host to outcome, as told by the last task of the run.
    ``failed``: hosts that ended failed or unreachable. ``finished``: the play came to its end, well or badly.
    ``signal``: the name of the signal that ended it, or empty. ``problems``: (host, message) of failures
    outside all phases, and of what waited for the end and was not done, first one first. ``how``: what ended it, where
    that is no signal.
    """

    hosts: frozenset[str] = frozenset()
    closed: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    finished: bool = True
    signal: str = ""
    problems: tuple[tuple[str, str], ...] = ()
    check_mode: bool = False
    rehearsal: bool = False
    undo: bool = False
    how: str = ""


@dataclasses.dataclass(frozen=True)
class Decision:
    """The outcome, some sentences about it, and whether any phase had begun to change a host.

    ``kept``: hosts of batches that were done, which stay rolled back although a later batch failed. ``waits_at``: the
    index of the phase that waits for a person, 0 where none does.
    """

    outcome: str
    summary: str
    touched: bool
    kept: frozenset[str] = frozenset()
    waits_at: int = 0


def shorten(text: str, length: int = MESSAGE_LENGTH) -> str:
    """Text on one line, cut to ``length`` characters."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def sentence(text: str) -> str:
    """Text on one line that ends like a sentence; ssh often ends with a colon and nothing after it."""
    text = shorten(text).rstrip(" :")
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def some(names: t.Iterable[str]) -> str:
    """Names for a sentence: all of three, or three and how many more."""
    known = sorted(set(names))
    shown = known[:3] if len(known) > 4 else known
    more = len(known) - len(shown)
    if more:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def name_of(phase: str) -> str:
    """A phase's name from its id: ``git_revert`` from ``3-git_revert``."""
    number, dash, name = phase.partition("-")
    return name if dash and number.isdigit() else phase


def count(number: int, noun: str) -> str:
    """A number with its noun, as in ``1 host``, ``3 hosts``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def touched_rows(rows: t.Iterable[Row]) -> list[Row]:
    """The rows of phases whose main had begun on a host."""
    return [row for row in rows if row.step == MAIN and row.status != SKIPPED]


def running_words(rows: t.Iterable[Row]) -> str:
    """What was at work when the run stopped, as in ``main of git_revert ran on web1``; empty if nothing was."""
    at_work = [row for row in rows if row.status == RUNNING]
    if not at_work:
        return ""
    last = at_work[-1]
    hosts = some(row.host for row in at_work if (row.index, row.step) == (last.index, last.step))
    return f"{last.step} of {name_of(last.phase)} ran on {hosts}"


def cut_short(how: str, rows: t.Iterable[Row]) -> str:
    """Say ``how`` a run ended that did not come to its end, and what was at work then."""
    work = running_words(rows)
    return f"{how}{' while ' + work if work else ''}."


def _failure(rows: t.Sequence[Row], what: str) -> str:
    """Name phase, hosts and cause of the first failure among ``rows``; ``what`` holds ``{}`` for the phase's name."""
    first = rows[0]
    same = [row for row in rows if (row.index, row.status) == (first.index, first.status)]
    name = what.format(name_of(first.phase))
    verb = "failed" if first.status == FAILED else "stopped"
    cause = first.message or ("it gave no reason" if first.status == FAILED else "")
    if first.status == UNREACHABLE:
        cause = f"the host became unreachable{': ' + cause if cause else ''}"
    text = sentence(f"{name} {verb} on {some(row.host for row in same)}: {cause}")
    others = len({(row.host, row.index) for row in rows}) - len({row.host for row in same})
    return f"{text} {count(others, 'more failure')} in the record." if others else text


def _problem(end: End) -> str:
    """Name what went wrong outside all phases."""
    if end.problems:
        host, message = end.problems[0]
        return sentence(f"It failed on {host}: {message or 'no reason was given'}")
    if end.failed:
        return f"It failed on {some(end.failed)}."
    return ""


def _interrupted(rows: t.Sequence[Row], end: End, touched: bool) -> Decision:
    how = end.how or (f"Ended by {end.signal}" if end.signal else "It ended before its last phase was done")
    text = cut_short(how, rows)
    return Decision(INTERRUPTED, text if touched else f"{text} No host had been changed.", touched)


def _waiting(row: Row) -> Decision:
    """It stopped at a step that a person has to do."""
    name = f"{name_of(row.phase)} (phase {row.index})"
    said = "Every host stays as it is, and services that were stopped stay stopped."
    return Decision(INTERRUPTED, f"{name} waits for a person. {said}", True, waits_at=row.index)


def _recovery(rows: t.Sequence[Row], started: t.Sequence[Row], end: End, kept: frozenset[str]) -> tuple[bool, str]:
    """Whether every host on which a phase began says that it is as it was, and sentences about it.

    A phase of the user's own may have nothing to put back, so the rows alone do not tell.

    :arg kept: hosts that stay rolled back.
    """
    hosts = {row.host for row in started} - kept
    untouched = {host for host, outcome in end.closed.items() if outcome == REFUSED} - hosts
    bad = [row for row in rows if row.step == RECOVER and row.status in (*BAD, WAITING)]
    whole = {h for h in hosts if end.closed.get(h) == RECOVERED} - {row.host for row in bad}
    recovering = any(row.step == RECOVER for row in rows)
    words = []
    if bad:
        words.append(_failure(bad, "Recovery of {}"))
    done, put_back = ("Undone", "Rolled back again") if end.undo else ("Rolled back", "Put back")
    if not recovering:
        words.append(f"Nothing was {put_back.lower()}.")
    if kept or untouched:
        named = ((done, kept), (put_back, whole), ("Not as before", hosts - whole), ("Untouched", untouched))
        words += [f"{what}: {count(len(names), 'host')} ({some(names)})." for what, names in named if names]
    elif recovering:
        back = f"{put_back} on {count(len(whole), 'host')}."
        words.append(back if whole == hosts else f"Not as before: {some(hosts - whole)}.")
    return bool(hosts) and whole == hosts and not bad, " ".join(words)


def _dry_run(rows: t.Sequence[Row], end: End) -> Decision:
    bad = [row for row in rows if row.status in BAD]
    if bad or end.problems or end.failed:
        cause = _failure(bad, f"{bad[0].step.capitalize()} of {{}}") if bad else _problem(end)
        return Decision(REFUSED, cause, False)
    return Decision(SUCCEEDED, "A dry run: nothing was changed.", False)


def _rehearsed(rows: t.Sequence[Row], end: End) -> Decision:
    """All that stands in the way, phase by phase; or what was found out."""
    alike: dict[tuple[int, str, str], list[str]] = {}
    for row in rows:
        if row.status in BAD or row.step == REHEARSE:
            words = "the host became unreachable" if row.status == UNREACHABLE else row.message
            alike.setdefault((row.index, name_of(row.phase) if row.status in BAD else "", words), []).append(row.host)
    obstacles = [
        sentence(f"{phase} on {some(hosts)}: {words or 'it gave no reason'}")
        for (_index, phase, words), hosts in sorted(alike.items(), key=lambda item: item[0][0])
        if phase
    ]
    others = dict.fromkeys(sentence(message) for _host, message in end.problems)
    if obstacles or others or end.failed:
        return Decision(REFUSED, f"{NOT_READY}. {' '.join([*others, *obstacles]) or _problem(end)}", False)
    told = [words for (_index, _phase, words) in alike if words]
    return Decision(SUCCEEDED, " ".join([f"{READY}.", *told]), False)


def _success(started: t.Sequence[Row], end: End) -> Decision:
    left = "".join(f" Left to do: {sentence(said)}" for said in dict.fromkeys(said for _host, said in end.problems))
    if not any(row.changed for row in started):
        return Decision(SUCCEEDED, f"There was nothing left to do.{left}", bool(started))
    phases, hosts = len({row.index for row in started}), len({row.host for row in started})
    done = "undone" if end.undo else "done"
    return Decision(SUCCEEDED, f"{count(phases, 'phase')} {done} on {count(hosts, 'host')}.{left}", True)


def _refusal(rows: t.Sequence[Row], end: End) -> Decision:
    bad = [row for row in rows if row.status in BAD]
    cause = _failure(bad, "Preflight of {}") if bad else _problem(end)
    return Decision(REFUSED, f"{cause or 'No phase began.'} No host was changed.", False)


def decide(rows: t.Sequence[Row], end: End) -> Decision:
    """Decide how a run ended.

    :arg rows: in the order in which they began.
    """
    recorded = rows
    if end.undo:
        rows = [dataclasses.replace(row, step=IN_UNDO.get(row.step, row.step)) for row in rows]
    started = touched_rows(rows)
    bad = [row for row in started if row.status in BAD]
    told = {end.closed.get(host) for host in end.hosts}
    problem = _problem(end)
    if end.signal or not end.finished:
        return _interrupted(recorded, end, bool(started) and not end.check_mode)
    if end.check_mode:
        return (_rehearsed if end.rehearsal else _dry_run)(rows, end)
    if told == {SUCCEEDED} and not bad and not end.failed:
        return _success(started, end)
    if not started:
        return _refusal(rows, end)
    waiting = [row for row in started if row.status == WAITING]
    if not bad and (waiting or (not problem and not told & {FAILED, RECOVERED})):
        return _waiting(waiting[-1]) if waiting else _interrupted(recorded, end, True)
    cause = _failure(bad, "{}") if bad else problem or "It failed outside its phases."
    # Hosts end differently only where batches were done before the one that failed.
    done = {host for host, outcome in end.closed.items() if outcome == SUCCEEDED} - {row.host for row in bad}
    kept = frozenset(done) if told != {SUCCEEDED} else frozenset[str]()
    put_back, words = _recovery(rows, started, end, kept)
    return Decision(RECOVERED if put_back and FAILED not in told else FAILED, f"{cause} {words}", True, kept)

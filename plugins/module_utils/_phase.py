# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all phase modules have in common: their steps, a restore point, a lock, a deadline. Private.

A phase module gives three functions, ``preflight``, ``main`` and ``recover``, each ``(Context) -> Report``.
Around them, here: ``state.json`` is written before ``main`` acts, the state that preflight found first is kept when a
run is resumed, check mode works on a throw-away restore point, and every error is a sentence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import tempfile
import time
import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ._command import Commands, PhaseError
from ._env_file import read_environment
from ._restore_point import STANDALONE, RestorePoint, WorkLock, told

STEPS = ["preflight", "rehearse", "main", "can_recover", "can_undo", "recover", "undone", "close"]
COMMON_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "step": {"type": "str", "choices": STEPS, "default": "main"},
    "restore_point": {"type": "str"},
    "environment_files": {"type": "list", "elements": "path", "default": []},
    "timeout": {"type": "float", "default": 600.0},
    "wait": {"type": "float", "default": 60.0},
}

RECOVERY_TIMEOUT = 600.0  # seconds that recover has at least
# Environment variables by which a run says which one it is, how many seconds it has left, and that it is an undo.
RUN = "CHANGEOPS_RUN"
TIME_LEFT = "CHANGEOPS_TIME_LEFT"
UNDO = "CHANGEOPS_UNDO"

REHEARSAL = "rehearsal"  # where a rehearsal keeps what it needs
# How far a phase came, as noted in state.json.
FOUND, STARTED, DONE, RECOVERED = "found", "started", "done", "recovered"


@dataclasses.dataclass
class Report:
    """What a step did, or in check mode would do.

    ``pending`` (preflight only): whether main would change something; None where the phase only follows the others.
    ``before`` and ``after``: the state, as JSON values without secrets. ``prepared``: noted for main and recover.
    ``diff``: as Ansible shows it with ``--diff``. ``facts``: further keys of the result.
    """

    msg: str
    changed: bool = False
    pending: bool | None = None
    before: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    after: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    prepared: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)
    warnings: list[str] = dataclasses.field(default_factory=list)
    facts: dict[str, t.Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Context:
    """What a step works with.

    ``params``: the module's options. ``point``: this phase's part of the restore point. ``check``: change nothing.
    ``state``: what was noted earlier: ``progress`` (found, started, done, recovered), ``before``, ``prepared``,
    ``after``. ``resumed``: main had started in an earlier attempt.
    """

    params: dict[str, t.Any]
    point: RestorePoint
    commands: Commands
    check: bool
    state: dict[str, t.Any]

    @property
    def before(self) -> dict[str, t.Any]:
        return t.cast("t.Dict[str, t.Any]", self.state.get("before", {}))

    @property
    def prepared(self) -> dict[str, t.Any]:
        return t.cast("t.Dict[str, t.Any]", self.state.get("prepared", {}))

    @property
    def undo(self) -> bool:
        """Whether a rollback is undone that had come to its end, perhaps days ago."""
        return bool(os.environ.get(UNDO))

    @property
    def resumed(self) -> bool:
        return self.state.get("progress") in (STARTED, DONE)

    def note(self, **prepared: t.Any) -> None:
        """Note durably how far main came, before the next thing is done. Read back as ``prepared``."""
        self.state["prepared"] = dict(self.prepared, **prepared)
        self.point.write(prepared=self.state["prepared"])


Step = t.Callable[[Context], Report]


def run_step(
    step: str,
    params: dict[str, t.Any],
    point: RestorePoint,
    functions: t.Mapping[str, Step],
    check: bool = False,
    subject: str = "",
) -> Report:
    """Run one step of a phase and keep its part of the restore point.

    :arg functions: what does each step; all but ``preflight``, ``main`` and ``recover`` may be missing.
    :arg subject: what a stand-alone use works on (the repository, say); another subject starts afresh.
    """
    if step == "rehearse":
        return _rehearse(params, point, functions)
    if check:
        return _check_step(step, params, point, functions)
    if step == "preflight":
        return _preflight(params, point, functions, _state(step, point, subject), subject)
    return _act(step, params, point, functions, subject)


def _act(
    step: str, params: dict[str, t.Any], point: RestorePoint, functions: t.Mapping[str, Step], subject: str
) -> Report:
    """Run a step that changes the host, or sees whether it can be put back."""
    lock = _work_lock(step, point)
    held = lock.acquire(params["wait"])
    try:
        point.check_host(os.environ.get(RUN, ""))
        if step == "main" and point.standalone and point.read().get("progress") == DONE:
            # Alone and done: where nothing is left to do, keep what a recover of that needs.
            report = _check_step("preflight", params, point, functions)
            if report.pending is False:
                return report
        # read under the lock: what an interrupted run left behind may have gone on until now
        state = _state(step, point, subject)
        idle = _idle(step, state, functions)
        if idle:
            return idle
        if step == "main" and state.get("progress") is None:
            _preflight(params, point, functions, state, subject)
            state = point.read()
        # What cuts main short must not cut short the way back: a half recovered host is the worst there is.
        timeout = params["timeout"] if step != "recover" else max(params["timeout"], RECOVERY_TIMEOUT)
        commands = _commands(params, timeout, on_start=lock.note_command, inherit=[lock.fd])
        context = Context(params, point, commands, False, dict(state))
        if step == "main":
            point.write(progress=STARTED)
        report = functions[step](context)
        if step == "main":
            changed = bool(state.get("changed")) or report.changed
            point.write(progress=DONE, after=report.after, changed=changed)
        elif step == "recover":
            point.write(progress=RECOVERED)
    finally:
        lock.release()
    if point.standalone and step != "close":  # in a run, its end does this, when the services are up again
        shutil.rmtree(str(point.scratch_path), ignore_errors=True)
    report.before = report.before or state.get("before", {})
    if held:
        report.warnings.append(f"Waited {held['waited']} s for {held.get('label', 'other work')} on this host to end.")
    return report


def _work_lock(step: str, point: RestorePoint) -> WorkLock:
    """The lock to work under. Recovery makes room on the disk first, because the lock is written to as well."""
    if step in ("can_recover", "recover"):
        point.use_reserve()
    return WorkLock(point.state_dir / "work.lock", f"{point.phase} of {point.root.name}")


def _idle(step: str, state: t.Mapping[str, t.Any], functions: t.Mapping[str, Step]) -> Report | None:
    """A report where a step has nothing to do, because of what was never begun or is not waited with."""
    if step in ("can_recover", "can_undo", "recover") and state.get("progress") is None:
        return Report("Nothing had been started here, so there is nothing to put back.")
    if step in ("can_recover", "can_undo", "undone") and step not in functions:
        return Report("Nothing but what is on this host is needed to put back what was done here.")
    ended = RECOVERED if os.environ.get(UNDO) else DONE
    if step == "close" and (step not in functions or state.get("progress") != ended):
        return Report("Nothing was left to do here for the end of the run.")
    return None


def _commands(params: dict[str, t.Any], timeout: float | None = None, **kwargs: t.Any) -> Commands:
    """What runs the commands of a step, with the variables of the environment files."""
    environ = {**os.environ, **read_environment(params.get("environment_files") or [])}
    return Commands(params["timeout"] if timeout is None else timeout, environ, **kwargs)


def _state(step: str, point: RestorePoint, subject: str) -> dict[str, t.Any]:
    """The noted state; in stand-alone use a finished one is forgotten and an interrupted one is kept."""
    state = point.read()
    if point.standalone and state and step in ("preflight", "main"):
        finished = state.get("progress") in (DONE, RECOVERED) or (
            step == "preflight" and state.get("progress") == FOUND
        )
        if finished or state.get("subject") != subject:
            point.reset()
            return {}
    return state


def _preflight(
    params: dict[str, t.Any],
    point: RestorePoint,
    functions: t.Mapping[str, Step],
    state: dict[str, t.Any],
    subject: str,
) -> Report:
    """Run preflight; the first one's ``before`` stays when a run is resumed, later ``prepared`` values are added."""
    report = functions["preflight"](Context(params, point, _commands(params), False, dict(state)))
    known = state.get("progress") is not None
    point.write(
        progress=state["progress"] if known else FOUND,
        before=state["before"] if known else report.before,
        prepared=dict(state.get("prepared", {}), **report.prepared),
        pending=report.pending,
        subject=subject,
    )
    if not point.standalone:
        point.reserve()
    return report


def _check_step(
    step: str,
    params: dict[str, t.Any],
    point: RestorePoint,
    functions: t.Mapping[str, Step],
) -> Report:
    """Run a step on a copy of the restore point that is thrown away."""
    state = {} if point.standalone else point.read()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory(prefix="changeops-check-"))
        part = Path(place) / "check" / point.phase
        if state:
            shutil.copytree(str(point.part), str(part), symlinks=True)
        throw_away = RestorePoint(str(part))
        throw_away.make()
        commands = _commands(params)
        if step in ("can_recover", "recover", "undone", "close"):
            return Report("Only what preflight and main would do is shown in check mode.")
        if step == "can_undo":
            context = Context(params, throw_away, commands, True, dict(state))
            return _idle(step, state, functions) or functions[step](context)
        report = functions["preflight"](Context(params, throw_away, commands, True, dict(state)))
        if step == "main":
            state = dict(
                state or {"progress": FOUND, "before": report.before},
                prepared=dict(state.get("prepared", {}), **report.prepared),
            )
            throw_away.write(**state)
            report = functions["main"](Context(params, throw_away, commands, True, state))
            report.before = report.before or state.get("before", {})
        return report


def _rehearse(params: dict[str, t.Any], point: RestorePoint, functions: t.Mapping[str, Step]) -> Report:
    """Rehearse a phase on a restore point that is thrown away. A rollback does not wait for that."""
    if "rehearse" not in functions:
        return Report("What can be tried of this phase its preflight tries.")
    place = _beside(point)
    aside = RestorePoint(str(place.part / REHEARSAL / place.phase))
    with _one_rehearsal(place, params["wait"]) as lock:
        try:
            aside.reset()  # of one that was killed
            aside.make()
            context = Context(params, aside, _commands(params, inherit=[lock]), False, {})
            report = functions["preflight"](context)
            if report.pending is False:
                return report
            found = {"progress": FOUND, "before": report.before, "prepared": report.prepared}
            rehearsed = functions["rehearse"](dataclasses.replace(context, state=found))
            rehearsed.before = report.before
            rehearsed.warnings += report.warnings
            return rehearsed
        finally:
            shutil.rmtree(str(aside.root), ignore_errors=True)


def _beside(point: RestorePoint) -> RestorePoint:
    """Where a rehearsal works: beside the restore points, or where this account may not write there, in its own state
    directory.
    """
    there = RestorePoint(str(point.state_dir / STANDALONE / point.phase))
    try:
        there.make()
    except OSError:
        return RestorePoint(f"{STANDALONE}/{point.phase}")
    return there


@contextlib.contextmanager
def _one_rehearsal(place: RestorePoint, wait: float) -> t.Iterator[int]:
    """Lock the directory, which needs no file; what a rehearsal started holds that too, if it outlives it. Afterwards
    the directory is removed where it is empty.

    :raises PhaseError: another rehearsal works there, for longer than ``wait`` seconds.
    """
    until = time.monotonic() + wait
    while True:
        place.make()
        fd = os.open(str(place.part), os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(str(place.part))):
                    break
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(fd)
                raise PhaseError(
                    f"Another rehearsal of {place.phase} is at work on this host, in {place.part}. Wait until it has "
                    "ended, then run the same command again."
                ) from None
        os.close(fd)
        time.sleep(0.05)
    try:
        yield fd
    finally:
        with contextlib.suppress(OSError):
            for path in (place.part, place.root, place.state_dir):
                path.rmdir()
        os.close(fd)


@contextlib.contextmanager
def in_time(params: dict[str, t.Any], environ: t.Mapping[str, str]) -> t.Iterator[dict[str, t.Any]]:
    """Give ``params`` with a timeout that ends when the run's own time does.

    :raises PhaseError: that time is up already; or what failed within says so, when it was up by then.
    """
    left = float(environ.get(TIME_LEFT) or "inf")
    if left <= 0:
        raise PhaseError("The run's time, `timeout` in the plan, was up before this phase began on this host.")
    until = time.monotonic() + left
    try:
        yield dict(params, timeout=min(params["timeout"], left), wait=min(params["wait"], left))
    except PhaseError as exc:
        if time.monotonic() < until:
            raise
        raise PhaseError(f"{exc} The run's time, `timeout` in the plan, is up.", **exc.facts) from exc


def run_module(
    argument_spec: dict[str, dict[str, t.Any]],
    preflight: Step,
    main: Step,
    recover: Step,
    subject: t.Callable[[dict[str, t.Any]], str] = lambda params: "",
    phase: str = "",
    close: Step | None = None,
    can_recover: Step | None = None,
    rehearse: Step | None = None,
    can_undo: Step | None = None,
    undone: Step | None = None,
    **kwargs: t.Any,
) -> None:
    """The ``main()`` of every phase module: options in, one step, result out.

    :arg phase: the phase's name, used for the stand-alone restore point.
    :arg close: what waits until the whole run is done and verified; most phases have nothing of that kind.
    :arg rehearse: tries more than preflight does, and longer, beside the live service; leaves no trace.
    :arg can_recover: sees whether ``recover`` can work, before anything is put back anywhere; changes nothing.
    :arg can_undo: the same in an undo, while the service runs. ``undone``: sees that it is well afterwards.
    """
    module = AnsibleModule(argument_spec=dict(COMMON_ARGUMENTS, **argument_spec), supports_check_mode=True, **kwargs)
    functions = {"preflight": preflight, "main": main, "recover": recover}
    more = {"close": close, "can_recover": can_recover, "rehearse": rehearse, "can_undo": can_undo, "undone": undone}
    functions.update({name: step for name, step in more.items() if step})
    os.nice(10 if module.check_mode else 0)  # a rehearsal, too: the service that is at work beside it comes first
    try:
        point = RestorePoint(module.params["restore_point"] or f"standalone/{phase}")
        with in_time(module.params, os.environ) as params:
            report = run_step(params["step"], params, point, functions, module.check_mode, subject(params))
    except PhaseError as exc:
        module.fail_json(msg=str(exc), **exc.facts)
    except OSError as exc:
        module.fail_json(msg=told(exc, point.state_dir, phase, point.standalone))
    for warning in report.warnings:
        module.warn(warning)
    result: dict[str, t.Any] = {"changed": report.changed, "msg": report.msg}
    result.update(before=report.before, after=report.after)
    if report.pending is not None or module.params["step"] == "preflight":
        result["pending"] = report.pending
    if report.diff:
        result["diff"] = report.diff
    module.exit_json(**dict(report.facts, **result))

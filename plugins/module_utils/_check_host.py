# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks ``service``, ``files`` and ``command``, of the host itself. Private to this collection."""

from __future__ import annotations

import hashlib
import os
import shlex
import time
import typing as t

from ._check_kind import Kind, Look, Options, Scene, Verdict, some
from ._command import PhaseError
from ._files import FILE, LINK, look, walk
from ._processes import Trace
from ._service_manager import State
from ._services import read_states
from ._words import listed

FILES_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "paths": {"type": "list", "elements": "path", "default": []},
        "exactly": {"type": "bool", "default": False},
        "sha256": {"type": "dict", "default": {}},
    },
}
COMMAND_ARGUMENT: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "argv": {"type": "list", "elements": "str", "required": True},
        "chdir": {"type": "path"},
        "rc": {"type": "int", "default": 0},
        "contains": {"type": "str"},
    },
}


class ServiceUp(Kind):
    """A service is up, and later looks find the same processes."""

    lasting = True

    def called(self, options: Options) -> str:
        """``service shop-web``."""
        return f"service {options}"

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """A service that is not known."""
        if options not in scene.services:
            yield f"there is no service {options} in rollback_services (or verify_services). Add it there."

    def attempt(self, look: Look) -> Verdict:
        """Ask its manager."""
        service = look.scene.services[look.options]
        state = read_states(look.commands, [service])[service.name]
        if not state.up:
            return False, f"{service.name} is not up: {state.said}"
        first, trace = look.seen.setdefault("first", (state, Trace(state.pids)))
        if _restarted(first, state):
            return False, f"{service.name} died and its manager restarted it"
        if not trace.alive():  # a manager may take a moment to see it
            return False, f"{service.name} died"
        pids = f" as process {listed([str(pid) for pid in state.pids])}" if state.pids else ""
        return True, f"{service.name} is up{pids}"


def _restarted(first: State, now: State) -> bool:
    return set(first.pids) != set(now.pids) or first.restarts != now.restarts


class Files(Kind):
    """Files, whole trees too, have the content that preflight found, or one that is given; new files are allowed."""

    keeps = True

    def called(self, options: Options) -> str:
        """``files /srv/shop/uploads``."""
        return f"files {some([*options['paths'], *options['sha256']])}"

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """Nothing to look at, or a digest that is none."""
        if not options["paths"] and not options["sha256"]:
            yield "it names no file. Give `paths` whose content is to be kept, or `sha256` with a digest for a path."
        relative = [path for path in [*options["paths"], *options["sha256"]] if not os.path.isabs(path)]
        if relative:
            yield f"{listed(relative)} must be absolute."
        for path, digest in options["sha256"].items():
            if len(str(digest)) != 64 or set(str(digest).lower()) - set("0123456789abcdef"):
                yield f"'{digest}' for {path} is no SHA-256. Write the 64 digits that sha256sum prints."

    def keep(self, look: Look) -> tuple[t.Any, str]:
        """The digest of each file, by path."""
        missing = [path for path in look.options["paths"] if not os.path.lexists(path)]
        if missing:
            raise PhaseError(f"there is no {listed(missing, 'or')} on this host. Correct `paths`.")
        try:
            found = _digests(look.options["paths"], time.monotonic() + look.timeout)
        except TimeoutError:
            raise PhaseError(
                f"{listed(look.options['paths'])} cannot be read within {look.timeout:g} s. Raise `timeout`, or name "
                "less in `paths`."
            ) from None
        except OSError as exc:
            raise PhaseError(
                f"{exc.filename} cannot be read ({exc.strerror}). Read it as another user (become_user), or correct "
                "`paths`."
            ) from exc
        return found, f"{len(found)} files"

    def attempt(self, look: Look) -> Verdict:
        """Read them again."""
        until, kept = time.monotonic() + look.timeout, look.kept or {}
        try:
            now = _digests(look.options["paths"], until)
            given = _digests(list(look.options["sha256"]), until)
        except TimeoutError:
            return False, f"not read within {look.timeout:g} s"
        wanted = {path: str(digest).lower() for path, digest in look.options["sha256"].items()}
        gone = [path for path in kept if path not in now] + [path for path in wanted if path not in given]
        other = [path for path in kept if now.get(path, kept[path]) != kept[path]]
        other += [path for path in wanted if given.get(path, wanted[path]) != wanted[path]]
        new = [path for path in now if path not in kept] if look.options["exactly"] else []
        faults = [f"{some(gone)} {'is' if len(gone) == 1 else 'are'} gone"] if gone else []
        faults += [f"{some(other)} {'has' if len(other) == 1 else 'have'} other content"] if other else []
        faults += [f"{some(new)} {'is' if len(new) == 1 else 'are'} new"] if new else []
        count = len(kept) + len(wanted)
        return not faults, "; ".join(faults) or f"{count} {'file is' if count == 1 else 'files are'} as expected"


def _digests(paths: t.Sequence[str], until: float) -> dict[str, str]:
    """SHA-256 of each file and of each symlink's target, at and below ``paths``.

    :raises TimeoutError: they cannot be read until then.
    """
    found = {}
    for path in paths:
        for one in walk(path):
            if time.monotonic() > until:
                raise TimeoutError
            there = look(one, digest=False)
            if there.kind == LINK:
                found[one] = there.sha256 or ""
            elif there.kind == FILE:
                try:
                    found[one] = _sha256(one, until)
                except FileNotFoundError:  # an app that runs may remove one at any time
                    continue
    return found


def _sha256(path: str, until: float) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
            if time.monotonic() > until:
                raise TimeoutError
    return digest.hexdigest()


class Command(Kind):
    """A command ends with the expected exit code and prints the expected text."""

    def called(self, options: Options) -> str:
        """``command /srv/shop/bin/smoke-test``."""
        return f"command {' '.join(map(shlex.quote, options['argv']))}"

    def faults(self, options: Options, scene: Scene) -> t.Iterator[str]:
        """No command."""
        if not options["argv"]:
            yield "`argv` is empty. Give the program and its arguments as a list."

    def only_reads(self, options: Options) -> bool:
        """It may change anything."""
        return False

    def attempt(self, look: Look) -> Verdict:
        """Run it."""
        options = look.options
        done = look.commands.run(options["argv"], cwd=options["chdir"], check=False)
        printed = done.out + done.err
        evidence = f"exit code {done.rc}"
        if done.rc != options["rc"]:
            return False, f"{evidence}, expected {options['rc']}: {done.said}"
        if options["contains"] and options["contains"] not in printed:
            return False, f"{evidence}, does not print '{options['contains']}': {done.said}"
        return True, f"{evidence}: {done.said}" if printed.strip() else evidence

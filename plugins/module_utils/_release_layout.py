# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The folders of an app that is deployed as releases, and the order of these. Private to this collection.

All three tools make ``releases/<name>`` and a symlink ``current``:

- Capistrano: names are times (20261120101500), the link is absolute; ``REVISION`` in each release, ``revisions.log``
  says which were finished (lib/capistrano/tasks/deploy.rake).
- Deployer: names are numbers, or anything; the link is relative; ``.dep/releases_log`` has the order, one JSON object a
  line; ``BAD_RELEASE`` in a release that was rolled back, ``release`` points to one that is being made,
  ``.dep/deploy.lock`` (recipe/deploy/release.php, rollback.php, lock.php).
- Ansistrano: names are times with a Z, the link is relative (``./releases/20261120101500Z``); ``REVISION`` in each.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pwd
import re
import shlex
import typing as t
from pathlib import Path

from ._command import PhaseError
from ._git import HASH

BAD = "BAD_RELEASE"
_NUMBER = re.compile(r"(\d+)Z?\Z")
SHOWN = 10  # releases named in one sentence


@dataclasses.dataclass(frozen=True)
class Release:
    """One release. ``revision``: what REVISION says. ``fault``: why it is not to be gone back to, as a sentence."""

    name: str
    path: Path
    revision: str = ""
    fault: str = ""

    @property
    def title(self) -> str:
        """The release for a sentence."""
        return f"release {self.name}" + (f" ({self.revision[:10]})" if self.revision else "")


class Layout:
    """The symlink and the folder of releases that it points into.

    :arg given: the folder that has the symlink ``current``, or the symlink, whatever it is called.
    :arg dangling: the symlink may point to a release that is gone.
    :raises PhaseError: there is no such layout.
    """

    def __init__(self, given: Path, dangling: bool = False) -> None:
        self.link = given if given.is_symlink() and not (given / "current").is_symlink() else given / "current"
        self.root = self.link.parent
        if not self.link.is_symlink():
            raise PhaseError(self._no_link(given))
        self.text = os.readlink(str(self.link))
        path = Path(os.path.normpath(os.path.join(str(self.root), self.text)))
        self.folder, self.name = path.parent, path.name
        if os.path.realpath(str(self.folder.parent)) != os.path.realpath(str(self.root)):
            raise PhaseError(
                f"{self.link} points to {self.text}, which is no release of {self.root}: something like "
                f"{self.root}/releases/<name> was expected. Correct git_revert_repo."
            )
        if not dangling and not path.is_dir():
            raise PhaseError(
                f"{self.link} points to {self.text}, which is not there. Point it to the release that runs: "
                f"ln -sfn {shlex.quote(_sibling(self.text))}/<name> {shlex.quote(str(self.link))}"
            )

    def _no_link(self, given: Path) -> str:
        words = "Give the folder that has the symlink 'current', or the symlink itself: git_revert_repo: <path>"
        if not given.is_dir():
            return f"There is no directory {given}. {words}"
        if self.link.is_dir():
            return (
                f"{self.link} is a directory and no symlink (Ansistrano makes it so with ansistrano_current_via: "
                "rsync), so there is nothing to switch. Deploy the earlier release with your deploy tool instead."
            )
        return f"There is no symlink {self.link}. {words}"

    @functools.cached_property
    def _logged(self) -> list[str] | None:
        """The names of releases in the order of Deployer's log; None where there is none."""
        path = self.root / ".dep" / "releases_log"
        if not path.is_file():
            return None
        found = []
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(str(json.loads(line)["release_name"]))
            except (ValueError, KeyError, TypeError):
                continue  # Deployer leaves out what it cannot read as well
        return found

    @functools.cached_property
    def releases(self) -> list[Release]:
        """All releases, the oldest first; by name where they have no order."""
        found = [path.name for path in self.folder.iterdir() if path.is_dir() and not path.is_symlink()]
        logged = self._logged
        if logged is not None and self.name in logged:
            last = {name: number for number, name in enumerate(logged)}
            found = sorted((name for name in found if name in last), key=lambda name: last[name])
        elif _NUMBER.match(self.name):
            # What else lies there is no release: Capistrano leaves it alone as well.
            found = sorted((name for name in found if _NUMBER.match(name)), key=_number)
        else:
            found.sort()
        return [self._release(name) for name in found]

    @property
    def ordered(self) -> bool:
        """Whether the order of the releases is known."""
        return bool(_NUMBER.match(self.name)) or self.name in (self._logged or [])

    def is_newer(self, release: Release) -> bool:
        """Whether ``release`` was deployed after the current one, as far as that is known."""
        return self.ordered and self.releases.index(release) > self.releases.index(self.current)

    @functools.cached_property
    def _finished(self) -> set[str] | None:
        """The words of Capistrano's log, which names the releases that were finished; None where there is none."""
        path = self.root / "revisions.log"
        words = set(re.findall(r"\w+", path.read_text(errors="replace"))) if path.is_file() else set()
        return words if self.name in words else None

    def _release(self, name: str) -> Release:
        path = self.folder / name
        release = Release(name, path, _text(path / "REVISION"))
        return dataclasses.replace(release, fault=self._fault(release))

    def _fault(self, release: Release) -> str:
        path = release.path
        if not os.access(str(path), os.R_OK | os.X_OK):
            return f"{path} cannot be read by {_user(os.geteuid())}."
        for mark in (path / BAD, path / "DIRTY_RELEASE"):
            if mark.exists():
                return f"it was marked as bad ({_text(mark) or mark.name}). If it is good: rm {shlex.quote(str(mark))}."
        being_made = self.root / "release"
        unfinished = {
            f"{being_made} points to it": os.path.realpath(str(being_made)) == os.path.realpath(str(path)),
            "it is empty": not os.listdir(str(path)),
            "it has no REVISION": not release.revision and bool(_text(self.folder / self.name / "REVISION")),
            f"{self.root / 'revisions.log'} does not name it": release.name not in (self._finished or {release.name}),
        }
        return next((f"its deploy did not finish ({why})." for why, true in unfinished.items() if true), "")

    def named(self, name: str) -> Release | None:
        """The release with this name; None where there is none."""
        return next((release for release in self.releases if release.name == name), None)

    @functools.cached_property
    def current(self) -> Release:
        """The release that the symlink points to."""
        return self.named(self.name) or self._release(self.name)

    @property
    def state(self) -> dict[str, str]:
        """Where the symlink points to, for reports."""
        return {"release": self.name, "commit": _text(self.folder / self.name / "REVISION")}

    def matching(self, text: str) -> list[Release]:
        """The releases that ``text`` names: the one with this name, or all that were made of this commit."""
        one = self.named(text)
        if one:
            return [one]
        return [r for r in self.releases if HASH.match(text.lower()) and r.revision.startswith(text.lower())]

    @property
    def choice(self) -> str:
        """The releases that can be gone back to, as a sentence."""
        whole = [release for release in self.releases if not release.fault and release.name != self.name]
        if not whole:
            return "There is no other whole one."
        return f"There are: {names([r.title[len('release ') :] for r in whole[-SHOWN:]])}."

    def refuse_deploy(self) -> None:
        """Refuse while a deploy is at work."""
        lock = self.root / ".dep" / "deploy.lock"
        if lock.exists():
            raise PhaseError(
                f"Deployer is at work here: {lock} exists ({_text(lock) or 'empty'}). Wait for it; if it died, "
                f"type: rm {shlex.quote(str(lock))}"
            )

    def refuse_read_only(self) -> None:
        """Refuse where this user may not switch the symlink or mark the release."""
        for folder in (self.root, self.current.path):
            if not os.access(str(folder), os.W_OK | os.X_OK):
                owner = _user(os.stat(str(folder)).st_uid)
                raise PhaseError(
                    f"{folder} belongs to {owner}, and this task runs as {_user(os.geteuid())}, who may not write "
                    f"there. Run the phase as the owner: become_user: {owner}"
                )


def names(found: t.Sequence[str], between: str = ", ") -> str:
    """Names for a sentence."""
    return between.join(dict.fromkeys(found))


def _number(name: str) -> int:
    match = _NUMBER.match(name)
    return int(match.group(1)) if match else 0


def _sibling(text: str) -> str:
    return os.path.dirname(text.rstrip("/")) or "."


def _text(path: Path) -> str:
    """The first line of a small file; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.readline(200).strip()
    except OSError:
        return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The items of ``config_restore``: what is to be restored, from where, with which owner. Private to this collection.

On the way to the host what may be secret (content, values of keys) is taken out of the items by the action plugin and
comes as the option ``private``, which is not logged; here it is put together again.
"""

from __future__ import annotations

import dataclasses
import grp
import json
import os
import pwd
import re
import shlex
import typing as t

from ._command import PhaseError
from ._files import FILE, Found

NAMES = ("path", "source", "content", "template", "keys", "owner", "group", "mode", "validate", "secret")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Item:
    """A file or folder to restore.

    ``path``: as it was given. ``source``: an absolute path. ``content``: the whole text. ``keys``: what an environment
    file is to say, by key, None for a key that is to go; ``only``: the keys that are taken from ``source``. Without all
    of them the item is taken from git. ``uid``, ``gid``, ``mode``: None where they stay. ``validate``: a command, with
    ``%s`` for the new file. ``secret``: nothing of the file is shown. ``origin``: where it comes from, in words.
    """

    path: str
    source: str | None = None
    content: str | None = None
    keys: dict[str, str | None] | None = None
    only: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None
    mode: int | None = None
    validate: tuple[str, ...] = ()
    secret: bool = False
    origin: str = ""

    @property
    def in_git(self) -> bool:
        """Whether it comes from the commit before the change."""
        return self.source is None and self.content is None and self.keys is None

    def access(self, found: Found) -> Found:
        """``found`` with the owner and mode that the item asks for, if it is a file."""
        wanted = {name: getattr(self, name) for name in ("uid", "gid", "mode") if getattr(self, name) is not None}
        return dataclasses.replace(found, **wanted) if found.kind == FILE else found


def whole_items(params: t.Mapping[str, t.Any]) -> list[t.Any]:
    """The items as they were given, with what was taken out of them on the way.

    :raises PhaseError: the option ``private`` was not made by the action plugin.
    """
    try:
        private = json.loads(params.get("private") or "[]")
        private += [{}] * (len(params["paths"]) - len(private))
        return [{**item, **more} if more else item for item, more in zip(params["paths"], private)]
    except (ValueError, TypeError):
        raise PhaseError("The option private is made by this module itself. Write content and keys in paths.") from None


def read_item(given: t.Any) -> Item:
    """One item of ``config_restore_paths``.

    :raises PhaseError: it is no item. The message holds neither content nor values.
    """
    values = given if isinstance(given, dict) else {"path": given}
    path = values.get("path")
    if not isinstance(path, str) or not path:
        said = "An item" if isinstance(given, dict) else repr(given)
        raise PhaseError(f"config_restore_paths: {said} is no path. Write a path, or a dictionary with path.")
    unknown = sorted(str(name) for name in set(values) - set(NAMES))
    if unknown:
        raise PhaseError(
            f"config_restore_paths: {path} has the unknown key '{unknown[0]}'. Known are {', '.join(NAMES)}."
        )
    origins = [name for name in ("source", "content", "keys") if values.get(name) is not None]
    keys: t.Any = values.get("keys")
    some = isinstance(keys, list)
    if some and "source" not in origins:
        raise PhaseError(f"The keys of {path} are a list, so say where to take them from: the source, a kept copy.")
    if len(origins) > 1 and not (some and origins == ["source", "keys"]):
        raise PhaseError(
            f"config_restore_paths: {path} has {' and '.join(origins)}. Write one of source, content, template and "
            "keys, or source with a list of keys."
        )
    source, content = values.get("source"), values.get("content")
    if source is not None and not (isinstance(source, str) and os.path.isabs(source)):
        raise PhaseError(f"The source of {path} must be an absolute path on the host, not {source!r}.")
    if content is not None and not isinstance(content, str):
        raise PhaseError(f"The content of {path} must be text. Write it as a block: 'content: |'.")
    return Item(
        path=path,
        source=source,
        content=content,
        keys=_values(path, keys) if keys is not None and not some else None,
        only=_only(path, keys) if some else (),
        uid=_owner(path, "user", "owner", values.get("owner")),
        gid=_owner(path, "group", "group", values.get("group")),
        mode=_mode(path, values.get("mode")),
        validate=tuple(command(values.get("validate"), f"The validate of {path}", "%s")),
        secret=_flag(path, values.get("secret", False)),
        origin=source or (f"template {values['template']}" if values.get("template") else "".join(origins)),
    )


def command(given: t.Any, what: str, needed: str = "") -> list[str]:
    """A command as a list of arguments; text is split as a shell would, without one. Empty where none is given.

    :raises PhaseError: it is no command, or does not hold ``needed``.
    """
    if given in (None, "", []):
        return []
    try:
        argv = shlex.split(given) if isinstance(given, str) else given
    except ValueError:
        argv = None
    if not isinstance(argv, list) or not argv or not all(isinstance(one, str) for one in argv):
        raise PhaseError(f"{what} is no command. Write it as a list of arguments: [nginx, -t, -c, '%s'].")
    if needed and not any(needed in one for one in argv[1:]):
        raise PhaseError(f"{what} does not say {needed} where the name of the new file goes: [nginx, -t, -c, '%s'].")
    return argv


def _values(path: str, keys: t.Any) -> dict[str, str | None]:
    if not isinstance(keys, dict) or not keys:
        raise PhaseError(
            f"The keys of {path} must be a dictionary of KEY and value, or a list of the keys to take from its source."
        )
    _only(path, list(keys))
    found: dict[str, str | None] = {}
    for key, value in keys.items():
        text = str(value) if _whole_number(value) else value
        if text is not None and (not isinstance(text, str) or "\0" in text):
            raise PhaseError(
                f"The value of {key} for {path} must be text. Put it in quotes, or write null to remove it."
            )
        found[key] = text
    return found


def _only(path: str, keys: list[t.Any]) -> tuple[str, ...]:
    for key in keys:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise PhaseError(f"The keys of {path}: '{key}' is no name of a variable. Write it as SHOP_URL.")
    return tuple(keys)


def _whole_number(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _owner(path: str, kind: str, name: str, given: t.Any) -> int | None:
    if given is None:
        return None
    if _whole_number(given) or (isinstance(given, str) and given.isdigit()):
        return int(given)
    try:
        return pwd.getpwnam(given).pw_uid if kind == "user" else grp.getgrnam(given).gr_gid
    except (KeyError, TypeError):
        raise PhaseError(
            f"There is no {kind} '{given}' on this host for {path}. Make it, or correct its {name}."
        ) from None


def _mode(path: str, given: t.Any) -> int | None:
    if given is None:
        return None
    if not isinstance(given, str) or not re.fullmatch(r"[0-7]{3,4}", given):
        raise PhaseError(f"The mode of {path} must be an octal number in quotes, as '0640'.")
    return int(given, 8)


def _flag(path: str, given: t.Any) -> bool:
    if not isinstance(given, bool):
        raise PhaseError(f"The secret of {path} must be true or false.")
    return given


def with_x(mode: int, executable: bool) -> int:
    """``mode`` with git's executable bit: whoever may read may execute. Git looks at the owner's bit only."""
    if bool(mode & 0o100) == executable:
        return mode
    return mode | (mode & 0o444) >> 2 if executable else mode & ~0o111


def new_access(path: str) -> Found:
    """Owner and mode for a file that is not there yet: as if the owner of its folder had made it."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    status = os.stat(folder)
    root = os.geteuid() == 0
    return Found(
        FILE, mode=0o644, uid=status.st_uid if root else os.geteuid(), gid=status.st_gid if root else os.getegid()
    )


def not_writable(path: str, now: Found, then: Found) -> t.Iterator[str]:
    """Why ``path`` cannot become ``then`` by this user, in sentences."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    euid, groups = os.geteuid(), (*os.getgroups(), os.getegid())
    if not os.access(folder, os.W_OK | os.X_OK):
        yield f"uid {euid} may not write in {folder}, so {path} cannot be replaced; use become or become_user."
    elif then.kind == FILE and euid not in (0, then.uid):
        yield f"{path} is to belong to uid {then.uid}, and uid {euid} cannot give it away; use become or become_user."
    elif then.kind == FILE and euid != 0 and then.gid not in groups:
        yield f"{path} is to belong to gid {then.gid}, to which uid {euid} does not belong; use become or become_user."
    elif then.kind != FILE and now.kind == FILE and euid not in (0, now.uid):
        yield f"{path} belongs to uid {now.uid}, which uid {euid} cannot put back; use become or become_user."

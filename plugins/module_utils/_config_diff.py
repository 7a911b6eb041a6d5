# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``config_restore`` shows of a change, without secrets. Private to this collection."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ._config_wanted import Change
from ._files import ABSENT, FILE, LINK, Found
from ._redact import redact_config

_SHOWN = 1 << 18  # bytes; larger files are named, not shown


def diff_of(change: Change) -> dict[str, str]:
    """A change as Ansible shows it, without secrets."""
    now, then = change.now, change.then
    before = _shown(now, Path(change.path), change.item.secret)
    after = _shown(then, change.content, change.item.secret)
    if before == after:
        after += "(the difference is in a masked value)\n" if not now.same_content(then) else ""
    if FILE == now.kind == then.kind and not now.same_access(then):
        before, after = f"{_access(now)}\n{before}", f"{_access(then)}\n{after}"
    return {
        "before": before,
        "after": after,
        "before_header": f"{change.path} ({said_of(now)})" if now.kind != FILE else change.path,
        "after_header": f"{change.path} ({said_of(then)})"
        if then.kind != FILE
        else f"{change.path} (from {change.origin})",
    }


def _access(found: Found) -> str:
    return f"mode: {found.mode:04o}, uid: {found.uid}, gid: {found.gid}"


def said_of(found: Found) -> str:
    return {ABSENT: "no such file", LINK: f"a symlink to {found.target}"}.get(found.kind, f"a {found.kind}")


def _shown(found: Found, content: Path | None, secret: bool) -> str:
    if found.kind == LINK:
        return f"-> {found.target}\n"
    if found.kind != FILE or content is None:
        return ""
    if secret:
        return "(not shown, because it is secret)\n"
    data = content.read_bytes() if found.size <= _SHOWN else b"\0"
    with contextlib.suppress(UnicodeDecodeError):
        if b"\0" not in data:
            return redact_config(data.decode("utf-8"))
    return f"(not shown: {found.size} bytes, SHA-256 {found.sha256})\n"

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a report, from the views of changes. Pure functions. Private to this collection."""

from __future__ import annotations

import typing as t

from ._report_html import pages
from ._report_markdown import documents
from ._report_script import script

Values = t.Mapping[str, t.Any]
File = tuple[str, str]  # text and mode


def files(views: t.Sequence[Values], listed: t.Sequence[Values]) -> dict[str, File]:
    """Text and mode of each file, by its name.

    :arg views: of the changes that get files of their own.
    :arg listed: of all changes, for what lists them.
    """
    texts = {**documents(views, listed), **pages(views, listed)}
    scripts = {view["script"]["file"]: view["script"]["text"] for view in views if not view["fault"]}
    return {
        **{name: (text, "0644") for name, text in texts.items()},
        **{name: (text, "0755") for name, text in scripts.items() if text},
    }


def script_of(plan: Values, hosts: t.Mapping[str, Values]) -> dict[str, str]:
    """The break-glass script: ``file``, ``text`` and the ``host`` that it is for, which is the one with most phases.

    :arg plan: as ``lookup('changeops.rollback.plan')`` gives it.
    :arg hosts: the variables of each host of the plan, by name.
    """
    named = [host for phase in plan["phases"] for host in phase["host_names"]]
    host = max(dict.fromkeys(named), key=named.count, default="")
    text = script(plan, host, hosts[host]) if host and plan["possible"] else ""
    return {"host": host, "file": f"rollback-{plan['change'].lower()}.sh", "text": text}

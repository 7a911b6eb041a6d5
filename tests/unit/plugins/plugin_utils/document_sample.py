# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollback documents for tests, and what becomes of them."""

from __future__ import annotations

import typing as t

from ansible_collections.changeops.rollback.plugins.plugin_utils import _document_model as model
from ansible_collections.changeops.rollback.plugins.plugin_utils._document import read_document
from ansible_collections.changeops.rollback.plugins.plugin_utils._document_yaml import plan_text
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import Plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import check_plan
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError

HEAD = """\
### C007: Add totals
**Date**: 2026-11-20
**Implemented By**: Dana Ng
### Rollback Possible: Yes
## Rollback Procedure
### Step 1: Do it
"""
ASKED = "QUESTION: "


def imported(text: str | bytes) -> tuple[dict[str, str], model.Document]:
    """The text of each plan, and the document with the place of each line."""
    document = read_document(text if isinstance(text, bytes) else text.encode())
    return {change.id: plan_text(change, document, "ROLLBACK.md")[0] for change in document.changes}, document


def loaded(text: str) -> Plan | list[str]:
    """The plan as the loader gives it once the hosts are known, or what else it asks."""
    known = text.replace("'QUESTION: on which hosts, as a group of the inventory such as shop?'", "shop")
    assert known != text
    try:
        return check_plan(known.encode(), "C007", "changes/C007.yml")
    except PlanError as error:
        return [fault for _line, fault in error.faults]


def systemd(*names: str) -> dict[str, t.Any]:
    return {"services": [{"name": name, "manager": "systemd"} for name in names]}


def http(url: str, **more: t.Any) -> dict[str, t.Any]:
    return {"checks": [{"http": {"url": url, **more}}]}

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests: with CI=true nothing may be left out for want of a tool."""

from __future__ import annotations

import os
import sys

import pytest

# The oldest Python of hosts runs all, the newest one case of each test, those between one of each file. Controllers'
# run all modules in the integration tests.
OLDEST, NEWEST = (3, 8), (3, 13)

# Where it is set, each ansible-playbook of a test would compile all of Ansible anew, and each app all that it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Reasons that begin so are about who runs the tests: a few cases exist for root only, a few for all others.
WHO = ("Skipped: root may ", "Skipped: only root ")


def pytest_configure(config):
    """Let tests share what a session makes, a database server say: ansible-test would run each in a fork of its own.

    And give each worker of xdist the next test only when it is free: what it keeps for later, no other can take.
    """
    if hasattr(config.option, "maxschedchunk"):
        config.option.maxschedchunk = 1
    forked = config.pluginmanager.get_plugin("ansible_forked")
    config.in_ansible_test = forked is not None
    if forked:
        config.pluginmanager.unregister(forked)


def pytest_collection_modifyitems(config, items):
    """Try less, and no Alembic, on all but the oldest Python: ansible-test goes through all of them."""
    if not config.in_ansible_test or sys.version_info[:2] == OLDEST:
        return
    seen = set()
    left_out = []
    for item in items:
        test = (item.path, getattr(item, "originalname", item.name) if sys.version_info[:2] >= NEWEST else "")
        if test in seen or item.path.name.startswith("test_alembic_"):
            left_out.append(item)
        seen.add(test)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def _fail_if_skipped(report):
    """Turn a skip into a failure that keeps the reason; an expected failure (xfail) stays what it is."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        *_where, reason = report.longrepr if isinstance(report.longrepr, tuple) else (report.longrepr,)
        if not str(reason).startswith(WHO):
            report.outcome = "failed"
            report.longrepr = f"With CI=true no test may be skipped. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _fail_if_skipped((yield))

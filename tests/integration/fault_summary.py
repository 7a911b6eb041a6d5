# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The closing lines of the fault matrix: what was run and how it ended. A case that did not run counts as failed."""

from __future__ import annotations

import typing as t

import pytest

TEST = "test_fault_matrix.py::test_fault["


class FaultSummary:
    """A plugin of pytest; with xdist it works where the results come together."""

    def __init__(self) -> None:
        self.selected: set[str] = set()
        self.results: dict[str, dict[str, t.Any]] = {}
        self.failed: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._select(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: t.Any, ids: t.Sequence[str]) -> None:
        self._select(ids)

    def _select(self, ids: t.Iterable[str]) -> None:
        self.selected |= {one.partition(TEST)[2] for one in ids if TEST in one}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.partition(TEST)[2]
        if name and not report.passed:
            self.failed.add(name)
        for key, value in report.user_properties if name else ():
            if key == "fault":
                self.results[name] = t.cast("dict[str, t.Any]", value)

    @property
    def missing(self) -> set[str]:
        """The cases that were selected and have no result."""
        return self.selected - set(self.results)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing and not session.config.option.collectonly and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: t.Any) -> None:
        if not self.selected or terminalreporter.config.option.collectonly:
            return
        terminalreporter.section("fault matrix")
        for line in self.lines():
            terminalreporter.line(line)

    def lines(self) -> list[str]:
        """What is shown."""
        found = list(self.results.values())

        def count(**wanted: str) -> int:
            return sum(all(one[key] == value for key, value in wanted.items()) for one in found)

        bad = (self.failed | self.missing) & self.selected
        shown = [f"  not as the table says: {name.rstrip(']')}" for name in sorted(bad)]
        shown.append(
            f"{len(self.selected)} cases: {len(found)} run, {len(self.selected) - len(bad)} ended as the table says, "
            f"{len(self.missing)} did not run"
        )
        shown.append(
            f"{count(outcome='succeeded')} rolled back, {count(outcome='recovered')} recovered, "
            f"{count(outcome='failed', policy='stop')} stopped as told, "
            f"{count(outcome='failed', policy='recover')} not put back, {count(outcome='interrupted')} interrupted; "
            f"{sum(one['lost'] for one in found)} acknowledged values lost, "
            f"{sum(one['mixed'] for one in found)} hosts mixed"
        )
        return shown

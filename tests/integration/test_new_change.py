# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan that new_change.yml writes of the sample app's bad release is the one that rolls it back."""

from __future__ import annotations

import re

from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_check import load_plan
from harness import Ops, Shop


def test_the_plan_is_written_and_asks_what_only_people_know(ops: Ops, shop: Shop) -> None:
    shop.git("tag", "v1.2.0", shop.facts["commits"]["good"])
    # What shop.env had before the change is not known any more.
    ops.group_vars["rollback_config"][1]["source"] = f"{ops.root}/kept/{{{{ rollback_plan.change }}}}/shop.env"
    ops.write()
    before = shop.state()
    done = ops.run("new_change.yml", "-e", "change=C002")
    assert done.returncode == 0
    path = ops.root / "changes" / "C002.yml"
    text = path.read_text()
    assert f"{ops.root}/kept/C002/shop.env yet" in text
    for line, words in re.findall(r"changes/C002\.yml:(\d+): Not answered yet: ([^?]+\?)", done.stdout):
        assert words in text.splitlines()[int(line) - 1]
    assert done.stdout.count("Not answered yet") == text.count("QUESTION: ") > 0
    assert shop.state() == before

    path.write_text(re.sub(r"['\"]?QUESTION: .*", "answered", text))
    plan, wanted = load_plan(path, "C002"), load_plan(ops.root / "changes" / "C001.yml", "C001")
    assert (plan.hosts, plan.title, plan.date) == ("shop", "Add invoice totals (C001)", "2026-11-20")
    assert [phase.role for phase in plan.phases] == [phase.role for phase in wanted.phases]
    assert plan.phases[2].vars == wanted.phases[2].vars
    assert [shop.git("rev-parse", commit) for commit in plan.commits] == [shop.facts["commits"]["bad"]]

    again = ops.run("new_change.yml", "-e", "change=C002")
    assert again.returncode != 0 and "changes/C002.yml, which is not overwritten" in again.stdout
    assert "answered" in path.read_text()

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is typed wrong is answered with a sentence, and nothing is touched: each case is a real ansible-playbook."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

BIN = Path(sys.executable).parent
PLAN = "title: T\ndate: 2026-11-20\nhosts: shop\nphases:\n  - {role: backup}\n"
INVENTORY = {
    "shop": {
        "hosts": {
            "shop1": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
                "rollback_state_dir": "{{ inventory_dir | dirname }}/state",
                "rollback_history_url": "sqlite:///{{ inventory_dir }}/history/history.sqlite",
            }
        }
    }
}
NO_ID = (
    "<given> is not a change ID. An ID begins with a letter, then come letters, digits, '.', '_' and '-', 64 at most: "
    "ansible-playbook rollback.yml -e change=C001. Plans found: C001."
)
SAY_WHICH = "Say which change: add -e change=C001 to the command. Plans found: C001."
CORRECT_URL = (
    "Correct rollback_history_url, or CHANGEOPS_HISTORY_URL: sqlite:////var/lib/changeops/history.sqlite, say, or "
    "postgresql://changeops@db.example.com/changeops."
)


@dataclasses.dataclass(frozen=True)
class Given:
    """What is typed, and the plan that lies in ``changes/C001.yml``; ``more``: further variables."""

    change: t.Any = "C001"
    plan: str | bytes | None = PLAN
    more: tuple[tuple[str, t.Any], ...] = ()
    args: tuple[str, ...] = ()


def plan_with(old: str, new: str) -> Given:
    assert old in PLAN
    return Given(plan=PLAN.replace(old, new))


REFUSALS = [
    Refusal("no change", SAY_WHICH, Given(None)),
    Refusal("an empty change", SAY_WHICH, Given("")),
    Refusal("a change that is a path", NO_ID, Given("../x")),
    Refusal("a change of 300 characters", NO_ID, Given("C" * 300)),
    Refusal("a change with a newline", NO_ID, Given("C001\nC002")),
    Refusal("a change with shell characters", NO_ID, Given("C001; touch pwned")),
    Refusal("a change with a command in it", NO_ID, Given("$(touch pwned)")),
    Refusal("a change with Jinja", NO_ID, Given("{{ 7 * 7 }}")),
    Refusal("a change that is a number", NO_ID, Given(12)),
    Refusal("a change that is a list", NO_ID, Given(["C001"])),
    Refusal(
        "no plan of the change",
        "There is no plan of C002: no C002.yml in <directory>. Did you mean `C001`? Plans found: C001.",
        Given("C002"),
    ),
    Refusal(
        "no plan at all",
        "There is no plan of C001: no C001.yml in <directory>. No plan was found in <directory>. Set "
        "rollback_changes_dir when plans are kept elsewhere.",
        Given(plan=None),
    ),
    Refusal(
        "an empty plan",
        "changes/C001.yml: The plan is empty. It begins with title, date, hosts and phases.",
        Given(plan=""),
    ),
    Refusal(
        "a plan that is a text",
        "changes/C001.yml:1: A plan is a mapping, but here is 'hello'. Write `key: value` in each line.",
        Given(plan="hello"),
    ),
    Refusal(
        "a plan that is not YAML",
        "changes/C001.yml:2: This is not YAML: <problem>. Check the indentation, the quotes and the brackets here "
        "and in the line above.",
        Given(plan="title: [T\n"),
    ),
    Refusal(
        "a key that stands twice",
        "changes/C001.yml:2: `title` stands in line 1 already. Keep one of the two.",
        plan_with("date", "title: U\ndate"),
    ),
    Refusal(
        "a tab",
        "changes/C001.yml:5: The line begins with a tab. Indent with spaces.",
        plan_with("  - {", "\t- {"),
    ),
    Refusal(
        "another encoding", "changes/C001.yml:1: The file is not UTF-8 text. Save it as UTF-8.", Given(plan=b"\xff\xfe")
    ),
    Refusal(
        "10 MB",
        "changes/C001.yml: The file has more than 1000000 bytes, too many for a plan. Is this the right file?",
        Given(plan=PLAN + "#" * 10_000_000),
    ),
    Refusal(
        "an alias, and so an alias bomb",
        "changes/C001.yml:2: '*a' is an alias. Write the value out: a plan is read from top to bottom.",
        Given(plan="a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n"),
    ),
    Refusal(
        "nesting without end",
        "changes/C001.yml:1: Values are nested more than 20 deep. No plan needs that.",
        Given(plan="[" * 100_000),
    ),
    Refusal(
        "a YAML tag",
        "changes/C001.yml:1: 'tag:yaml.org,2002:python/object/apply:os.system' is a YAML tag. Take it out: a plan "
        "holds plain values, and secrets go in group_vars.",
        plan_with("title: T", "title: !!python/object/apply:os.system [touch pwned]"),
    ),
    Refusal(
        "an unknown key",
        "changes/C001.yml:1: `titel` is not known here. Did you mean `title`?",
        plan_with("title", "titel"),
    ),
    Refusal(
        "Jinja in a plan",
        "changes/C001.yml:1: '{{ lookup('pipe', 'touch pwned') }}' holds Jinja. Values of a plan are literals: write "
        "the value itself, or set it in group_vars.",
        plan_with("title: T", "title: \"{{ lookup('pipe', 'touch pwned') }}\""),
    ),
    Refusal(
        "a value of the wrong type",
        "changes/C001.yml:3: `hosts` is a list, and must be text. Write it as `hosts: <text>`.",
        plan_with("hosts: shop", "hosts: [shop]"),
    ),
    Refusal(
        "an estimate like soon",
        "changes/C001.yml:5: `estimate` is 'soon', which is not a duration. Say 90s, 2m, 1h30m or 7d.",
        plan_with("backup", "backup, estimate: soon"),
    ),
    Refusal(
        "a date like soon",
        "changes/C001.yml:2: `date` is 'soon'. Write it as year-month-day: `date: 2026-11-20`.",
        plan_with("2026-11-20", "soon"),
    ),
    Refusal(
        "an unknown phase",
        "changes/C001.yml:5: 'bakcup' is not a phase. Did you mean `backup`? Phases are backup, service_stop, "
        "alembic_downgrade, git_revert, config_restore, service_start, verify, run_script, manual_step; a role of your "
        "own goes in as namespace.collection.role.",
        plan_with("backup", "bakcup"),
    ),
    Refusal(
        "a role that is not installed",
        "changes/C001.yml: there is no role acme.nowhere.flush here. Mend its name in the plan, or install it: "
        "ansible-galaxy collection install acme.nowhere",
        plan_with("backup", "acme.nowhere.flush"),
    ),
    Refusal(
        "a role by its path",
        "changes/C001.yml:5: '../../roles/x' is not the full name of a role. Write namespace.collection.role.",
        plan_with("backup", "../../roles/x"),
    ),
    Refusal(
        "a variable that the phase does not have",
        "changes/C001.yml:5: `backup_path` is not a variable of backup. Did you mean `backup_paths`?",
        plan_with("backup}", "backup, vars: {backup_path: [x]}}"),
    ),
    Refusal(
        "a change that cannot be rolled back",
        "C001 (changes/C001.yml) cannot be rolled back: The old key is gone.",
        plan_with("phases", "rollback: {possible: false, reason: The old key is gone.}\nphases"),
    ),
    Refusal(
        "a change that is rolled back by hand",
        "C001 (changes/C001.yml) has method manual and no phases, so there is nothing that a playbook could run. "
        "Follow the plan by hand, or give it phases: run_script for a script, manual_step for what a "
        "person does.",
        Given(plan="title: T\ndate: 2026-11-20\nhosts: shop\nrollback: {method: manual}\n"),
    ),
    Refusal(
        "hosts that match nothing",
        "C001 (changes/C001.yml): the pattern 'shpo' matches no host. Groups are shop; hosts are shop1. Did you "
        "mean `shop`?",
        plan_with("hosts: shop", "hosts: shpo"),
    ),
    Refusal(
        "a limit that leaves no host of the plan",
        "--limit localhost leaves none of the hosts of C001 (changes/C001.yml): shop1. Limit the run to some of these.",
        Given(args=("--limit", "localhost", "-i", "localhost,", "-i", "inventory")),
    ),
    Refusal(
        "a history URL that does not parse",
        f"The history's URL is not a database URL. {CORRECT_URL}",
        Given(more=(("rollback_history_url", "hunter2"),)),
    ),
    Refusal(
        "a history URL with a port that is no number",
        f"The history's URL is not a database URL. {CORRECT_URL}",
        Given(more=(("rollback_history_url", "postgresql://u:hunter2@localhost:port/x"),)),
    ),
    Refusal(
        "a history in another kind of database",
        f"The history can be kept in SQLite or PostgreSQL, not in mysql. {CORRECT_URL}",
        Given(more=(("rollback_history_url", "mysql://u:hunter2@localhost/x"),)),
    ),
    Refusal(
        "a history that does not answer",
        "The history x on 127.0.0.1 cannot be used: <cause>. Mend that, or keep the history elsewhere: "
        "rollback_history_url, or CHANGEOPS_HISTORY_URL.",
        Given(more=(("rollback_history_url", "postgresql://u:hunter2@127.0.0.1:9/x"),)),
    ),
    Refusal(
        "a history that cannot be made",
        f"The history /proc/nowhere/h.sqlite cannot be made: No such file or directory. {CORRECT_URL}",
        Given(more=(("rollback_history_url", "sqlite:////proc/nowhere/h.sqlite"),)),
    ),
    Refusal(
        "a state directory that cannot be made",
        "C001 was refused: /proc/nowhere: No such file or directory. <account> cannot keep a restore point there. Set "
        "rollback_state_dir to a directory that this account may enter and write to, such as /var/tmp/changeops. | "
        "Nothing was touched.",
        Given(more=(("rollback_state_dir", "/proc/nowhere"),)),
    ),
]


def tree(root: Path) -> dict[str, str]:
    """Each file below ``root`` but the history, with its digest."""
    files = [path for path in root.rglob("*") if path.is_file() and "history" not in path.parts]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write(ops: Path, given: Given) -> None:
    """The user's own repository."""
    (ops / "changes").mkdir()
    (ops / "inventory").mkdir()
    (ops / "ansible.cfg").write_text("[defaults]\ninventory = inventory\ninternal_poll_interval = 0.02\n")
    (ops / "inventory" / "hosts.json").write_text(json.dumps(INVENTORY))
    (ops / "rollback.yml").write_text("- ansible.builtin.import_playbook: changeops.rollback.rollback\n")
    if given.plan is not None:
        data = given.plan.encode() if isinstance(given.plan, str) else given.plan
        (ops / "changes" / "C001.yml").write_bytes(data)


def roll_back(ops: Path, given: Given) -> subprocess.CompletedProcess[str]:
    """Type the command."""
    variables = {**({} if given.change is None else {"change": given.change}), **dict(given.more)}
    return subprocess.run(
        [BIN / "ansible-playbook", "rollback.yml", "-e", json.dumps(variables), *given.args],
        cwd=ops,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "HOME": str(ops)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(tmp_path: Path, row: Refusal) -> None:
    write(tmp_path, row.given)
    before = tree(tmp_path)
    done = roll_back(tmp_path, row.given)
    assert row.found_in(done.stdout), done.stdout
    assert tree(tmp_path) == before, "something was touched"
    assert done.returncode not in (0, 250), done.stdout  # 250 is an unexpected exception
    assert "Traceback" not in done.stdout
    assert "hunter2" not in done.stdout


def test_a_byte_order_mark_and_dos_lines_are_no_fault(tmp_path: Path) -> None:
    given = Given(plan="\ufeff" + PLAN.replace("\n", "\r\n"))
    write(tmp_path, given)
    done = roll_back(tmp_path, given)
    assert done.returncode == 0, done.stdout

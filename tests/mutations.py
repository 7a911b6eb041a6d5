# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take out what protects a rollback, one thing at a time, and see that a named test turns red.

    .venv/bin/python tests/mutations.py [NAME...]

Works on a copy of the checkout. Exit code 0 when every mutation was noticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class Mutation(t.NamedTuple):
    """``old`` in ``file`` becomes ``new``; then ``test`` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str


FLEET = "tests/integration/test_fleet.py"
FAULTS, ORDER = "tests/integration/test_faults.py", "tests/integration/test_phase_order.py"
MUTATIONS = [
    Mutation(
        "export",
        "plugins/module_utils/_alembic_file.py",
        'left = put_back(con, kept["tables"], tables(con, "copy", database.version_table), untouched, seeds)',
        "left: list[str] = []",
        f"{FAULTS}::test_a_failed_phase_is_recovered_with_every_value[git_revert]",
    ),
    Mutation(
        "host lock",
        "plugins/module_utils/_run_point.py",
        "if lock and not adopt:",
        "if False:",
        "tests/integration/test_rollback.py::test_two_histories_cannot_collide_on_one_host",
    ),
    Mutation(
        "history lock",
        "plugins/plugin_utils/_history.py",
        'if alive(run, here, now) and run["id"] != asked.break_lock:',
        "if False:",
        "tests/integration/test_rollback.py::test_one_run_at_a_time",
    ),
    Mutation(
        "change stack",
        "roles/run/tasks/stack.yml",
        "when: not __run_opened.run.resumed and __run_on_top | length > 0",
        "when: false",
        "tests/integration/test_stack.py::test_a_change_that_can_do_without_the_lower_one_stays",
    ),
    Mutation(
        "work lock",
        "plugins/module_utils/_restore_point.py",
        "while not self._try():",
        "while False:",
        "tests/unit/plugins/modules/test_restore_point.py::test_a_resume_never_works_beside_what_was_left_behind",
    ),
    Mutation(
        "hold",
        "plugins/module_utils/_hold_check.py",
        "if full and is_reverted(git, full, commit):",
        "if full:",
        "tests/unit/plugins/modules/test_hold.py::test_not_to_be_shipped",
    ),
    Mutation(
        "barrier between phases",
        "plugins/plugin_utils/_batches.py",
        "return batches",
        "return [[host] for host in hosts]",
        f"{ORDER}::test_no_host_starts_a_phase_before_every_host_has_finished_the_one_before",
    ),
    Mutation(
        "barrier at a failure",
        "playbooks/rollback.yml",
        "any_errors_fatal: true",
        "any_errors_fatal: false",
        f"{ORDER}::test_failure",
    ),
    Mutation(
        "barrier before and after the downgrade",
        "plugins/plugin_utils/_batches.py",
        "return batches",
        "return [[host] for host in hosts]",
        f"{FLEET}::test_every_app_is_down_during_the_one_downgrade",
    ),
    Mutation(
        "interpreter that was started ahead",
        "plugins/module_utils/_alembic_wait.py",
        'and stamp(order["files"]) == order["stamp"]',
        "",
        "tests/unit/plugins/modules/test_alembic_ahead.py::test_what_is_not_as_it_was_is_started_as_ever[another_package]",
    ),
    Mutation(
        "hold of a stopped unit",
        "plugins/module_utils/_service_hold.py",
        '    """Keep units from being started; those that run go on. Returns the drop-ins that are new."""\n'
        "    if not may_hold(manager.scope):",
        "    if True:",
        f"{FLEET}::test_a_host_that_reboots_while_stopped_does_not_start_the_bad_release",
    ),
    Mutation(
        "sessions on the fleet's database",
        "plugins/module_utils/_alembic_pg_transaction.py",
        "named, hidden = sessions(con, server.own)",
        "named, hidden = [], False",
        f"{FLEET}::test_who_else_has_the_database_open_is_named_and_it_is_not_downgraded",
    ),
    Mutation(
        "limit and one downgrade",
        "plugins/lookup/plan.py",
        "if set(left_out) & {*downgraded, *served}:",
        "if False:",
        f"{FLEET}::test_a_limit_that_leaves_an_app_on_the_database_is_refused_before_anything_is_touched",
    ),
    Mutation(
        "limit and who has the database open",
        "plugins/module_utils/_alembic_postgresql.py",
        "for host, addresses in self.left_out.items():",
        "for host, addresses in ():",
        f"{FLEET}::test_a_limit_that_leaves_an_app_on_the_database_is_refused_before_anything_is_touched",
    ),
    Mutation(
        "secrets of config",
        "plugins/plugin_utils/_config_private.py",
        'if name == "content" or (name == "keys" and not isinstance(value, list))',
        "if not name",
        "tests/unit/plugins/action/test_config_private.py::test_a_secret_shows_nowhere_and_a_template_is_rendered",
    ),
    Mutation(
        "snapshot of a dump",
        "plugins/module_utils/_backup_databases.py",
        'con.execute("BEGIN")',
        "pass",
        "tests/unit/plugins/modules/test_backup_extras.py::test_a_dump_does_not_start_anew_at_every_write",
    ),
    Mutation(
        "environment files",
        "plugins/module_utils/_phase.py",
        '{**os.environ, **read_environment(params.get("environment_files") or [])}',
        "dict(os.environ)",
        "tests/unit/plugins/module_utils/test_phase.py::test_commands_have_the_variables_of_the_environment_files",
    ),
    Mutation(
        "user of a plan in a command line",
        "plugins/plugin_utils/_plan_check.py",
        "if become_user and not _USER.fullmatch(become_user):",
        "if False:",
        "tests/unit/plugins/plugin_utils/test_plan_check.py::test_a_fault_has_its_line_and_the_words_to_type",
    ),
    Mutation(
        "irreversible migration",
        "plugins/module_utils/_alembic_driver.py",
        "    graph.refuse_irreversible(undone)\n",
        "",
        "tests/unit/plugins/modules/test_alembic_downgrade_refused.py::test_preflight_refuses_with_a_sentence",
    ),
    Mutation(
        "sessions on PostgreSQL",
        "plugins/module_utils/_alembic_pg_transaction.py",
        "named, hidden = sessions(con, server.own)",
        "named, hidden = [], False",
        "tests/unit/plugins/modules/test_alembic_postgresql_refused.py::"
        "test_it_refuses_with_a_sentence_and_leaves_everything",
    ),
    Mutation(
        "what others wrote since",
        "plugins/module_utils/_alembic_pg_recover.py",
        "self.counted and self.server.alone and bool(",
        "self.counted and bool(",
        "tests/unit/plugins/modules/test_alembic_shared.py::"
        "test_where_each_release_runs_on_either_schema_others_may_be_at_work",
    ),
    Mutation(
        "check that is required",
        "plugins/module_utils/_verify.py",
        'one["required"] is required]',
        "not required]",
        "tests/unit/plugins/modules/test_verify.py::test_all_failures_are_named_together",
    ),
    Mutation(
        "batch after batch",
        "roles/run/tasks/batch.yml",
        '__run_step_hosts: "{{ __run_batch.hosts }}"',
        '__run_step_hosts: "{{ ansible_play_hosts_all }}"',
        "tests/integration/test_batches.py::test_each_batch_is_verified_before_the_next",
    ),
    Mutation(
        "shared database",
        "plugins/module_utils/_alembic_downgrade.py",
        'report.facts = {"identity": found["identity"]}',
        'report.facts = {"identity": ""}',
        "tests/integration/test_shared_database.py::test_a_database_that_could_not_be_put_back_holds_all_that_share_it",
    ),
    Mutation(
        "lock that was broken",
        "plugins/module_utils/_phase.py",
        '        point.check_host(os.environ.get(RUN, ""))\n',
        "",
        "tests/unit/plugins/modules/test_host_lock.py::test_a_run_whose_lock_was_broken_does_nothing_more_here",
    ),
    Mutation(
        "deadline of a run",
        "plugins/module_utils/_phase.py",
        'timeout=min(params["timeout"], left)',
        'timeout=params["timeout"]',
        "tests/unit/plugins/module_utils/test_phase.py::"
        "test_what_is_left_of_the_run_ends_a_step_with_all_that_it_started",
    ),
    Mutation(
        "deadline of a phase of somebody else",
        "plugins/plugin_utils/_run_time.py",
        "return math.ceil(min(limits)) if min(limits) > 0 else None",
        "return 0",
        "tests/unit/plugins/plugin_utils/test_run_time.py",
    ),
]


def noticed(mutation: Mutation) -> bool:
    """Apply one mutation to a copy and run its test there; returns whether the test failed."""
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "ansible_collections" / "changeops" / "rollback"
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        # the wheels for test hosts, which are made once
        (ROOT / ".cache" / "hosts").mkdir(parents=True, exist_ok=True)
        (copy / ".cache").mkdir()
        (copy / ".cache" / "hosts").symlink_to(ROOT / ".cache" / "hosts")
        path = copy / mutation.file
        text = path.read_text()
        if text.count(mutation.old) != 1:
            sys.exit(
                f"{mutation.name}: '{mutation.old}' does not stand once in {mutation.file}. Mend tests/mutations.py."
            )
        path.write_text(text.replace(mutation.old, mutation.new))
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", mutation.test],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": place},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode not in (0, 1):  # a test that could not run has noticed nothing
        sys.exit(f"{mutation.name}: pytest ended with {done.returncode}.\n{done.stdout}")
    print(f"{mutation.name:24} {'noticed by' if done.returncode else 'NOT NOTICED by'} {mutation.test}", flush=True)
    return done.returncode == 1


def main() -> None:
    """Run all mutations, or those named."""
    chosen = [m for m in MUTATIONS if not sys.argv[1:] or m.name in sys.argv[1:]]
    results = [noticed(mutation) for mutation in chosen]
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()

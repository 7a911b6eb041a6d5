# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup changeops.rollback.report."""

from __future__ import annotations

DOCUMENTATION = r"""
name: report
short_description: Write down rollback plans, with what the history knows of them, as files
version_added: 1.0.0
description:
  - Gives the text of each file of a report, from the plans, the variables of their hosts and the history. It asks no
    host and writes nothing; the role C(changeops.rollback.report) writes the files.
  - The same plans, variables and history give the same text.
  - Values of a vault and what looks secret by its name are masked, and the values of environments are not in it.
author:
  - changeops.rollback contributors (@changeops)
requirements:
  - SQLAlchemy and Jinja2 in the Python that runs Ansible
options:
  _terms:
    description:
      - IDs of the changes that get files of their own. Without one, with an empty one or with V(all), all of them do.
      - The files that list the changes always have all of them.
    type: list
    elements: raw
  changes_dir:
    description: Folder where the plans are, as for P(changeops.rollback.plan#lookup).
    type: str
    vars:
      - name: rollback_changes_dir
  report_dir:
    description:
      - Folder of the report. A relative path starts in the current directory.
      - Without it, C(reports/) beside the folder of the plans.
    type: str
    vars:
      - name: report_dir
  url:
    description:
      - URL of the history, as SQLAlchemy has it. Without it the environment variable E(CHANGEOPS_HISTORY_URL) has it,
        else it is the SQLite file of the user.
      - In a job of AWX a file is refused, because it vanishes with the job's container, unless the variable
        C(rollback_allow_ephemeral_history) is true.
    type: str
    vars:
      - name: rollback_history_url
"""

EXAMPLES = r"""
- name: Show the document of C001
  ansible.builtin.debug:
    msg: "{{ (query('changeops.rollback.report', 'C001') | selectattr('path', 'match', '.*/C001.md') | first).text }}"
"""

RETURN = r"""
_list:
  description: A dictionary for each file.
  type: list
  elements: dict
  contains:
    path:
      description: Where it belongs.
      type: str
      sample: /home/dana/ops/reports/C001.md
    text:
      description: What is in it.
      type: str
      sample: "# Rollback Plan"
    mode:
      description: Its mode.
      type: str
      sample: "0644"
"""

import os
import sys
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.vault import VaultHelper
from ansible.template import Templar
from ansible_collections.changeops.rollback.plugins.lookup.plan import LookupModule as PlanLookup
from ansible_collections.changeops.rollback.plugins.lookup.plan import _match, _with_steps
from ansible_collections.changeops.rollback.plugins.module_utils._redact import MASK
from ansible_collections.changeops.rollback.plugins.plugin_utils._history import HistoryError, Store
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_process import Process, this_process
from ansible_collections.changeops.rollback.plugins.plugin_utils._history_spool import store_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import Plan, list_plans
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_files import files, script_of
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_run import last_run
from ansible_collections.changeops.rollback.plugins.plugin_utils._report_view import fault_view, view
from jinja2.exceptions import UndefinedError

LAST = 50  # runs of each change
OTHERS = ("ansible_user", "ansible_become", "ansible_become_user", "notify_places")


class LookupModule(PlanLookup):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        folders = self._directories(variables)
        plans = list_plans(folders)
        folder = (next(iter(plans.values())).parent if plans else folders[0]).parent
        named = [str(term) for term in terms if term and term != "all"]
        try:
            for change in named:
                self._plan(change, folders)
            views = {
                change: self._view(change, folders, folder, variables) for change in dict.fromkeys([*plans, *named])
            }
        except (HistoryError, PlanError) as error:
            raise AnsibleError(str(error)) from error
        mine = [views[change] for change in named or views]
        place = Path(self.get_option("report_dir") or folder / "reports").expanduser()
        return [
            {"path": os.path.normpath(Path.cwd() / place / name), "text": text, "mode": mode}
            for name, (text, mode) in files(mine, list(views.values())).items()
        ]

    def _view(
        self, change: str, folders: t.Sequence[Path], folder: Path, variables: dict[str, t.Any]
    ) -> dict[str, t.Any]:
        try:
            plan = self._plan(change, folders)
        except PlanError as error:
            return fault_view(change, error.in_short)
        inventory = self._inventory(variables)
        values = _with_steps(plan)
        for phase in values["phases"]:
            phase["host_names"] = _match(inventory, phase["hosts"])
        values["path"] = os.path.relpath(plan.path, folder)
        hosts = self._hosts_of(plan, values, inventory, variables)
        runs, truth = self._history(change, variables)
        return view(values, hosts, runs, truth, script_of(values, hosts))

    def _hosts_of(
        self, plan: Plan, values: dict[str, t.Any], inventory: InventoryManager, variables: dict[str, t.Any]
    ) -> dict[str, dict[str, t.Any]]:
        """The variables of each host of the plan that its phases use. They may use the plan, as in a run."""
        names = ("rollback_", *(f"{phase.name}_" for phase in plan.phases))
        found: dict[str, dict[str, t.Any]] = {}
        for host in dict.fromkeys(host for pattern in plan.patterns for host in _match(inventory, pattern)):
            known = variables["hostvars"].raw_get(host)
            templar = Templar(loader=self._loader, variables={**known, "rollback_plan": values})
            found[host] = {}
            for name in [name for name in known if name.startswith(names) or name in OTHERS]:
                try:
                    found[host][name] = public(templar.template(known[name]))
                except (AnsibleError, UndefinedError):
                    continue  # what needs a run to be known, as a restore point
        return found

    def _history(self, change: str, variables: dict[str, t.Any]) -> tuple[list[dict[str, t.Any]], dict[str, t.Any]]:
        """The runs of a change, and the truth tables of the last one that did something."""
        store, here = self._store(variables)
        runs = store.runs(here, change, "", LAST)
        last = last_run(runs)
        return runs, store.runs(here, "", last["id"])[0]["truth"] if last else {}

    def _store(self, variables: dict[str, t.Any]) -> tuple[Store, Process]:
        store = store_of(self.get_option("url"), variables, self._templar, sys.executable)
        return store, this_process(os.getpid())


def public(value: t.Any) -> t.Any:
    """A value as plain JSON; what comes from a vault is masked."""
    if isinstance(value, t.Mapping):
        return {str(key): public(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(item) for item in value]
    if VaultHelper.get_ciphertext(value, with_tags=False) is not None:
        return MASK
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup changeops.rollback.plans."""

from __future__ import annotations

DOCUMENTATION = r"""
name: plans
short_description: Find the rollback plans, sound or not
version_added: 1.0.0
description:
  - Finds all plans, or those of the changes that are named, where P(changeops.rollback.plan#lookup) looks for one.
  - Each is checked. A plan with faults is named with them and does not hide the others.
author:
  - changeops.rollback contributors (@changeops)
options:
  _terms:
    description:
      - IDs of changes. Without one, with an empty one or with V(all), all plans are found.
      - A change that has no plan is an error.
    type: list
    elements: raw
  changes_dir:
    description: Folder where the plans are, as for P(changeops.rollback.plan#lookup).
    type: str
    vars:
      - name: rollback_changes_dir
"""

EXAMPLES = r"""
- name: Name all plans
  ansible.builtin.debug:
    msg: "{{ query('changeops.rollback.plans') | map(attribute='change') | join(', ') }}"
"""

RETURN = r"""
_list:
  description:
    - A dictionary for each plan, by ID of the change.
    - C(fault) says why the plan cannot be run, and is empty where it can.
    - C(hosts) are the names of the hosts of the plan and its phases. C(accounts) are the ways in which phases become a
      user, each with the names of its hosts.
    - C(place) tells where the change lies among others, for the filter P(changeops.rollback.stack#filter) and, in its
      C(look), for the module M(changeops.rollback.status). It is empty where the plan has faults.
    - C(review) is what M(changeops.rollback.status_table) compares to see what has gone stale.
  type: list
  elements: dict
  sample:
    - change: C001
      title: Add invoice totals
      fault: ""
      digest: 4b2a6e0c7d0f6c1bb3a1f1a1cf0b7f6b3cc1a0c4b7e2a1d0f9e8d7c6b5a49382
      hosts: [web1, web2]
      accounts: [{become: true, become_user: shop, hosts: [web1, web2], phases: [1-git_revert]}]
      maintenance: [{days: [sat, sun], start: "22:00", end: "04:00", zone: Europe/Berlin}]
      place:
        change: C001
        path: changes/C001.yml
        date: "2026-11-20"
        hosts: [web1, web2]
        from: [8ae1f0c2]
        to: [51b7d9aa]
        never: ""
        look: {change: C001, commits: [4f1c2e9], to: "", config: []}
      review: {unmatched: [], commits: [4f1c2e9], rehearsed_within: 604800, rehearsable: true}
"""

import functools
import typing as t
from pathlib import Path

from ansible.errors import AnsibleError
from ansible_collections.changeops.rollback.plugins.lookup.plan import LookupModule as PlanLookup
from ansible_collections.changeops.rollback.plugins.lookup.plan import _match, _shown
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan import Plan, list_plans
from ansible_collections.changeops.rollback.plugins.plugin_utils._plan_yaml import PlanError
from ansible_collections.changeops.rollback.plugins.plugin_utils._stack import place_of


class LookupModule(PlanLookup):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        variables = variables or {}
        self.set_options(var_options=variables, direct=kwargs)
        named = [str(term) for term in terms if term and term != "all"]
        inventory, folders = self._inventory(variables), self._directories(variables)
        # of a hundred plans most are for the same hosts
        match = functools.cache(functools.partial(_match, inventory))
        plans = []
        for change in named or list_plans(folders):
            try:
                plans.append(_standing(self._plan(change, folders), match))
            except PlanError as error:
                if named:
                    raise AnsibleError(str(error)) from error
                named_only = {"change": change, "title": "", "digest": "", "maintenance": [], "fault": error.in_short}
                plans.append({**named_only, "hosts": [], "accounts": [], "place": {}, "review": {}})
        return plans


def _standing(plan: Plan, match: t.Callable[[str], list[str]]) -> dict[str, t.Any]:
    hosts = list(dict.fromkeys(host for pattern in plan.patterns for host in match(pattern)))
    fault = ""
    if not plan.possible:
        fault = f"cannot be rolled back: {plan.reason}"
    elif not plan.phases:
        fault = f"has no phases (method {plan.method}): follow it by hand."
    elif not hosts:
        fault = f"its hosts ({', '.join(plan.patterns)}) are not in the inventory."
    accounts = [dict(account, hosts=match(account["hosts"])) for account in plan.accounts]
    place = place_of(plan, hosts, _shown(Path(plan.path)))
    windows = [window.as_dict() for window in plan.maintenance]
    named = {"change": plan.change, "title": plan.title, "digest": plan.digest, "maintenance": windows}
    back = [phase.vars for phase in plan.phases if phase.vars.get("git_revert_method") == "checkout"]
    review = {
        "unmatched": [pattern for pattern in plan.patterns if not match(pattern)],
        "commits": [*plan.commits, *(str(given["git_revert_to"]) for given in back if given.get("git_revert_to"))],
        "rehearsed_within": plan.require_rehearsal,
        "rehearsable": bool(plan.phases),
    }
    return {**named, "fault": fault, "hosts": hosts, "accounts": accounts, "place": place, "review": review}

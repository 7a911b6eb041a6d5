#!/usr/bin/python
# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: import_plan
short_description: Make plans of a rollback document
description:
  - Reads a Markdown document that was written in the template for rollback plans, in its long or its short form, and
    writes a plan for each change in it. A plan that is there already is never overwritten.
  - Commands that it knows become phases, scripts become C(run_script), and all else that has to be done becomes
    C(manual_step). Where the document reverts the code before the database, the plan has it the other way round.
  - What is not filled in stands in the plan as a question, with which the plan is refused until it is answered.
  - Each line of the document ends in a phase, in a comment of the plan, or in RV(listed).
  - It works on the controller, so run it once.
author:
  - changeops.rollback contributors (@changeops)
options:
  document:
    description: The document on the controller. Example V(ROLLBACK.md).
    type: path
    default: ""
  directory:
    description: Where the plans are written. By default where P(changeops.rollback.plan#lookup) looks for them.
    type: path
attributes:
  check_mode:
    description: Says what it would write.
    support: full
  diff_mode:
    description: Shows the plans.
    support: full
seealso:
  - plugin: changeops.rollback.plan
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Make plans of the old document
  changeops.rollback.import_plan:
    document: ROLLBACK.md
  run_once: true
"""

RETURN = r"""
plans:
  description: The plans that were written, by change.
  returned: success
  type: dict
  sample: {C001: changes/C001.yml}
kept:
  description: The plans that were there already, by change.
  returned: success
  type: dict
  sample: {C002: changes/C002.yml}
listed:
  description: Lines of the document for a person to look at, and why.
  returned: success
  type: list
  elements: dict
  sample: [{line: 52, text: make call, why: is code outside the procedure; it is a comment}]
"""

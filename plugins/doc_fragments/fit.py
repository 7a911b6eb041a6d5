# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules of phases that rehearse the code that is gone back to have in common."""

    DOCUMENTATION = r"""
options:
  fit:
    description: For V(rehearse), what tells of the code that is gone back to, and how its app is started.
    type: dict
    suboptions:
      code:
        description: How each phase M(changeops.rollback.git_revert) of this host goes back, as that module returns it.
        type: list
        elements: dict
        default: []
      app:
        description: How the app is started beside the live one, as the variable C(rollback_app) of a rollback has it.
        type: dict
        suboptions:
          command:
            description:
              - The command that starts it, as a list of arguments, run in the copy of the code. A program inside the
                live app's directory is taken from the copy.
              - Here, in O(fit.app.environment) and in O(fit.app.health), C({port}) is a free port, C({config}) the
                directory below which restored files from outside of the work tree have their whole path, and
                C({database}) the downgraded copy (the file of SQLite, else its name).
            type: list
            elements: str
            default: []
          environment:
            description:
              - Variables that it gets beside those of O(environment_files), which are read as they are to be restored.
              - C({database_url}) is the URL of the downgraded copy as the app's C(env.py) connects, with the password.
            type: dict
            default: {}
          health:
            description: The URL that it has to answer with 200.
            type: str
            default: ''
          test:
            description:
              - The command that runs the code's own tests, as a list of arguments.
              - Of the environment it gets little more than E(PATH) and E(HOME), since tests may empty the database
                that a variable of the app names.
            type: list
            elements: str
            default: []
          timeout:
            description: Seconds within which the app has to answer.
            type: float
            default: 30
      config:
        description: The config that is to be restored, with the options of M(changeops.rollback.config_restore).
        type: dict
        suboptions:
          repo:
            description: The work tree.
            type: path
          paths:
            description: The files and folders.
            type: list
            elements: raw
            default: []
          commits:
            description: The commits of the change.
            type: list
            elements: str
            default: []
          commit:
            description: The commit that config in git is taken from.
            type: str
            default: ''
          private:
            description: What may be secret in O(fit.config.paths). The action plugin makes it.
            type: str
"""

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What config_restore refuses, with real repositories and files."""

from __future__ import annotations

import os

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules import config_host
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

built, host = config_host.built, config_host.host


def refused(case, says, *paths, **params):
    return Refusal(case, f"The config cannot be restored: {says}", {"paths": list(paths), **params})


OUT = "<path> leads out of <repository>, to <file>; name "
REFUSALS = [
    refused("config outside the repository", OUT + "such a file by its absolute path.", "../etc/shop.env"),
    refused(
        "config outside the repository, by a detour", OUT + "such a file by its absolute path.", "config/../../etc"
    ),
    refused("config below a symlink that leads out", OUT + "such a file by its absolute path.", "out/shop.env"),
    refused(
        "config below a symlink that leads out, from a kept copy",
        OUT + "such a file by its absolute path.",
        {"path": "out/shop.env", "source": "/dev/null"},
    ),
    refused("config that is a symlink out now", OUT + "that file by its absolute path.", "config/linked.ini"),
    refused("git's own config", ".git/config is git's own; it is no config.", ".git/config"),
    refused("the whole repository", ". is the whole repository; list the files and folders that are config.", "."),
    refused(
        "config that git does not know",
        "git knows no 'config/typo.ini' in <repository>, neither in <commit> nor later; check how it is spelt.",
        "config/typo.ini",
    ),
    refused(
        "config outside git of which nothing else is said",
        "/etc/hosts is outside git, so say where its content comes from: source (a kept copy on the host), content, "
        "template or keys, as {path: /etc/hosts, source: ...}.",
        "/etc/hosts",
    ),
    refused(
        "a kept copy that is missing",
        "There is no kept copy /nowhere for /etc/hosts; put it there, or correct its source.",
        {"path": "/etc/hosts", "source": "/nowhere"},
    ),
    refused(
        "a kept copy by a relative path",
        "The source of /etc/hosts must be an absolute path on the host, not 'kept/hosts'.",
        {"path": "/etc/hosts", "source": "kept/hosts"},
    ),
    refused(
        "something else than a path",
        "config_restore_paths: 17 is no path. Write a path, or a dictionary with path.",
        17,
    ),
    refused(
        "a folder where a file was",
        "<path> is a folder now, and was a file before the change; move it away.",
        "config/local",
    ),
    Refusal(
        "no commit to take config from",
        "It is not said which commit the config is to be taken from. Set config_restore_commits (the change's commits; "
        "a plan's git_revert_commits are taken by themselves) or config_restore_commit.",
        {"commit": ""},
    ),
    Refusal(
        "a commit without one before it",
        "Commit <commit> has no parent in <repository>, so there is no config from before it. If the clone is shallow: "
        "git -C <folder> fetch --unshallow",
        {"commit": "", "commits": ["first"]},
    ),
    Refusal(
        "commits that are not on one line",
        "The commits <one>, <other> are not on one line of history, so no commit stands before all of them. Name the "
        "one that the config is to be taken from: config_restore_commit.",
        {"commit": "", "commits": ["change", "beside"]},
    ),
    refused(
        "a relative path without a repository",
        "config is relative and there is no repository; set config_restore_repo (rollback_repo).",
        "config",
        repo="",
    ),
    Refusal(
        "a file name that is not UTF-8",
        "The name of <file> is not UTF-8; restore this file by path and source.",
        {"paths": ["config"], "odd": True},
    ),
]


@pytest.mark.parametrize("row", REFUSALS, ids=[row.case for row in REFUSALS])
def test_refused(host, row):
    (host.repo / "out").symlink_to(host.env.parent)
    host.write("linked.ini", "was a file\n")
    host.write("local", "was a file\n")
    params = {"paths": ["config/app.ini"], "commits": [], "commit": host.commit("Base"), **row.given}
    (host.config / "linked.ini").unlink()
    (host.config / "linked.ini").symlink_to(host.env)
    host.git("rm", "-q", "config/local")
    host.write("local/mine.ini", "untracked\n")
    if params.pop("odd", False):
        with open(os.fsencode(host.config) + b"/\xff.ini", "w") as stream:
            stream.write("x")
        host.git("add", "config")
        params["commit"] = host.commit("Odd name")
    beside = host.git("commit-tree", "-p", host.good, "-m", "Beside", f"{host.good}^{{tree}}")
    named = {"first": host.good, "change": host.change, "beside": beside}
    params["commits"] = [named.get(one, one) for one in params["commits"]]
    before = host.state()
    with pytest.raises(PhaseError) as caught:
        host.step("preflight", **params)
    assert row.matches(str(caught.value)), str(caught.value)
    assert host.state() == before

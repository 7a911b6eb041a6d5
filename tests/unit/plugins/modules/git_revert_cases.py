# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to a repository so that git_revert refuses it. Each returns the options of the module."""

from __future__ import annotations

import subprocess

# What each row does to the repository; it returns the options of the module.


def files(**content):
    return lambda repo: repo.write({name.replace("_", "."): text for name, text in content.items()})


def options(**given):
    return lambda repo: given


def state_file(name):
    def make(repo):
        path = repo.path / ".git" / name
        if name.startswith("rebase"):
            path.mkdir()
        else:
            path.write_text(repo.bad + "\n")

    return make


def commits(*names):
    """Names of commits in which good, bad and last stand for their hashes."""
    return lambda repo: {"commits": [name.format(**vars(repo)) for name in names]}


def ignored(repo):
    repo.commit("Ignore", {".gitignore": "old.py/\n/old.py\n"})
    repo.write({"old.py/mine": "mine\n"})


def later(*texts):
    def make(repo):
        for number, text in enumerate(texts):
            repo.commit(f"Round totals {number}", {"app.py": text})

    return make


def branch_like_a_hash(repo):
    repo.git("branch", "cafe")
    return {"commits": ["cafe"]}


def side(repo):
    """A branch that adds two files, one commit each."""
    repo.git("checkout", "--quiet", "-b", "side", repo.last)
    repo.one = repo.commit("One", {"one": "1\n"})
    repo.two = repo.commit("Two", {"two": "2\n"})
    repo.git("checkout", "--quiet", "main")


def aside(repo):
    side(repo)
    return {"commits": [repo.two]}


def aside_in_a_shallow_clone(repo):
    aside(repo)
    shallow(repo, 1, "--no-single-branch")
    return {"commits": [repo.two]}


def merge(repo, **given):
    side(repo)
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side")
    return {"commits": [repo.head], **given}


def merge_in_a_range(repo):
    return {**merge(repo), "commits": [f"{repo.last}..{repo.head}"]}


def shallow(repo, depth, *more):
    """Put a shallow clone in the place of the repository."""
    whole = repo.path.with_name("whole")
    repo.path.rename(whole)
    subprocess.run(
        ["git", "clone", "--quiet", f"--depth={depth}", *more, f"file://{whole}", str(repo.path)], check=True
    )


def partial(repo):
    """Put a partial clone in the place of the repository."""
    whole = repo.path.with_name("whole")
    repo.path.rename(whole)
    for name in ("allowFilter", "allowAnySHA1InWant"):
        subprocess.run(["git", "-C", str(whole), "config", f"uploadpack.{name}", "true"], check=True)
    subprocess.run(["git", "clone", "--quiet", "--filter=blob:none", f"file://{whole}", str(repo.path)], check=True)


def in_a_shallow_clone(depth, *names):
    def make(repo):
        shallow(repo, depth)
        return commits(*names)(repo)

    return make


def range_that_a_shallow_clone_cannot_tell(repo):
    """Of last..merge a whole clone knows more than one that has the merge's first parents only."""
    merge(repo)
    repo.commit("More", {"README": "yet more\n"})
    shallow(repo, 3)
    return {"commits": [f"{repo.last}..{repo.head}"], "mainline": 1}


def submodule(repo):
    for blob in (repo.good, repo.bad):
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{blob},sub")
        repo.git("commit", "--quiet", "-m", "Move sub")
    (repo.path / "sub").mkdir()
    return {"commits": [repo.head]}


def bare(repo):
    subprocess.run(["git", "clone", "--quiet", "--bare", str(repo.path), str(repo.path / "bare")], check=True)
    return {"repo": str(repo.path / "bare")}


def checkout_of_side(repo):
    return {**aside(repo), "method": "checkout", "to": repo.two}

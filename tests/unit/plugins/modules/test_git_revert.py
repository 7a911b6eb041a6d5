# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phase git_revert on real repositories, from every state that it can find or leave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible_collections.changeops.rollback.plugins.module_utils import _git_revert
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.plugins.module_utils._phase import run_step
from ansible_collections.changeops.rollback.plugins.module_utils._restore_point import RestorePoint
from ansible_collections.changeops.rollback.plugins.modules import git_revert

STEPS = {"preflight": _git_revert.preflight, "main": _git_revert.main, "recover": _git_revert.recover}
GITCONFIG = "[user]\nname = U\nemail = u@example.org\n[init]\ndefaultBranch = main\n"
DEFAULTS = {name: spec.get("default") for name, spec in git_revert.ARGUMENTS.items()}


class Repo:
    """A work tree with history, and one run of the phase on it."""

    def __init__(self, path: Path, state: Path) -> None:
        self.path = path
        self.point = RestorePoint(str(state / "R1" / "1-git_revert"))
        self.options: dict = {}

    def git(self, *args: str, check: bool = True, **env: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(self.path), *args],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **env},
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def write(self, files: dict) -> None:
        for name, text in files.items():
            file = self.path / name
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)

    def commit(self, subject: str, files: dict, when: str = "2026-11-01T10:00:00Z") -> str:
        self.write(files)
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", subject, GIT_COMMITTER_DATE=when, GIT_AUTHOR_DATE=when)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def branch(self) -> str:
        return self.git("branch", "--show-current")

    @property
    def refs(self) -> str:
        return self.git("for-each-ref", "refs/changeops")

    def run(self, step: str, check: bool = False, **options):
        params = {**DEFAULTS, "repo": str(self.path), "timeout": 60.0, "wait": 5.0, **self.options, **options}
        return run_step(step, params, self.point, STEPS, check)

    def refused(self, step: str = "preflight", **options) -> str:
        before = snapshot(self.path)
        with pytest.raises(PhaseError) as caught:
            self.run(step, **options)
        assert snapshot(self.path) == before
        return str(caught.value)


def snapshot(path: Path) -> dict:
    """Every file below ``path``, git's own included: content, mode, time.

    Not the time of git's objects: git renews it when it would write one that is there already.
    """
    return {
        str(file.relative_to(path)): (
            os.readlink(file) if file.is_symlink() else file.read_bytes(),
            file.lstat().st_mode,
            0 if "objects" in file.parts else file.lstat().st_mtime_ns,
        )
        for file in path.rglob("*")
        if file.is_symlink() or file.is_file()
    }


def tree(path: Path) -> dict:
    """The work tree's files and their content."""
    return {name: text for name, (text, _mode, _time) in snapshot(path).items() if not name.startswith(".git/")}


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(GITCONFIG)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """Release 1, then the bad commit (it changes, adds and deletes a file), then an unrelated one."""
    made = Repo(tmp_path_factory.mktemp("history"), Path("/nonexistent"))
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "U")
    made.git("config", "user.email", "u@example.org")
    made.good = made.commit("Release 1", {"app.py": "one\n", "old.py": "old\n", "lib/x.py": "x\n", "README": "r\n"})
    made.bad = made.commit("Add invoice totals", {"app.py": "two\n", "old.py": None, "new/y.py": "y\n"})
    made.last = made.commit("Say more", {"README": "more\n"}, "2026-11-02T10:00:00Z")
    return made


@pytest.fixture
def repo(history, tmp_path):
    """A copy of that repository, and one run of the phase on it."""
    made = Repo(tmp_path / "srv" / "shop", tmp_path / "state")
    shutil.copytree(history.path, made.path)
    made.good, made.bad, made.last = history.good, history.bad, history.last
    made.options = {"commits": [made.bad[:10]]}
    made.files = tree(made.path)
    return made


ROLLED_BACK = {"app.py": b"one\n", "old.py": b"old\n", "lib/x.py": b"x\n", "README": b"more\n"}


def test_revert(repo):
    report = repo.run("preflight")
    assert (report.pending, report.before) == (True, {"commit": repo.last, "branch": "main"})
    assert report.facts["files"] == [
        {"path": "app.py", "status": "modified"},
        {"path": "new/y.py", "status": "deleted"},
        {"path": "old.py", "status": "added"},
    ]
    done = repo.run("main")
    assert done.changed
    assert done.after == {"commit": repo.head, "branch": "main"} == report.after
    assert tree(repo.path) == ROLLED_BACK
    assert not (repo.path / "new").exists()
    assert repo.git("status", "--porcelain") == ""
    assert repo.git("log", "-1", "--format=%P|%an|%ae|%cn|%cI|%B").splitlines() == [
        f"{repo.last}|changeops.rollback|changeops.rollback@localhost|changeops.rollback|2026-11-02T10:00:00+00:00"
        f"|Revert {repo.bad[:10]} Add invoice totals",
        "",
        f"This reverts commit {repo.bad}.",
    ]
    assert repo.refs == ""
    again = repo.run("main")
    assert (again.changed, again.after) == (False, done.after)
    assert repo.run("preflight").pending is False


def test_preflight_writes_nothing_into_the_repository(repo):
    os.utime(repo.path / "app.py")  # git would like to refresh its index now
    before = snapshot(repo.path)
    repo.run("preflight")
    assert snapshot(repo.path) == before


def test_check_mode_changes_nothing_and_tells_the_files(repo, tmp_path):
    before = snapshot(tmp_path / "srv")
    marker = tmp_path / "installed"
    report = repo.run("main", check=True, install=["touch", str(marker)])
    assert report.changed
    assert snapshot(tmp_path / "srv") == before
    assert not marker.exists()
    assert not repo.point.part.exists()
    shown = report.diff[0]["prepared"]
    assert "M\tapp.py\nD\tnew/y.py\nA\told.py\n" in shown
    assert "3 files changed, 2 insertions(+), 2 deletions(-)" in shown
    repo.run("preflight")
    assert repo.run("main").after == report.after


@pytest.mark.parametrize("given", ["older first", "newer first", "twice"])
def test_two_commits(repo, given):
    second = repo.commit("Change it again", {"app.py": "three\n"})
    commits = {"older first": [repo.bad, second], "newer first": [second, repo.bad], "twice": [second, repo.bad] * 2}
    report = repo.run("main", commits=commits[given], subject="Roll back C001: Totals", date="2026-11-20")
    assert tree(repo.path) == ROLLED_BACK
    assert repo.git("log", "-1", "--format=%cI|%B").splitlines() == [
        "2026-11-20T00:00:00+00:00|Roll back C001: Totals",
        "",
        f"This reverts commit {second}.",
        f"This reverts commit {repo.bad}.",
    ]
    assert report.after["commit"] == repo.head


def test_same_hash_on_every_host(repo, tmp_path, monkeypatch):
    made = set()
    for name, zone, config in (
        ("web1", "Asia/Tokyo", "[user]\nname = A\nemail = a@example.org\n"),
        (
            "web2",
            "America/Lima",
            "[user]\nname = B\nemail = b@example.org\n[core]\nabbrev = 20\n[commit]\ngpgsign = true\n"
            "[i18n]\ncommitEncoding = ISO-8859-1\n[diff]\nnoprefix = true\n[merge]\nff = false\n"
            "[status]\nshowUntrackedFiles = all\n[log]\nshowSignature = true\n[rerere]\nenabled = true\n",
        ),
    ):
        path = tmp_path / name
        subprocess.run(["git", "clone", "--quiet", str(repo.path), str(path)], check=True)
        (tmp_path / "home" / ".gitconfig").write_text(config)
        monkeypatch.setenv("TZ", zone)
        monkeypatch.setenv("LC_ALL", "C.UTF-8" if name == "web2" else "C")
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"20{10 + len(made)}-01-01T00:00:00Z")
        host = Repo(path, tmp_path / f"state-{name}")
        made.add(host.run("main", commits=[repo.bad], subject="Roll back: Größe").after["commit"])
    assert len(made) == 1


@pytest.mark.parametrize("name", ["hash", "tag"])
def test_checkout(repo, name):
    repo.git("tag", "v1", repo.good)
    options = {"method": "checkout", "to": repo.good if name == "hash" else "v1"}
    report = repo.run("main", **options)
    assert (report.changed, report.after) == (True, {"commit": repo.good, "branch": ""})
    assert tree(repo.path) == {**ROLLED_BACK, "README": b"r\n"}
    assert repo.git("rev-parse", "main") == repo.last
    assert not repo.run("main", **options).changed
    back = repo.run("recover", **options)
    assert back.changed
    assert (repo.head, repo.branch, tree(repo.path)) == (repo.last, "main", repo.files)
    assert repo.git("status", "--porcelain") == ""


def test_app_below_the_top_of_the_work_tree(repo):
    report = repo.run("main", repo=str(repo.path / "lib"), install=["cp", "x.py", "installed"])
    assert report.changed
    assert (repo.path / "lib" / "installed").read_text() == "x\n"


@pytest.mark.parametrize(
    ("prepare", "options", "words"),
    [
        (lambda r: r.write({"README": "mine\n"}), {}, ["uncommitted changes in README", "stash"]),
        (lambda r: r.write({"old.py": "mine\n"}), {}, ["Untracked files", "old.py", "mv "]),
        (lambda r: (r.path / ".git" / "index.lock").touch(), {}, ["index.lock exists", "rm "]),
        (lambda r: (r.path / ".git" / "MERGE_HEAD").write_text(r.bad + "\n"), {}, ["A merge is", "merge --abort"]),
        (lambda r: (r.path / ".git" / "REVERT_HEAD").write_text(r.bad + "\n"), {}, ["A revert is", "revert --abort"]),
        (lambda r: (r.path / ".git" / "rebase-merge").mkdir(), {}, ["A rebase is", "rebase --abort"]),
        (None, {"commits": ["1234567890"]}, ["no commit '1234567890'", "fetch"]),
        (None, {"commits": ["HEAD~1"]}, ["same commit at all times", "hash instead"]),
        (None, {"commits": ["main"]}, ["same commit at all times"]),
        (None, {"commits": ["--all"]}, ["no commit '--all'"]),
        (None, {"commits": []}, ["No commit was named", "git_revert_commits"]),
        (None, {"method": "checkout"}, ["No commit to go back to", "git_revert_to"]),
        (None, {"author": "nobody"}, ["'Name <mail>'"]),
        (None, {"date": "20.11.2026"}, ["not an ISO date"]),
        (None, {"repo": "/nonexistent"}, ["no directory /nonexistent"]),
        (None, {"repo": "/"}, ["not a git work tree"]),
        (None, {"install": ["false"]}, ["'false' fails (exit code 1)", "Nothing was changed"]),
        (None, {"install": ["no-such-program"]}, ["no-such-program", "git_revert_rehearse_install"]),
        (None, {"install": ["sh", "-c", "echo x > README"]}, ["changes tracked files: README"]),
        (lambda r: r.options.update(install=["ls", str(r.path)]), {}, ["cannot be tried beforehand"]),
    ],
)
def test_refused_with_nothing_changed(repo, prepare, options, words):
    if prepare:
        prepare(repo)
    message = repo.refused(**options)
    assert [word for word in words if word not in message] == [], message


def test_ignored_files_in_the_way_are_not_overwritten(repo):
    repo.commit("Ignore", {".gitignore": "old.py/\n/old.py\n"})
    repo.write({"old.py/mine": "mine\n"})
    assert "old.py/mine" in repo.refused()


def test_conflict_names_files_commits_and_what_to_do(repo):
    later = repo.commit("Round totals", {"app.py": "two, rounded\n"})
    message = repo.refused()
    for words in (
        f"Reverting {repo.bad[:10]} (Add invoice totals) conflicts in app.py.",
        f"{later[:10]} Round totals",
        f"git_revert_commits: [{later[:10]}, {repo.bad[:10]}]",
        f"git_revert_to: {repo.good}",
    ):
        assert words in message
    repo.run("main", commits=[later, repo.bad])
    assert tree(repo.path) == ROLLED_BACK


def test_not_in_this_history(repo):
    repo.git("checkout", "--quiet", "-b", "side", repo.good)
    side = repo.commit("Aside", {"side": "1\n"})
    repo.git("checkout", "--quiet", "main")
    assert "not in the history" in repo.refused(commits=[side])
    assert "not an earlier commit" in repo.refused(method="checkout", to=side)
    repo.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side")
    message = repo.refused(commits=[repo.head])
    assert "is a merge" in message
    assert f"git_revert_to: {repo.last}" in message


def test_submodule_is_refused(repo):
    for mode, blob in (("160000", repo.good), ("160000", repo.bad)):
        repo.git("update-index", "--add", "--cacheinfo", f"{mode},{blob},sub")
        repo.git("commit", "--quiet", "-m", "Move sub")
    repo.write({"sub/.keep": ""})
    assert "submodule sub" in repo.refused(commits=[repo.head])


def test_hooks_never_run(repo, tmp_path):
    ran = tmp_path / "ran"
    hooks = repo.path / ".git" / "hooks"
    names = ["pre-commit", "post-commit", "post-checkout", "post-merge", "pre-merge-commit", "commit-msg"]
    names += ["prepare-commit-msg", "reference-transaction", "post-index-change", "post-rewrite", "fsmonitor"]
    hooks.mkdir(exist_ok=True)
    for name in names:
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {ran}\n")
        (hooks / name).chmod(0o755)
    repo.git("config", "core.fsmonitor", str(hooks / "fsmonitor"))
    (tmp_path / "home" / ".gitconfig").write_text(f"[core]\nhooksPath = {hooks}\n")
    repo.run("main")
    repo.run("recover")
    repo.run("main", method="checkout", to=repo.good)
    repo.run("recover", method="checkout", to=repo.good)
    assert not ran.exists()
    repo.git("checkout", "--quiet", "--detach")
    assert ran.exists()


def by_hand(repo):
    repo.git("revert", "--no-edit", repo.bad)


def by_hand_and_edited_since(repo):
    by_hand(repo)
    repo.commit("Edit", {"app.py": "one, edited\n"})


def without_saying(repo):
    repo.commit("Restore", {"app.py": "one\n", "old.py": "old\n", "new/y.py": None})


@pytest.mark.parametrize("how", [by_hand, by_hand_and_edited_since, without_saying])
def test_already_reverted(repo, how):
    how(repo)
    before = snapshot(repo.path)
    report = repo.run("preflight", install=["false"])
    assert (report.pending, report.after) == (False, {"commit": repo.head, "branch": "main"})
    assert not repo.run("main", install=["false"]).changed
    assert not repo.run("recover", install=["false"]).changed
    assert snapshot(repo.path) == before


def test_reverted_and_brought_back(repo):
    by_hand(repo)
    repo.git("revert", "--no-edit", "HEAD")
    assert repo.run("main").changed
    assert tree(repo.path) == ROLLED_BACK


def test_only_what_is_left_of_several_is_reverted(repo):
    by_hand_and_edited_since(repo)
    report = repo.run("main", commits=[repo.bad, repo.last])
    assert report.changed
    assert tree(repo.path) == {**ROLLED_BACK, "app.py": b"one, edited\n", "README": b"r\n"}
    assert repo.git("log", "-1", "--format=%b").strip() == f"This reverts commit {repo.last}."


def test_moved_between_preflight_and_main(repo):
    repo.run("preflight")
    repo.commit("Deploy", {"README": "newer\n"})
    message = repo.refused("main")
    assert "Somebody moved" in message
    assert "rehearsed from there" in message
    assert repo.run("preflight").pending
    assert repo.run("main").changed
    assert tree(repo.path) == {**ROLLED_BACK, "README": b"newer\n"}


@pytest.mark.parametrize("file", ["README", "app.py"])
def test_edited_between_preflight_and_main(repo, file):
    repo.run("preflight")
    repo.write({file: "mine\n"})
    assert f"uncommitted changes in {file}" in repo.refused("main")


# How far main may have come when it was killed. Each leaves the host as that would.


def nothing_done(repo):
    pass


def fetched(repo):
    repo.git("fetch", "--quiet", str(repo.point.scratch_path / "tree"), f"+refs/heads/target:{ref(repo)}")
    note(repo)


def noted(repo):
    fetched(repo)
    note(repo, "switching")


def half_written(repo):
    noted(repo)
    (repo.path / ".git" / "index.lock").write_bytes(b"half")
    (repo.path / ".git" / "HEAD.lock").touch()
    repo.write({"app.py": "on", "old.py": "o", "new/y.py": None})


def index_written(repo):
    noted(repo)
    repo.git("read-tree", "-u", "--reset", target(repo))
    (repo.path / ".git" / "refs" / "heads" / "main.lock").touch()


def switched(repo):
    noted(repo)
    repo.git("reset", "--quiet", "--hard", target(repo))


def installing(repo):
    switched(repo)
    note(repo, "installing")


def target(repo):
    return repo.point.read()["prepared"]["target"]


def ref(repo):
    return "refs/changeops/R1/1-git_revert"


def note(repo, stage="rehearsed"):
    repo.point.write(progress="started", prepared={**repo.point.read()["prepared"], "stage": stage})


STAGES = [nothing_done, fetched, noted, half_written, index_written, switched, installing]


@pytest.mark.parametrize("stage", STAGES)
def test_resume(repo, stage):
    repo.run("preflight")
    goal = target(repo)
    stage(repo)
    if stage is not fetched:
        shutil.rmtree(repo.point.scratch_path)
    assert repo.run("preflight", install=["true"]).pending
    report = repo.run("main", install=["touch", "installed"])
    assert (report.changed, repo.head, repo.branch) == (True, goal, "main")
    assert (repo.path / "installed").exists()
    assert {**tree(repo.path), "installed": None} == {**ROLLED_BACK, "installed": None}
    assert repo.git("status", "--porcelain", "--untracked-files=no") == ""
    assert repo.refs == ""
    assert not list((repo.path / ".git").rglob("*.lock"))
    assert not repo.run("main", install=["false"]).changed


@pytest.mark.parametrize("stage", STAGES)
def test_recover(repo, stage):
    repo.run("preflight")
    stage(repo)
    report = repo.run("recover", install=["touch", "installed"])
    moved = stage not in (nothing_done,)
    assert report.changed is moved
    assert (repo.head, repo.branch, repo.refs) == (repo.last, "main", "")
    assert (repo.path / "installed").exists() is moved
    assert {**tree(repo.path), "installed": None} == {**repo.files, "installed": None}
    assert repo.git("status", "--porcelain", "--untracked-files=no") == ""
    assert not list((repo.path / ".git").rglob("*.lock"))
    assert not repo.point.scratch_path.exists()
    assert not repo.run("recover", install=["false"]).changed


@pytest.mark.parametrize("child", ["goes on", "is killed too"])
def test_killed_in_the_middle_of_the_switch(repo, tmp_path, child):
    """Only main is killed; the git that it started is writing a file at that moment, slowly, and may go on."""
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $PPID > {tmp_path}/pid\ntest -e {tmp_path}/quick || sleep 2\ncat\n")
    slow.chmod(0o755)
    repo.run("preflight")
    repo.git("config", "filter.slow.smudge", str(slow))
    (repo.path / ".git" / "info" / "attributes").write_text("old.py filter=slow\n")
    main = os.fork()
    if main == 0:
        repo.run("main")
        os._exit(0)
    until = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(main, signal.SIGKILL)
    os.waitpid(main, 0)
    if child == "is killed too":
        os.killpg(os.getpgid(int((tmp_path / "pid").read_text())), signal.SIGKILL)
    assert (repo.path / ".git" / "index.lock").exists()
    (tmp_path / "quick").touch()
    assert repo.run("preflight").pending
    report = repo.run("main")
    assert ("Waited" in "".join(report.warnings)) is (child == "goes on")
    assert (report.changed, repo.head) == (True, target(repo))
    assert tree(repo.path) == ROLLED_BACK
    assert repo.git("status", "--porcelain") == ""


@pytest.mark.parametrize("stage", ["half", "switched"])
def test_interrupted_checkout(repo, stage):
    options = {"method": "checkout", "to": repo.good}
    repo.run("preflight", **options)
    repo.git("update-ref", ref(repo), repo.good)
    note(repo, "switching")
    if stage == "half":
        (repo.path / ".git" / "index.lock").touch()
        repo.write({"app.py": "on"})
    else:
        repo.git("checkout", "--quiet", "--detach", repo.good)
    assert repo.run("preflight", **options).pending
    assert repo.run("main", **options).after == {"commit": repo.good, "branch": ""}
    assert repo.git("status", "--porcelain") == ""
    note(repo, "recovering")
    (repo.path / "old.py").unlink()
    assert repo.run("recover", **options).after == {"commit": repo.last, "branch": "main"}
    assert tree(repo.path) == repo.files


def test_install_that_fails_in_main_is_resumed_and_recovered(repo):
    broken = repo.path / ".git" / "broken"
    install = ["sh", "-c", f"test ! -e {broken.relative_to(repo.path)} && cp app.py installed"]
    repo.run("preflight", install=install)
    broken.touch()
    with pytest.raises(PhaseError, match="install command failed"):
        repo.run("main", install=install)
    broken.unlink()
    assert repo.run("preflight", install=install).pending
    assert repo.run("main", install=install).changed
    assert (repo.path / "installed").read_text() == "one\n"
    broken.touch()
    with pytest.raises(PhaseError, match="install command failed"):
        repo.run("recover", install=install)
    broken.unlink()
    assert repo.run("recover", install=install).changed
    assert (repo.path / "installed").read_text() == "two\n"
    assert repo.head == repo.last


def test_recover_keeps_what_somebody_changed(repo):
    repo.run("main")
    repo.write({"README": "mine\n", "app.py": "mine too\n", "notes": "n\n", "new/y.py": "mine as well\n"})
    report = repo.run("recover")
    assert repo.head == repo.last
    assert (repo.path / "README").read_text() == "mine\n"
    assert (repo.path / "notes").read_text() == "n\n"
    kept = repo.point.part / "set-aside"
    assert tree(kept) == {"app.py": b"mine too\n", "new/y.py": b"mine as well\n"}
    assert str(kept) in report.warnings[0]
    assert tree(repo.path) == {**repo.files, "README": b"mine\n", "notes": b"n\n"}


def test_recover_after_somebody_committed(repo):
    repo.run("main")
    reverted = repo.head
    repo.commit("Hotfix", {"README": "fixed\n"})
    assert not repo.run("main").changed
    message = repo.refused("recover")
    assert "Somebody moved" in message
    assert f"revert {reverted}" in message


def test_recover_when_never_started(repo):
    assert not repo.run("recover").changed


def test_detached_head_is_put_back_detached(repo):
    repo.git("checkout", "--quiet", "--detach")
    assert repo.run("main").after["branch"] == ""
    assert tree(repo.path) == ROLLED_BACK
    repo.run("recover")
    assert (repo.head, repo.branch) == (repo.last, "")


def test_linked_work_tree_and_shallow_clone(repo, tmp_path):
    linked = tmp_path / "linked"
    repo.git("worktree", "add", "--quiet", "-b", "deployed", str(linked))
    one = Repo(linked, tmp_path / "state1").run("main", commits=[repo.bad])
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth=3", f"file://{repo.path}", str(shallow)], check=True)
    two = Repo(shallow, tmp_path / "state2").run("main", commits=[repo.bad])
    assert one.after["commit"] == two.after["commit"]
    assert tree(shallow) == ROLLED_BACK


@pytest.mark.parametrize(
    ("remote", "upstream", "words"),
    [
        (False, False, "the next deploy from elsewhere brings the change back"),
        (True, False, "push origin HEAD:main"),
        (True, True, "NOT PUSHED"),
    ],
)
def test_says_that_it_is_not_pushed(repo, tmp_path, remote, upstream, words):
    if remote:
        subprocess.run(["git", "clone", "--quiet", "--bare", str(repo.path), str(tmp_path / "hub")], check=True)
        repo.git("remote", "add", "origin", str(tmp_path / "hub"))
    if upstream:
        repo.git("fetch", "--quiet", "origin")
        repo.git("branch", "--quiet", "--set-upstream-to=origin/main")
    report = repo.run("main")
    assert words in report.msg
    assert [words in warning for warning in report.warnings] == [True]
    if upstream:
        assert f"git -C {repo.path} push" in report.msg
        assert len(repo.run("main").warnings) == 1
        repo.git("push", "--quiet")
        assert repo.run("main").warnings == []


def test_uv_style_environment_is_made_in_scratch(repo, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    install = [sys.executable, "-c", "import os; print(os.environ.get('UV_PROJECT_ENVIRONMENT'), file=open('env','w'))"]
    repo.run("preflight", install=install)
    assert not (repo.path / "env").exists()
    assert (repo.point.scratch_path / "tree" / "env").read_text() == f"{repo.point.scratch_path / 'venv'}\n"
    repo.run("main", install=install)
    assert (repo.path / "env").read_text() == "None\n"


def test_install_can_be_left_untried(repo):
    report = repo.run("preflight", install=["cp", str(repo.path / "app.py"), "copy"], rehearse_install=False)
    assert "was not tried" in report.msg
    assert not (repo.point.scratch_path / "tree" / "copy").exists()


def test_documentation_matches_the_arguments_and_the_role():
    documented = yaml.safe_load(git_revert.DOCUMENTATION)["options"]
    assert {n: (o["type"], o.get("default")) for n, o in documented.items()} == {
        n: (o["type"], o.get("default")) for n, o in git_revert.ARGUMENTS.items()
    }
    role = Path(git_revert.__file__).resolve().parents[2] / "roles" / "git_revert"
    defaults = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    assert set(specs) == {"main", "preflight", "recover"}
    for spec in specs.values():
        assert set(spec["options"]) == set(defaults)

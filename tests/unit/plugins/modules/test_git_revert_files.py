# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as git_revert may find them: names, kinds, modes, line ends, filters, and work trees that lack some of them."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from ansible_collections.changeops.rollback.plugins.module_utils._command import PhaseError
from ansible_collections.changeops.rollback.tests.unit.plugins.modules.git_work_tree import Repo, snapshot
from ansible_collections.changeops.rollback.tests.unit.refusals import Refusal

NAMES = [
    "new\nline",
    'quo"te',
    "back\\slash",
    "-dash",
    "sp ace ",
    "größe",
    os.fsdecode(b"latin\xfc"),
    "tab\t",
    ":(top)x",
    "*",
]


def put(repo, path, content):
    """Make a file, a symlink (text that begins with ->) or nothing (None) of what lies at ``path``."""
    file = repo.path / path
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(str(file))
    elif os.path.lexists(str(file)):
        file.unlink()
    if content is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str) and content.startswith("->"):
        file.symlink_to(content[2:])
    else:
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def made(repo, before, after):
    """Two commits, of which the second one is to be reverted."""
    for content, subject in ((before, "Before"), (after, "After")):
        for path, text in content.items():
            put(repo, path, text)
        repo.git("add", "--all")
        repo.git("commit", "--quiet", "-m", subject)
    repo.options["commits"] = [repo.head]
    return repo.head


def plain(repo):
    made(repo, dict.fromkeys(NAMES[:5], "1"), {**dict.fromkeys(NAMES, "2"), NAMES[0]: None})


def modes(repo):
    put(repo, "run", "x\n")
    repo.commit("Before", {})
    (repo.path / "run").chmod(0o755)
    repo.commit("After", {})
    repo.options["commits"] = [repo.head]


def renamed(repo):
    lines = "".join(f"{n}\n" for n in range(50))
    made(repo, {"one": lines}, {"one": None, "two": lines + "more\n"})


def later_renamed(repo):
    """The file that the change touched has another name since."""
    lines = "".join(f"{n}\n" for n in range(50))
    made(repo, {"one": lines}, {"one": lines + "more\n"})
    repo.git("mv", "one", "two")
    repo.git("commit", "--quiet", "-m", "Rename")


def link_for_folder(repo):
    made(repo, {"d/x": "1", "d/y": "1", "other/x": "kept", "e": "->other"}, {"d": "->other", "e": None, "e/x": "2"})


def folder_for_link(repo):
    made(repo, {"d": "->other", "other/x": "kept", "other/y": "kept"}, {"d": None, "d/x": "1", "d/z/deep": "1"})


def folder_for_file(repo):
    made(repo, {"d": "file", "e/x": "1"}, {"d": None, "d/x": "1", "e": "file"})


def dangling_link(repo):
    made(repo, {"l": "->nowhere"}, {"l": "->" + "elsewhere"})


def carriage_returns(repo):
    repo.git("config", "core.autocrlf", "true")
    (repo.path / ".git" / "info" / "attributes").write_text("raw -text\n")
    made(repo, {"text": "a\r\nb\r\n", "raw": "a\r\nb\n"}, {"text": "a\r\nB\r\n", "raw": "A\r\nb\n"})


def carriage_returns_in_git(repo):
    """Text that went in as it was, before somebody turned the conversion on: git takes it for changed at every look."""
    made(repo, {"text": "a\r\nb\r\nc\r\n", "more": "1\n"}, {"text": "a\r\nB\r\nc\r\n", "more": "2\n"})
    with open(os.path.join(os.environ["HOME"], ".gitconfig"), "a") as config:
        config.write("[core]\nautocrlf = input\n")


def filtered(repo):
    """As git-lfs has it: the work tree has other content than git, and it must not fail."""
    repo.git("config", "filter.big.clean", "tr a-z A-Z")
    repo.git("config", "filter.big.smudge", "tr A-Z a-z")
    repo.git("config", "filter.big.required", "true")
    made(repo, {".gitattributes": "*.big filter=big\n", "x.big": "one\n"}, {"x.big": "two\n", "y.big": "new\n"})


def filtered_everywhere(repo):
    """As git-lfs is set up for a user: its filter works only where there is a remote to fetch from."""
    repo.git("remote", "add", "origin", "/nonexistent")
    with open(os.path.join(os.environ["HOME"], ".gitconfig"), "a") as config:
        config.write('[filter "big"]\nclean = tr a-z A-Z\nrequired = true\n')
        config.write("smudge = git config remote.origin.url >/dev/null && tr A-Z a-z\n")
    made(repo, {".gitattributes": "*.big filter=big\n", "x.big": "one\n"}, {"x.big": "two\n", "y.big": "new\n"})


def sparse(repo):
    made(repo, {"in/x": "1\n", "out/x": "1\n"}, {"in/x": "2\n", "in/y": "2\n", "out/x": "2\n", "out/y": "2\n"})
    repo.git("config", "core.sparseCheckout", "true")
    (repo.path / ".git" / "info" / "sparse-checkout").write_text("/*\n!/out/\n")
    repo.git("read-tree", "-mu", "HEAD")
    assert not (repo.path / "out").exists()


def submodule_at_rest(repo):
    """A submodule that the change does not move, with somebody's work in it."""
    sub = Repo(repo.path.with_name("sub"), repo.path)
    subprocess.run(["git", "init", "--quiet", str(sub.path)], check=True)
    sub.commit("Sub", {"s": "1\n"})
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(sub.path), "sub")
    repo.git("config", "submodule.recurse", "true")
    made(repo, {"x": "1\n"}, {"x": "2\n"})
    (repo.path / "sub" / "s").write_text("mine\n")


CASES = [plain, modes, renamed, later_renamed, link_for_folder, folder_for_link, folder_for_file, dangling_link]
CASES += [carriage_returns, carriage_returns_in_git, filtered, filtered_everywhere, sparse, submodule_at_rest]


def look(repo):
    """The work tree: files, symlinks, folders, and what git makes of them."""
    folders = {
        str(path.relative_to(repo.path)) for path in repo.path.rglob("*") if path.is_dir() and not path.is_symlink()
    }
    found = {name: (text, mode) for name, (text, mode, _time) in snapshot(repo.path).items() if name[:5] != ".git/"}
    return found, {name for name in folders if name.split(os.sep)[0] != ".git"}, repo.git("status", "--porcelain")


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(repo, case):
    case(repo)
    found = look(repo)
    expected = repo.path.with_name("expected")
    shutil.copytree(str(repo.path), str(expected), symlinks=True)
    Repo(expected, repo.path).git("revert", "--no-edit", repo.options["commits"][0])
    reverted = look(Repo(expected, repo.path))
    assert repo.run("preflight").pending
    assert look(repo) == found
    repo.run("main")
    assert look(repo) == reverted
    repo.run("recover")
    assert look(repo) == found
    # interrupted at either end of the switch, with the other end's files
    prepared = repo.point.read()["prepared"]
    for there, back in (("main", reverted), ("recover", found)):
        stage = "switching" if there == "main" else "recovering"
        repo.point.write(progress="started", prepared={**prepared, "stage": stage})
        wrong = prepared["target"] if there == "main" else prepared["base"]
        repo.git("-c", "core.hooksPath=/dev/null", "read-tree", "-mu", "HEAD", wrong)
        repo.git("update-ref", f"refs/changeops/R1/{repo.point.phase}", prepared["target"])
        repo.run(there)
        assert look(repo) == back


def test_results_can_be_shown_whatever_the_names_are(repo):
    plain(repo)
    report = repo.run("preflight")
    shown = [item["path"] for item in report.facts["files"]]
    assert all(name.isprintable() for name in shown)
    assert {'"new\\012line"', '"latin\\374"', "größe", "sp ace ", '"tab\\011"'} <= set(shown)
    report.diff[0]["prepared"].encode()


def test_a_filter_that_fails_is_found_before_the_stop(repo):
    filtered(repo)
    repo.git("config", "filter.big.smudge", "echo object not found >&2; false")
    before = snapshot(repo.path)
    with pytest.raises(PhaseError) as caught:
        repo.run("preflight")
    assert REFUSALS[0].matches(str(caught.value)), str(caught.value)
    assert snapshot(repo.path) == before
    repo.run("preflight", check=True)  # which fetches nothing


def test_the_install_command_sees_files_as_the_app_does(repo):
    filtered(repo)
    repo.git("config", "--global", "filter.big.clean", "tr a-z A-Z")
    repo.git("config", "--global", "filter.big.smudge", "tr A-Z a-z")
    repo.run("preflight", install=["cp", "x.big", "seen"])
    assert (repo.point.scratch_path / "tree" / "seen").read_text() == "one\n"


REFUSALS = [
    Refusal(
        "a filter that fails, as git-lfs does without the large file",
        "Git's filter for x.big (git-lfs, say) fails in a copy of <commit>, so the switch would fail as well: 'git -C "
        "<repo> checkout-index --force -z --stdin --prefix=<folder>' failed with exit code <number>: object not found "
        "/ <what git says> Make the filter work for this user, or bring what it lacks: git -C <repo> lfs fetch --all",
    ),
]

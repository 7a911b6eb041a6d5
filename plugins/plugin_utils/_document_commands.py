# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tell which phase a shell command of a rollback document is. Pure functions. Private to this collection."""

from __future__ import annotations

import dataclasses
import re
import shlex
import typing as t

from ._document_shell import Chunk, split
from ._plan_yaml import question

SAID = "said"  # a command that does nothing to the host: it is kept as a comment
INSTALL = "install"  # belongs to the phase that brings the code back

_OPEN = "\ue000"  # marks what is still to be filled in, within a command
_PLACEHOLDER = re.compile(r"(?<!<)<[A-Za-z](?:[\w ./:-]*[\w])?>|\[[A-Z][\w -]*\]|_{2,}|\bC___|\$\{?\w+\}?")
_SHELL = r"[|&;<>`*?!()]|\$\("
_HASH = re.compile(r"[0-9a-f]{7,40}", re.I)
_MOVES = re.compile(r"(HEAD|@|main|master|develop|trunk)\b.*|[\w-]+/[\w/-]+|.*[~^@].*")
_DUMPS = ("pg_dump", "pg_dumpall", "mysqldump", "mariadb-dump", "mongodump")
_BACKUP = re.compile(r"backup|\bbak\b|\.bak|\.orig\b", re.I)
_UNSEEN_CURL = {
    "--fail",
    "--silent",
    "--show-error",
    "--location",
    "--include",
    "--verbose",
    "--fail-with-body",
    "--compressed",
}
_VALUED_CURL = {"-o", "--output", "-m", "--max-time", "--connect-timeout", "--retry", "--retry-delay"}


@dataclasses.dataclass
class Found:
    """The phase that a command is. ``role`` may also be `SAID` or `INSTALL`."""

    role: str
    vars: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    become_user: str = ""
    note: str = ""


def recognise(chunk: Chunk) -> list[Found] | None:
    """Tell what a command is: phases, in order; None where it is none that is known."""
    text = re.sub(r"\s*\\\n\s*", " ", chunk.text).strip()
    if "\n" in text:
        return None
    if (
        not text
        or text.startswith("#")
        or re.match(r"(echo|printf|set|exit|sleep|pwd|ls|date|whoami)\b[^|;&<>`]*$", text)
    ):
        return [Found(SAID)]
    text = re.sub(r"\s*\|\|\s*exit(\s+\d+)?$", "", text)
    if _is_backup(text):
        return [Found("backup", note=_dump_note(text))]
    parts = split(text)
    found = [_one(part, chunk.line) for part in parts]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else None


def _is_backup(text: str) -> bool:
    text = re.sub(r"^sudo\s+(-u\s+\S+\s+)?", "", text)
    plain = re.sub(r"\$\([^()]*\)", "", text)
    if re.search(r"[;&]|\|\|", plain):
        return False
    word = plain.split()[0] if plain.split() else ""
    if word in _DUMPS:
        return True
    if re.match(r"git\s+(checkout\s+-b|switch\s+-c|branch|tag)\s", plain):
        return bool(_BACKUP.search(plain)) and not re.search(r"\s-[dD]\s", plain)
    if word in ("cp", "rsync", "tar", "sqlite3", "mkdir"):
        return (
            bool(_BACKUP.search(plain.split()[-1] if word in ("cp", "rsync", "mkdir") else plain))
            and "-x" not in plain.split()
        )
    return False


def _dump_note(text: str) -> str:
    if any(word in text.split() for word in (*_DUMPS, "sqlite3")):
        return "What the downgrade destroys is exported by itself; a whole dump is made with backup_databases."
    if re.match(r"(sudo\s+)?(cp|rsync|tar)\s", text):
        return "The phase keeps config, state and a git ref; more files are kept with backup_archive."
    return ""


def _one(text: str, line: int) -> Found | None:
    marked = _PLACEHOLDER.sub(_OPEN, text)
    # a query in a URL is no pattern of files
    shell = r"[|;<>`*!()]|&&|\$\(" if marked.startswith(("curl ", "wget ")) else _SHELL
    if re.search(shell, re.sub(r"'[^']*'|\"[^\"]*\"", "", marked)):
        return None
    try:
        words = shlex.split(marked, comments=True)
    except ValueError:
        return None
    environment: dict[str, str] = {}
    user = ""
    while words and (words[0] == "sudo" or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0])):
        name, equals, value = words.pop(0).partition("=")
        if equals:
            environment[name] = question(f"which value has {name} (line {line})?") if _OPEN in value else value
        elif words[:1] == ["-u"] and len(words) > 2:
            user, words = words[1], words[2:]
        elif words and words[0].startswith("-"):
            return None
    if not words:
        return None
    bare = _bare(words)
    subject = (
        _script
        if re.fullmatch(r"[\w./~-]*/[\w.-]+\.(sh|bash|py)", words[0])
        else _SUBJECTS.get(bare[0] if bare else "")
    )
    found = subject(bare, words, line) if subject else None
    if found:
        found.environment = environment
        found.become_user = question(f"which user (line {line})?") if _OPEN in user else user
        if environment and found.role in (SAID, INSTALL):
            return None
    return found


def _bare(words: list[str]) -> list[str]:
    """A command without what starts it: uv run, python -m, the folder of a virtual environment."""
    words = list(words)
    if words[:2] in (["uv", "run"], ["poetry", "run"], ["pipenv", "run"], ["pdm", "run"], ["hatch", "run"]):
        words = words[2:]
        while words and words[0] in ("--no-sync", "--frozen", "--locked", "--"):
            words = words[1:]
    if len(words) > 2 and re.fullmatch(r"(.*/)?python[\d.]*", words[0]) and words[1] == "-m":
        words = words[2:]
    if words and re.fullmatch(r".*/bin/[\w.-]+", words[0]):
        words[0] = words[0].rpartition("/")[2]
    return words


def _git(words: list[str], _whole: list[str], line: int) -> Found | None:
    verb, rest = (words[1], words[2:]) if len(words) > 1 else ("", [])
    if verb == "revert":
        return _git_revert(rest, line)
    if verb in ("status", "log", "diff", "show", "rev-parse"):
        return Found(SAID)
    if verb == "reset" and rest[:1] == ["--hard"] and len(rest) == 2:
        return _git_checkout(rest[1], line)
    if verb == "push" and len(rest) == 2 and not any(word.startswith(("-", "+")) for word in rest):
        remote, branch = (
            _or_ask(word, what, line) for word, what in zip(rest, ("which remote", "which branch"), strict=True)
        )
        return Found("git_revert", {"git_revert_push_remote": remote, "git_revert_push_branch": branch})
    if verb in ("checkout", "restore"):
        return _git_files(verb, rest, line)
    return None


def _git_files(verb: str, rest: list[str], line: int) -> Found | None:
    source, paths = "", []
    if verb == "checkout" and "--" in rest and rest.index("--") == 1:
        source, paths = rest[0], rest[2:]
    elif verb == "restore":
        match = re.fullmatch(r"(?:--source=|-s=?|--source )(\S+) (?:-- )?(.+)", " ".join(rest)) or re.fullmatch(
            r"-s (\S+) (?:-- )?(.+)", " ".join(rest)
        )
        if not match:
            return None
        source, paths = match[1], match[2].split()
    elif verb == "checkout" and len(rest) == 1 and not rest[0].startswith("-"):
        return _git_checkout(rest[0], line)
    if not paths or any(path.startswith("-") for path in paths):
        return None
    paths = [question(f"which config files (line {line})?") if _OPEN in path else path for path in paths]
    found: dict[str, t.Any] = {"config_restore_paths": paths}
    note = ""
    if _OPEN in source:
        found["config_restore_commit"] = question(f"from which commit is the config taken (line {line})?")
    elif _MOVES.fullmatch(source):
        note = (
            f"Config comes from the commit before the change. The document says {source}, which moves: after a revert "
            "it is the config of the change."
        )
    else:
        found["config_restore_commit"] = source
    return Found("config_restore", found, note=note)


def _git_checkout(commit: str, line: int) -> Found:
    asked = f"to which commit or tag does the code go back (line {line})?"
    to = question(asked) if _OPEN in commit or _MOVES.fullmatch(commit) else commit
    return Found("git_revert", {"git_revert_method": "checkout", "git_revert_to": to})


def _git_revert(rest: list[str], line: int) -> Found | None:
    commits: list[str] = []
    found: dict[str, t.Any] = {}
    words = iter(rest)
    for word in words:
        if word in ("-m", "--mainline"):
            number = next(words, "")
            if not number.isdigit():
                return None
            found["git_revert_mainline"] = int(number)
        elif word in ("--no-edit", "--no-commit", "-n", "-e", "--edit", "-s", "--signoff"):
            continue
        elif word.startswith("-"):
            return None
        elif _OPEN in word:
            commits.append(question(f"which commit is reverted (line {line})?"))
        elif _MOVES.fullmatch(word) and not re.fullmatch(r"[0-9a-f]{7,40}\.\.[0-9a-f]{7,40}", word):
            commits.append(question(f"which commit is {word} (line {line})? It will be another one tomorrow."))
        else:
            commits.append(word)
    return Found("git_revert", {"git_revert_commits": commits, **found}) if commits else None


def _alembic(words: list[str], _whole: list[str], line: int) -> Found | None:
    found: dict[str, t.Any] = {}
    names = {"-c": "config", "--config": "config", "-n": "section", "--name": "section", "-x": "x"}
    rest = words[1:]
    while len(rest) > 1 and rest[0] in names:
        name = f"alembic_downgrade_{names[rest[0]]}"
        value = _or_ask(rest[1], f"what is {rest[0]} of alembic", line)
        found[name] = [*found.get(name, []), value] if rest[0] == "-x" else value
        rest = rest[2:]
    if rest[:1] and rest[0] in ("current", "history", "heads", "show"):
        return Found(SAID)
    if len(rest) != 2 or rest[0] != "downgrade" or ":" in rest[1]:
        return None
    revision = rest[1]
    came = question(
        f"which revision did the change bring, where the database stands before the rollback (line {line})?"
    )
    if re.fullmatch(r"\w+", revision) and _OPEN not in revision:
        to = revision
    else:
        shown = "" if _OPEN in revision else f" The document says {revision}, which counts from where it stands."
        to = question(f"which revision was there before the change (line {line})?{shown}")
    note = "Where hosts share the database, let one downgrade it: add `hosts: <group>[0]` to alembic_downgrade."
    return Found(
        "alembic_downgrade", {"alembic_downgrade_from": [came], "alembic_downgrade_to": [to], **found}, note=note
    )


def _systemctl(words: list[str], _whole: list[str], line: int) -> Found | None:
    rest = [word for word in words[1:] if word not in ("--user", "--no-pager", "--quiet", "-q", "--system")]
    extra = {"scope": "user"} if "--user" in words else {}
    return _services(rest[0] if rest else "", rest[1:], {"manager": "systemd", **extra}, line)


def _service(words: list[str], _whole: list[str], line: int) -> Found | None:
    return _services(words[2], words[1:2], {"manager": "service"}, line) if len(words) == 3 else None


def _supervisorctl(words: list[str], _whole: list[str], line: int) -> Found | None:
    rest, extra = words[1:], {}
    if len(rest) > 2 and rest[0] in ("-c", "--configuration"):
        extra, rest = {"config": rest[1]}, rest[2:]
    if "all" in rest:
        return None
    return _services(rest[0] if rest else "", rest[1:], {"manager": "supervisord", **extra}, line)


def _services(verb: str, names: list[str], rest: dict[str, str], line: int) -> Found | None:
    if not names or any(name.startswith("-") for name in names):
        return None
    services = [{"name": _or_ask(name, "which service", line), **rest} for name in names]
    if verb in ("stop", "start"):
        return Found(f"service_{verb}", {f"service_{verb}_services": services})
    if verb == "restart":
        return Found(
            "service_start",
            {"service_start_services": services},
            note="A restart is a stop before what changes, and a start.",
        )
    if verb in ("status", "is-active"):
        checks = [{"service": service["name"]} for service in services]
        return Found("verify", {"verify_checks": checks, "verify_services": services})
    return None


def _curl(words: list[str], _whole: list[str], line: int) -> Found | None:
    urls: list[str] = []
    check: dict[str, t.Any] = {}
    rest = iter(words[1:])
    for word in rest:
        if word in _VALUED_CURL:
            next(rest, "")
        elif word in ("-k", "--insecure"):
            check["validate_certs"] = False
        elif word in ("-I", "--head"):
            check["method"] = "HEAD"
        elif word in _UNSEEN_CURL or re.fullmatch(r"-[fsSLvi]+", word):
            continue
        elif word.startswith("-"):
            return None
        else:
            urls.append(word)
    return _answers(urls, check, line)


def _wget(words: list[str], _whole: list[str], line: int) -> Found | None:
    urls = [word for word in words[1:] if word not in ("-q", "--quiet", "--spider", "-O-", "-nv")]
    return None if any(url.startswith("-") for url in urls) else _answers(urls, {}, line)


def _answers(urls: list[str], check: dict[str, t.Any], line: int) -> Found | None:
    if not urls:
        return None
    urls = [url if re.match(r"https?://", url) else f"http://{url}" for url in urls]
    asked = [question(f"which address (line {line})?") if _OPEN in url else url for url in urls]
    return Found("verify", {"verify_checks": [{"http": {"url": url, **check}} for url in asked]})


def _pytest(_words: list[str], whole: list[str], line: int) -> Found:
    argv = [_or_ask(word, "what stands here in the command", line) for word in whole]
    check = {
        "command": {"argv": argv, "chdir": question(f"in which folder of the host do the tests run (line {line})?")}
    }
    note = (
        "Tests run on the host with the app's live settings, as the document has it. As rollback_app.test in the "
        "inventory a rehearsal runs them in a copy, beforehand."
    )
    return Found("verify", {"verify_checks": [check]}, note=note)


def _install(words: list[str], whole: list[str], line: int) -> Found | None:
    installs = {
        ("uv", "sync"),
        ("uv", "pip"),
        ("poetry", "install"),
        ("poetry", "sync"),
        ("pip", "install"),
        ("pip3", "install"),
    }
    installs |= {
        ("pipenv", "sync"),
        ("pipenv", "install"),
        ("pdm", "sync"),
        ("npm", "ci"),
        ("npm", "install"),
        ("bundle", "install"),
    }
    installs |= {("yarn", "install"), ("pnpm", "install")}
    if tuple(words[:2]) not in installs:
        return None
    argv = [_or_ask(word, "what stands here in the command", line) for word in whole]
    return Found(INSTALL, {"git_revert_install": argv})


def _script(words: list[str], whole: list[str], line: int) -> Found | None:
    argv = whole[1:] if words[0] in ("bash", "sh") else whole
    if not argv or argv[0].startswith("-") or _OPEN in argv[0]:
        return None
    found: dict[str, t.Any] = {"run_script_script": argv[0].removeprefix("./")}
    if argv[1:]:
        found["run_script_arguments"] = [_or_ask(word, "what is given to the script", line) for word in argv[1:]]
    note = (
        ""
        if argv[0].startswith("/")
        else (f"{argv[0]} is looked for in the ops repository; where it lies on the hosts, write its whole path there.")
    )
    return Found("run_script", found, note=note)


def _cd(words: list[str], _whole: list[str], _line: int) -> Found | None:
    return Found(SAID, note="The folder is rollback_repo, in the inventory.") if len(words) == 2 else None


def _or_ask(word: str, asked: str, line: int) -> str:
    return question(f"{asked} (line {line})?") if _OPEN in word else word


_SUBJECTS: dict[str, t.Callable[[list[str], list[str], int], Found | None]] = {
    "git": _git,
    "alembic": _alembic,
    "systemctl": _systemctl,
    "service": _service,
    "supervisorctl": _supervisorctl,
    "curl": _curl,
    "wget": _wget,
    "pytest": _pytest,
    "bash": _script,
    "sh": _script,
    "cd": _cd,
    **dict.fromkeys(("uv", "poetry", "pip", "pip3", "pipenv", "pdm", "npm", "yarn", "pnpm", "bundle"), _install),
}

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The phases of a plan as functions of the break-glass script. Private."""

from __future__ import annotations

import datetime
import re
import shlex
import typing as t

from ..module_utils._git_rehearsal import AUTHOR
from ..module_utils._redact import redact
from ..module_utils._words import listed
from ._report_script_checks import check_lines
from ._report_script_services import service_lines
from ._report_shell import Part, Phase, Values, filled, word, words

_AUTHOR = "changeops.rollback <changeops.rollback@localhost>"


class Builder:
    """Makes a `Part` of each phase. ``phases`` are in the script's order."""

    def __init__(self, phases: t.Sequence[Phase], host: str) -> None:
        self.phases, self.host = phases, host
        self._services: dict[str, Values] = {}
        self._names = [phase.name if phase.ours and self._here(phase) else "" for phase in phases]
        for phase in phases:
            for one in self._listed(phase):
                self._services.setdefault(one["name"], one)

    def parts(self) -> list[Part]:
        """All of them."""
        return [self._part(phase) for phase in self.phases]

    def services(self) -> list[str]:
        """The functions that know each service."""
        lines = [f"SERVICES=({words(self._services)})"]
        for number, service in enumerate(self._services.values()):
            lines += service_lines(number, service)
        return lines

    def stopped_elsewhere(self) -> list[str]:
        """The other hosts that the plan stops services on."""
        stops = [phase for phase in self.phases if phase.ours and phase.name == "service_stop"]
        return [host for phase in stops for host in phase.values.get("host_names") or [] if host != self.host]

    def _here(self, phase: Phase) -> bool:
        return self.host in phase.values.get("host_names", [self.host])

    def _part(self, phase: Phase) -> Part:
        if not self._here(phase):
            hosts = listed(phase.values["host_names"]) or "no host"
            return Part(
                phase.name,
                f"not on this host, but on {hosts}",
                by_hand=f"The script of {hosts} does {phase.name}. Wait here until it has.",
            )
        make = getattr(self, f"_{phase.name}", None) if phase.ours else None
        part: Part = (make or self._unknown)(phase)
        if part.phase or part.look or part.undo:
            part.account, part.enter = phase.account, phase.enter() + part.enter
        return part

    def _unknown(self, phase: Phase) -> Part:
        given = listed(list(phase.values.get("vars") or {}))
        return Part(
            phase.name,
            f"by hand, what the role {phase.values['role']} does",
            by_hand=(
                f"This script cannot do what the role {phase.values['role']} does. Do by hand on {self.host} what its "
                f"tasks/main.yml says{f', with {given} as the plan has them' if given else ''}."
            ),
            back=f"by hand, what tasks/recover.yml of the role {phase.values['role']} says",
        )

    # --- the phases of this collection

    def _manual_step(self, phase: Phase) -> Part:
        back = str(phase.get("recover") or "take back what was done by hand")
        return Part(phase.name, "a person does it", by_hand=str(phase.get("instructions", "")), back=back)

    def _run_script(self, phase: Phase) -> Part:
        given, recover = str(phase.get("script", "")), str(phase.get("recover") or "")
        where = word(phase.get("directory", "", "rollback_repo") or "/")
        shown = shlex.join([given, *map(str, phase.get("arguments", []))])
        again = f"{word(recover)} {words(phase.get('recover_arguments', []))}".rstrip()
        run = f"{where} {word(given)} {words(phase.get('arguments', []))}".rstrip()
        return Part(
            phase.name,
            f"run {shown}",
            look=[f"has_script {word(one)}" for one in (given, recover) if one],
            phase=[f"run_script {word(phase.get('creates') or '')} {run}"],
            undo=[f"run_back {where} {again}" if recover else "say '  What it did stays as it is.'"],
            back=f"run {shlex.join([recover, *map(str, phase.get('recover_arguments', []))])}"
            if recover
            else "there is no script that puts it back",
        )

    def _backup(self, phase: Phase) -> Part:
        repo = phase.get("repo", "", "rollback_repo")
        paths = [
            str(one["path"] if isinstance(one, dict) else one) for one in phase.get("paths", [], "rollback_config")
        ]
        whole = [path if path.startswith("/") else f"{repo}/{path}" for path in paths]
        lines = []
        if repo:
            lines.append('in_git log -1 --no-show-signature --format=%H > "$HERE/commit"')
        if whole:
            lines.append(_tar("files", "", (path.lstrip("/") for path in whole)))
        archive = [str(path).lstrip("/") for path in phase.get("archive", [])]
        if archive:
            patterns = " ".join(f"--exclude={word(pattern)}" for pattern in phase.get("exclude", []))
            lines.append(_tar("archive", f"{patterns} ", archive))
        for number, database in enumerate(_backup_databases(phase), 1):
            lines.append(f"keep_database database-{number} {database}")
        lines.append('say "  What was kept is in $HERE"')
        return Part(
            phase.name,
            "keep config and state in a directory of its own",
            enter=[f"REPO={word(repo)}"] if repo else [],
            phase=lines,
        )

    def _service_stop(self, phase: Phase) -> Part:
        numbers = self._numbers(phase)
        drain, undrain = self._drain(phase)
        stop = f'stop_services "$HERE/running" {numbers}'
        start = f'start_services "$HERE/running" {numbers}'
        return Part(
            phase.name,
            f"stop {listed([one['name'] for one in self._listed(phase)])}",
            look=[f"know_services {numbers}"] if numbers else [],
            phase=[*drain, stop],
            undo=[start, *undrain],
            back=f"start {listed([one['name'] for one in self._listed(phase)])}",
        )

    def _service_start(self, phase: Phase) -> Part:
        numbers = self._numbers(phase)
        stops = [n for n, name in enumerate(self._names, 1) if name == "service_stop"]
        noted = f'"$KEPT/{stops[0]}/running"' if stops else '"$HERE/running"'
        _drain, undrain = self._drain(phase)
        return Part(
            phase.name,
            f"start {listed([one['name'] for one in self._listed(phase)])}",
            phase=[f"start_services {noted} {numbers}", *undrain],
            undo=[f'stop_services "$HERE/stopped-again" {numbers}'],
            back=f"stop {listed([one['name'] for one in self._listed(phase)])}",
        )

    def _alembic_downgrade(self, phase: Phase) -> Part:
        old, new = (_revisions(phase.get(name)) for name in ("from", "to"))
        project = phase.get("project", "", "rollback_repo")
        options = ["-c", phase.get("config", "alembic.ini"), "-n", phase.get("section", "alembic")]
        options += [part for pair in phase.get("x", []) for part in ("-x", pair)]
        enter = [
            f"PROJECT={word(project)}",
            f"PYTHON=({words(phase.get('python', []))})",
            f"ALEMBIC_OPTIONS=({words(options)})",
        ]
        title = f"downgrade the database from {listed(old)} to {listed(new)}"
        databases = self._databases()
        single = len(old) == len(new) == 1 and re.fullmatch(r"\w+", new[0]) and not phase.get("release")
        if not single or not databases:
            why = (
                "This script does not know where the database is, as neither backup_databases nor a check names it"
                if single
                else "This script downgrades from one absolute revision to another"
            )
            return Part(
                phase.name,
                f"by hand, {title}",
                by_hand=(
                    f"{why}. Do it by hand: keep a copy of the database, as nothing else keeps what the downgrade "
                    f"destroys; then in {project}: alembic downgrade {' '.join(new)}. It stands at {listed(old)} "
                    f"before, and at {listed(new)} after it."
                ),
                back="put your copy of the database back",
            )
        before, after = old[0], new[0]
        stops = [number for number, name in enumerate(self._names) if name == "service_stop"]
        running = [f"refuse_running {self._numbers(self.phases[stops[0]])}"] if stops else []
        return Part(
            phase.name,
            title,
            enter=[*enter, f"DATABASES=({' '.join(databases)})"],
            look=[f"find_databases {word(before)} {word(after)}"],
            phase=[*running, f"downgrade {word(before)} {word(after)}"],
            undo=[f"upgrade_again {word(before)}"],
            back=f"put the copy @HERE@/database-* of the database back in its place, then it is at {before} again",
        )

    def _git_revert(self, phase: Phase) -> Part:
        repo, method = phase.get("repo", "", "rollback_repo"), phase.get("method", "revert")
        if method == "release":
            to = phase.get("to") or f"the one before {phase.get('from')}"
            return Part(
                phase.name,
                "by hand, switch the release",
                by_hand=f"Point the symlink `current` of {repo} to the release {to}: ln -sfnT RELEASE {repo}/current",
                back=f"point the symlink `current` of {repo} to the release that it was at",
            )
        install = phase.get("install", [], "rollback_install")
        installs = [f'(umask "$USUAL_UMASK" && cd -- "$REPO" && {words(_listed(install))})'] if install else []
        if method == "checkout":
            target = phase.get("to", "")
            title = f"go back to {target}"
            look = [
                "note_code || return 0",
                f'in_git rev-parse --verify {word(target)}"^{{commit}}" > "$HERE/target.new"',
                'mv -- "$HERE/target.new" "$HERE/target"',
            ]
            how, back = (
                'checkout --detach "$(< "$HERE/target")"',
                'checkout "$(cat "$HERE/branch" "$HERE/found" | head -n 1)"',
            )
        else:
            commits = [str(commit) for commit in _listed(phase.get("commits", []))]
            title = f"revert {listed(commits)} as one commit"
            name, mail = _author(str(phase.get("author", _AUTHOR)))
            default = f"Roll back {phase.plan['change']}: {phase.plan['title']}"
            subject = " ".join(str(phase.get("subject") or default).split())
            when = _moment(str(phase.get("date") or phase.plan.get("date") or ""))
            merge = str(int(phase.get("mainline", 0) or 0))
            look = [
                "note_code || return 0",
                f"find_commits {words(commits)}",
                f"make_revert {words([name, mail, when, merge, subject])}",
            ]
            how, back = 'merge --ff-only "$(< "$HERE/target")"', 'reset --keep "$(< "$HERE/found")"'
        switch, again = '"$(< "$HERE/found")" "$(< "$HERE/target")"', '"$(< "$HERE/target")" "$(< "$HERE/found")"'
        remote, branch = phase.get("push_remote", ""), phase.get("push_branch", "")
        push = f"When all is verified, push the revert: git -C {repo} push {remote} HEAD:{branch}"
        return Part(
            phase.name,
            f"{title}{f', then {shlex.join(map(str, _listed(install)))}' if install else ''}",
            enter=[f"REPO={word(repo)}"],
            look=[*look, "refuse_changed"],
            phase=[f"switch_code {switch} {how}", *installs, *([f"say {word('  ' + push)}"] if remote else [])],
            undo=[f"switch_code {again} {back}", *installs],
            back=(
                f"git -C {shlex.quote(str(repo))} {back.replace('$HERE', '@HERE@')}"
                + (
                    f" && (cd {shlex.quote(str(repo))} && {redact(shlex.join(map(str, _listed(install))))})"
                    if install
                    else ""
                )
            ),
        )

    def _config_restore(self, phase: Phase) -> Part:
        repo = phase.get("repo", "", "rollback_repo")
        in_git, look, lines, by_hand = [], [], [], []
        for given in phase.get("paths", [], "rollback_config"):
            item = given if isinstance(given, dict) else {"path": given}
            path = str(item["path"])
            if any(item.get(name) is not None for name in ("content", "template", "keys")):
                kind = next(name for name in ("keys", "content", "template") if item.get(name) is not None)
                which = f" {listed(item['keys'])}" if kind == "keys" else ""
                by_hand.append(
                    f"Set the {kind}{which} of {path} as config_restore_paths (rollback_config) has them; they may be "
                    "secret, so they are not in this script."
                )
            elif item.get("source"):
                look.append(f"[[ -r {word(item['source'])} ]] || die {word('There is no kept copy ' + item['source'])}")
                lines.append(f"put {word(item['source'])} {word(path)} {words(_argv(item.get('validate')))}".rstrip())
                owner = f"{item.get('owner') or ''}:{item.get('group') or ''}".rstrip(":")
                lines += [f"chown -- {word(owner)} {word(path)}"] if owner else []
                lines += [f"chmod -- {word(item['mode'])} {word(path)}"] if item.get("mode") else []
            else:
                relative = path[len(str(repo)) + 1 :] if path.startswith(f"{repo}/") else path
                in_git.append(relative.rstrip("/"))
        if in_git:
            commit = phase.get("commit", "")
            commits = [str(one) for one in _listed(phase.get("commits") or phase.plan.get("commits") or [])]
            look += [
                f"find_commits {words(commits)}" if commits else ': > "$HERE/commits"',
                f'in_git rev-parse --verify {word(commit)}"^{{commit}}" > "$HERE/base"'
                if commit
                else 'in_git rev-parse --verify "$(tail -n 1 "$HERE/commits")^1" > "$HERE/base"',
            ]
            lines.insert(0, f"restore_from_git {words(in_git)}")
        valid = _argv(phase.get("validate"))
        lines += [f"{words(valid)} || die {word('The config is not valid, says ' + valid[0])}"] if valid else []
        paths = [
            str(given["path"] if isinstance(given, dict) else given)
            for given in phase.get("paths", [], "rollback_config")
        ]
        return Part(
            phase.name,
            f"restore {listed(paths)}",
            enter=[f"REPO={word(repo)}"] if repo else [],
            look=look,
            phase=lines,
            undo=["put_back"],
            by_hand="\n".join(by_hand),
            back="the copies @HERE@/*.file go back to the paths in @HERE@/*.path",
        )

    def _verify(self, phase: Phase) -> Part:
        numbers = {name: number for number, name in enumerate(self._services)}
        look, lines, lasting, by_eye = check_lines(phase.get("checks", [], "rollback_checks"), numbers)
        stays = float(phase.get("stays_healthy", 3.0))
        end = ['((FAULTS == 0)) || die "$FAULTS of the required checks do not hold."']
        if lasting and stays:
            lines += [*end, f"say {word(f'  It has to stay so for {stays:g} s')}", f"sleep {stays:g}", *lasting]
        shown = [f"say {word('  Not looked at by this script, so look yourself: ' + one)}" for one in by_eye]
        return Part(phase.name, "check that the app is well", look=look, phase=[*lines, *shown, *end])

    # --- what they need

    def _listed(self, phase: Phase) -> list[Values]:
        """The services of a phase that stops or starts or checks them."""
        if phase.ours and phase.name in ("service_stop", "service_start", "verify"):
            return list(phase.get("services", [], "rollback_services"))
        return []

    def _numbers(self, phase: Phase) -> str:
        names = list(self._services)
        return " ".join(str(names.index(one["name"])) for one in self._listed(phase))

    def _drain(self, phase: Phase) -> tuple[list[str], list[str]]:
        drain = [words(argv) for argv in phase.get("drain", [], "rollback_drain")]
        wait = float(phase.get("drain_wait", 0, "rollback_drain_wait") or 0)
        undrain = [words(argv) for argv in phase.get("undrain", [], "rollback_undrain")]
        return drain + ([f"sleep {wait:g}"] if drain and wait else []), undrain

    def _databases(self) -> list[str]:
        """The databases that the plan knows of on this host, each once, as words."""
        found = []
        for phase in self.phases:
            if phase.ours and phase.name == "backup":
                found += _backup_databases(phase)
            if phase.ours and phase.name == "verify":
                for check in phase.get("checks", [], "rollback_checks"):
                    for kind in ("revision", "rows", "content", "sql"):
                        database = (check.get(kind) or {}).get("database")
                        if database and not re.match(r"(?!postgres)\w+(\+\w+)?://", str(database)):
                            found.append(filled(database))
        return list(dict.fromkeys(found))


def _tar(name: str, options: str, paths: t.Iterable[str]) -> str:
    """Pack paths below / as $HERE/NAME.tar.gz, once."""
    make = f'tar -C / -czf "$HERE/{name}.part" {options}-- {words(paths)}'
    return f'[[ -e $HERE/{name}.tar.gz ]] || {{ {make} && mv -- "$HERE/{name}.part" "$HERE/{name}.tar.gz"; }}'


def _backup_databases(phase: Phase) -> list[str]:
    found = []
    for item in phase.get("databases", []):
        if item.get("postgresql_env"):
            found.append(filled(f"${{{item['postgresql_env']}}}"))
        elif item.get("postgresql"):
            url = str(item["postgresql"])
            found.append(word(url if "://" in url else f"service={url}"))
        else:
            found.append(word(item["sqlite"]))
    return found


def _revisions(value: t.Any) -> list[str]:
    return [part.strip() for one in _listed(value) for part in str(one).split(",")]


def _listed(value: t.Any) -> list[t.Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value in (None, "") else [value]


def _argv(value: t.Any) -> list[str]:
    """A command that may be given as text."""
    return shlex.split(value) if isinstance(value, str) else [str(one) for one in value or []]


def _moment(date: str) -> str:
    """An ISO date as Unix time, UTC unless it says otherwise; empty for an empty one."""
    if not date.strip():
        return ""
    when = datetime.datetime.fromisoformat(date.strip())
    return str(int((when if when.tzinfo else when.replace(tzinfo=datetime.UTC)).timestamp()))


def _author(text: str) -> tuple[str, str]:
    """Name and mail of ``Name <mail>``."""
    match = AUTHOR.match(text.strip()) or t.cast("re.Match[str]", AUTHOR.match(_AUTHOR))
    return match.group("name").strip(), match.group("mail")

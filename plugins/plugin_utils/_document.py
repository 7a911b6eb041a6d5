# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a rollback document into its changes, and remember of each line where it went. Pure functions. Private.

The document is Markdown by the template of rollback plans, in its long form or its short one. It is read line by line,
as it is written line by line; so each line has a number, and none can get lost.
"""

from __future__ import annotations

import re
import typing as t

from ._document_model import (
    COMMENT,
    FORM,
    FORM_BOXES,
    PHASE,
    PLAN,
    SECTIONS,
    Change,
    Code,
    Document,
    DocumentError,
    Step,
    filled,
)

_HEADING = re.compile(r"#{1,6}\s+(.*?)\s*#*")
_BOX = re.compile(r"(?:[-*+]|\d+[.)])\s+\[([ xX])\]\s*(.*)")
_ITEM = re.compile(r"(?:[-*+]|\d+[.)])\s+(.*)")
_FENCE = re.compile(r"(`{3,}|~{3,})\s*([\w+-]*).*")
_FIELD = re.compile(r"(?:[-*+]\s+)?(?:\*\*|__)([^*_:]{2,40}):?(?:\*\*|__)\s*:?\s*(.*)")
_RULE = re.compile(r"[-*_]{3,}|\|?[\s:|-]*-[\s:|-]*\|?")
_CHANGE = re.compile(
    r"(?:change\s+|rollback plan:?\s+)?([A-Z]{1,10}-?\d{1,9}|[A-Z]{1,10}-?_{2,})\s*(?:[:\u2013\u2014]|-(?=\s))\s*(.*)",
    re.I,
)
_ID = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_STEP = re.compile(r"step\s+\d+\s*[:.\u2013\u2014-]?\s*(.*)", re.I)
_SHELLS = ("", "bash", "sh", "shell", "zsh", "console", "text")


def read_document(data: bytes) -> Document:
    """Read the bytes of a document.

    :raises DocumentError: it is not text, or says nothing of any change.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentError(f"Line {line} is not UTF-8 text. Save the document as UTF-8.") from error
    reader = _Reader(re.split(r"\r\n|\r|\n", text))
    reader.read()
    if not reader.document.changes:
        raise DocumentError(
            "It names no change. A change begins with a heading such as `### C001: Add invoice totals`, or with a line "
            "`**Change ID**: C001`."
        )
    return reader.document


class _Reader:
    """Goes through the lines once; what it is in the midst of is its state."""

    def __init__(self, lines: t.Sequence[str]) -> None:
        self.document = Document()
        self._lines = [
            re.sub(r"[^\t\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]", "�", line)
            for line in lines
        ]
        self._lines = [
            line.replace("\xa0", " ").replace("\u2028", " ").replace("\u2029", " ").replace("\x85", " ")
            for line in self._lines
        ]
        self._change: Change | None = None
        self._section = ""
        self._before: list[tuple[int, str]] = []  # what stands before the first change
        self._summary: dict[str, tuple[int, list[str]]] = {}
        self._columns: list[str] = []
        self._orphan = False  # in a section whose ID is not filled in, or not usable

    def read(self) -> None:
        fence, form, shell = "", "", True
        for number, raw in enumerate(self._lines, 1):
            text = raw.strip()
            opened = _FENCE.fullmatch(text)
            if fence and text.startswith(fence) and not text.strip(fence[0]):
                fence = ""
                self._put(number, FORM)
            elif fence and text:
                self._code(Code(number, raw.expandtabs(4), shell))
            elif opened and not fence:
                language = opened[2].lower()
                # A form in a block of Markdown is read as if it stood outside.
                self._put(number, FORM)
                if language in ("markdown", "md"):
                    form = opened[1]
                elif form and text == form:
                    form = ""
                else:
                    fence, shell = opened[1], language in _SHELLS
            elif text:
                self._line(number, text)
        self._end()

    def _put(self, number: int, place: str) -> None:
        self.document.places[number] = place

    def _comment(self, number: int, text: str) -> None:
        self._put(number, COMMENT)
        (self._change.comments if self._change else self._before).append((number, text))

    def _line(self, number: int, text: str) -> None:
        heading, box, item = _HEADING.fullmatch(text), _BOX.fullmatch(text), _ITEM.fullmatch(text)
        field = _FIELD.fullmatch(text)
        if not text.startswith("|"):
            self._columns = []
        if heading:
            self._heading(number, heading[1].strip("*_ "))
        elif _RULE.fullmatch(text) or re.fullmatch(r"`{3,}|~{3,}", text):
            self._put(number, FORM)
        elif text.startswith("|"):
            self._row(number, [cell.strip() for cell in re.split(r"(?<!\\)\|", text.strip("|"))], text)
        elif self._orphan:
            self._lost(number, text)
        elif box:
            self._box(number, box[1] in "xX", box[2].strip())
        elif field and self._field(number, field[1].strip().lower(), field[2].strip()):
            pass
        elif re.match(r"if no,? explain why\s*:", text, re.I) and self._change:
            self._change.reason = filled(text.partition(":")[2])
            self._put(number, PLAN if self._change.reason else FORM)
        elif item:
            self._item(number, item[1].strip(), text)
        else:
            self._prose(number, text)

    def _lost(self, number: int, text: str) -> None:
        rest = re.sub(r"\*\*[^*]+\*\*:?", "", text)
        bare = re.sub(r"[-*+]\s+\[[ xX]\]|\d+[.)]\s", "", rest)
        name = text.lstrip("# ").partition(":")[0].lower()
        if not filled(bare) or (name in SECTIONS and not filled(text.partition(":")[2])) or name == "time estimate":
            self._put(number, FORM)
        else:
            self.document.look_at(number, text, "belongs to a change without an ID of its own")

    def _heading(self, number: int, text: str) -> None:
        begins = _CHANGE.fullmatch(text)
        name, _colon, value = text.partition(":")
        known = " ".join(name.lower().split())
        step = _STEP.fullmatch(text)
        if begins:
            self._begin(number, begins[1], begins[2], text)
        elif known == "rollback plan template" and not value:
            self._section, self._orphan, self._change = "", False, None
            self._put(number, FORM)
        elif self._orphan:
            self._lost(number, f"# {text}")
        elif self._change and known == "rollback possible":
            self._possible(self._change, number, value)
        elif self._change and known in ("time estimate", "rollback time estimate") and value:
            self._section = "times"
            self._time(self._change, number, "total", value, text)
        elif known in SECTIONS and not filled(value):
            self._section = SECTIONS[known]
            self._put(number, FORM)
        elif self._change and (step or self._section == "procedure"):
            self._section = "procedure"
            self._change.steps.append(Step((step[1] if step else text) or text, number))
            self._put(number, COMMENT)
        else:
            self._section = "other" if self._change else ""
            self._comment(number, text)

    def _begin(self, number: int, change: str, title: str, text: str) -> None:
        self._section = ""
        twin = next((one for one in self.document.changes if one.id.upper() == change.upper()), None)
        if not _ID.fullmatch(change) or "__" in change or twin:
            self._orphan, self._change = True, None
            if twin:
                self.document.look_at(number, text, f"{change} stands in line {twin.line} already")
            elif filled(title):
                self.document.look_at(number, text, "the ID of the change is not filled in")
            else:
                self._put(number, FORM)
            return
        self._orphan = False
        self._change = Change(change, number, filled(title))
        self.document.changes.append(self._change)
        self._put(number, PLAN)

    def _field(self, number: int, name: str, value: str) -> bool:
        if name == "change id":
            if not self._change or (filled(value) and value.strip("` ") != self._change.id):
                self._by_field(number, value.strip("` "))
            else:
                self._put(number, PLAN if filled(value) else FORM)
            return True
        if not self._change:
            return False
        if name in ("rollback possible", "possible"):
            self._possible(self._change, number, value)
        elif name in ("date", "implemented by", "rollback method", "method", "title", "change"):
            attribute = {"rollback method": "method", "change": "title"}.get(name, name.replace(" ", "_"))
            setattr(self._change, attribute, filled(value))
            self._put(number, PLAN if filled(value) else FORM)
        elif name in ("commands", "command") and self._section == "procedure":
            self._put(number, FORM)
            if value:
                self._code(Code(number, value.strip("`")))
        elif name in ("complexity", "rollback complexity", "time estimate", "commands"):
            self._comment(number, f"{name}: {value}") if filled(value) else self._put(number, FORM)
        else:
            return False
        return True

    def _by_field(self, number: int, change: str) -> None:
        """A change that has no heading with its ID; the last heading before it is its title then."""
        named = self._change.comments if self._change else self._before
        title = (
            named[-1][1]
            if named and named[-1][0] >= number - 3 and self._lines[named[-1][0] - 1].lstrip().startswith("#")
            else ""
        )
        if title:
            self._put(named.pop()[0], PLAN)
        self._begin(number, change, title, f"Change ID: {change}")

    def _possible(self, change: Change, number: int, value: str) -> None:
        word = filled(value).lower().strip("[]*. ")
        change.possible = (
            True if re.match(r"yes\b|true\b", word) else False if re.match(r"no\b|false\b", word) else None
        )
        rest = re.sub(r"^(yes|true|no|false)\b[\s,:;.\u2013\u2014-]*", "", filled(value), flags=re.I)
        if change.possible is False and rest:
            change.reason = rest
        elif rest:
            change.comments.append((number, f"Rollback possible: {value}"))
        self._put(number, PLAN if change.possible is not None else COMMENT if rest else FORM)

    def _row(self, number: int, cells: list[str], text: str) -> None:
        if not self._columns:
            self._columns = [cell.lower() for cell in cells]
            self._put(number, FORM)
            if not self._columns or not {"change id", "step", "date"} & set(self._columns):
                self._comment(number, text)
            return
        named = dict(zip(self._columns, cells, strict=False))
        if "change id" in named:
            shown = [cell for cell in cells[1:] if filled(cell)]
            if shown and _ID.fullmatch(cells[0].strip("*` ")) and "__" not in cells[0]:
                self._summary[cells[0].strip("*` ")] = (number, cells)
                self._put(number, PLAN)
            elif shown:
                self.document.look_at(number, text, "the ID of the change is not filled in")
            else:
                self._put(number, FORM)
        elif "step" in named and self._change and self._section == "times":
            self._time(self._change, number, cells[0].strip("* "), cells[1] if len(cells) > 1 else "", text)
            if any(filled(cell) for cell in cells[2:]):
                self._change.comments.append((number, text))
        elif any(filled(cell) for cell in cells):
            self._comment(number, text)
        else:
            self._put(number, FORM)

    def _time(self, change: Change, number: int, step: str, value: str, text: str) -> None:
        value = value.strip("* ")
        if not re.search(r"\d", value):
            self._put(number, FORM if not filled(value) else COMMENT)
            if filled(value):
                change.comments.append((number, text))
        elif step.lower() == "total":
            self._comment(number, text)
        else:
            change.times[step.lower()] = (number, value)
            self._put(number, PHASE)

    def _box(self, number: int, ticked: bool, text: str) -> None:
        own, mark = filled(text) and text.lower() not in FORM_BOXES, "x" if ticked else " "
        change, section = self._change, self._section
        if not filled(text):
            self._put(number, FORM)
        elif change and section == "method":
            method = {"manual rollback": "manual", "automated rollback": "automated", "script rollback": "script"}.get(
                text.lower(), "git_revert" if text.lower() == "git revert" else ""
            )
            if ticked and method and change.method in ("", "git_revert"):
                change.method = method
                self._put(number, PLAN)
            elif ticked or not method:
                self._comment(number, f"Rollback method: [{mark}] {text}")
            else:
                self._put(number, FORM)
        elif change and section == "complexity":
            self._comment(number, f"Rollback complexity: [x] {text}") if ticked else self._put(number, FORM)
        elif change and section == "procedure":
            self._step(change, number).boxes.append((number, ticked, text))
            self._put(number, COMMENT)
        elif change and section == "validation" and own:
            change.validation.append((number, text))
            self._put(number, PHASE)
        elif change and section == "risks" and (own or ticked):
            change.risks.append((number, text))
            self._put(number, PLAN)
        else:
            self._comment(number, f"[{mark}] {text}")

    @staticmethod
    def _step(change: Change, number: int) -> Step:
        if not change.steps:
            change.steps.append(Step("", number))
        return change.steps[-1]

    def _item(self, number: int, text: str, whole: str) -> None:
        change, section = self._change, self._section
        if change and section == "procedure":
            self._step(change, number).does.append((number, text))
            self._put(number, PHASE)
        elif not filled(text):
            self._put(number, FORM)
        elif change and section in ("risks", "mitigations", "validation"):
            getattr(change, section).append((number, text))
            self._put(number, PHASE if section == "validation" else PLAN)
        else:
            self._comment(number, whole)

    def _prose(self, number: int, text: str) -> None:
        change, section = self._change, self._section
        label = text.lower().strip("*: ") in ("commands", "command")
        if change and section == "procedure" and not label:
            self._step(change, number).prose.append((number, text))
            self._put(number, COMMENT)
        elif label or (not filled(text) and change):
            self._put(number, FORM)
        else:
            self._comment(number, text)

    def _code(self, code: Code) -> None:
        change, section = self._change, self._section
        if self._orphan or not change:
            self.document.look_at(code.line, code.text, "is code that belongs to no change")
        elif section == "script":
            change.script.append(code)
            self._put(code.line, COMMENT)
        elif section in ("procedure", "validation", ""):
            if section == "validation" and (not change.steps or change.steps[-1].name != "Validation"):
                change.steps.append(Step("Validation", code.line))
            self._step(change, code.line).does.append(code)
            self._put(code.line, PHASE)
        else:
            change.comments.append((code.line, code.text))
            self.document.look_at(code.line, code.text, "is code outside the procedure; it is a comment", COMMENT)

    def _end(self) -> None:
        """Bring what stands in the summary, and before the first change, to the changes."""
        known = {change.id: change for change in self.document.changes}
        for name, (number, cells) in self._summary.items():
            if name not in known:
                known[name] = Change(name, number)
                self.document.changes.append(known[name])
            change = known[name]
            title, possible, method, status = [filled(cell) for cell in [*cells[1:], "", "", "", ""][:4]]
            change.title, change.method = change.title or title, change.method or method
            if change.possible is None and possible:
                change.possible = {"yes": True, "no": False}.get(possible.lower().strip("[] "))
            if status and status != "[ ]":
                change.comments.insert(0, (number, f"Status: {cells[-1]}"))
        for number, text in reversed(self._before):
            if self.document.changes:
                self.document.changes[0].comments.insert(0, (number, text))

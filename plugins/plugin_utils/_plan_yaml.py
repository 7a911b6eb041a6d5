# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read one YAML file into a tree that knows the line of everything in it. Private.

The tree is built from parser events, not with a YAML constructor: so a fault has its line, several faults are found at
once, duplicate keys are seen, and nothing in the file can make the reader recurse or expand without limit.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

import yaml

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_SHOWN = 30

_TOO_DEEP = f"Values are nested more than {MAX_DEPTH} deep. No plan needs that."
_Loader: t.Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_JINJA = re.compile(r"\{\{|\{%|\{#")
_NUMBER_TAGS = (_TAG + "int", _TAG + "float")
_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,18})?")
_QUESTION = re.compile(r"^\s*QUESTION:\s*(.*?)\s*$", re.MULTILINE)
_ASKS = "Not answered yet: "

Scalar = str | int | float | bool | None


class PlanError(Exception):
    """What is wrong with a plan, or with the way it was asked for.

    ``faults``: (line, text) in the order of the file; line 0 is the whole file, or no file at all.
    ``str()`` has one line for each, ``changes/C001.yml:12: ...``.
    """

    def __init__(self, faults: t.Sequence[tuple[int, str]], path: str = "") -> None:
        self.faults = sorted(faults, key=lambda fault: fault[0])
        self.path = path
        super().__init__(self.path, self.faults)

    def __str__(self) -> str:
        lines = [self._show(line, text) for line, text in self.faults[:MAX_SHOWN]]
        if len(self.faults) > MAX_SHOWN:
            lines.append(f"... and {len(self.faults) - MAX_SHOWN} more faults.")
        return "\n".join(lines)

    @property
    def in_short(self) -> str:
        """The first fault, and how many more there are."""
        more = len(self.faults) - 1
        return self._show(*self.faults[0]) + (f" And {more} more." if more else "")

    def _show(self, line: int, text: str) -> str:
        where = ":".join([self.path] * bool(self.path) + [str(line)] * bool(line))
        return f"{where}: {text}" if where else text


def question(text: str) -> str:
    """Give the value that stands in a plan for what only its author knows; a plan that holds one is refused."""
    return f"QUESTION: {text}"


def answers_first(faults: t.Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """Leave out what else is wrong in a line with a question: that it is no date, say, tells nobody anything."""
    asked = {line for line, text in faults if text.startswith(_ASKS)}
    return [(line, text) for line, text in faults if line not in asked or text.startswith(_ASKS)]


@dataclasses.dataclass(frozen=True)
class Node:
    """A value of the file.

    ``line``: where it stands, for a value of a mapping the line of its key. ``value``: a dict of nodes, a list of nodes
    or a scalar. ``text``: a scalar as it was written, without quotes.
    """

    line: int
    value: dict[str, Node] | list[Node] | Scalar
    text: str = ""

    def describe(self) -> str:
        """Name the value for a message: its text, or what kind of thing it is."""
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "nothing"
        return repr(self.text if len(self.text) <= 60 else self.text[:57] + "...")

    def plain(self, as_text: t.Callable[[str], bool] = lambda key: False) -> t.Any:
        """Give dicts, lists and scalars without lines.

        :arg as_text: says for a key whether numbers below it stay the text that was written.
        """
        if isinstance(self.value, dict):
            return {key: (node.texts() if as_text(key) else node.plain(as_text)) for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain(as_text) for node in self.value]
        return self.value

    def texts(self) -> t.Any:
        """As `plain`, with every number below as the text that was written."""
        if isinstance(self.value, dict):
            return {key: node.texts() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.texts() for node in self.value]
        return self.value if self.value is None or isinstance(self.value, bool) else self.text


def read(data: bytes, loader: t.Any = _Loader) -> tuple[Node | None, list[tuple[int, str]]]:
    """Read a file's bytes. Gives the tree, None when there is none, and the faults found on the way.

    :arg loader: PyYAML's loader class; the one in C where it is available.
    """
    if len(data) > MAX_BYTES:
        return None, [(0, f"The file has more than {MAX_BYTES} bytes, too many for a plan. Is this the right file?")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return None, [(line, "The file is not UTF-8 text. Save it as UTF-8.")]
    faults: list[tuple[int, str]] = []
    try:
        return _Reader(loader(text), text, faults).document(), faults
    except _StopReading:
        return None, faults
    except yaml.MarkedYAMLError as error:
        faults.append(_syntax_fault(error, text))
    except yaml.YAMLError as error:
        # The reader names a character that YAML does not allow; it knows no line.
        faults.append((0, f"The file holds a character that YAML does not allow: {' '.join(str(error).split())}"))
    return None, faults


class _StopReading(Exception):
    """A fault after which the rest of the file is not worth reading."""


class _Reader:
    def __init__(self, loader: t.Any, source: str, faults: list[tuple[int, str]]) -> None:
        self._loader = loader
        self._source = source
        self._faults = faults

    def document(self) -> Node | None:
        """Read the only document of the file."""
        self._next()
        if not self._loader.check_event(yaml.DocumentStartEvent):
            return None
        self._next()
        node = self._node(self._next(), 0)
        self._next()
        if self._loader.check_event(yaml.DocumentStartEvent):
            line = self._line(self._next())
            self._faults.append((line, "A second document begins here. Put each plan in a file of its own."))
        return node

    def _next(self) -> t.Any:
        return self._loader.get_event()

    @staticmethod
    def _line(event: t.Any) -> int:
        return int(event.start_mark.line) + 1

    def _stop(self, line: int, text: str) -> t.NoReturn:
        self._faults.append((line, text))
        raise _StopReading

    def _node(self, event: t.Any, depth: int) -> Node:
        line = self._line(event)
        if depth > MAX_DEPTH:
            self._stop(line, _TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            self._stop(line, f"'*{event.anchor}' is an alias. Write the value out: a plan is read from top to bottom.")
        if event.tag not in (None, "!"):
            text = f"'{event.tag}' is a YAML tag. Take it out: a plan holds plain values, and secrets go in group_vars."
            self._faults.append((line, text))
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, line)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not self._loader.check_event(yaml.SequenceEndEvent):
                items.append(self._node(self._next(), depth + 1))
            self._next()
            return Node(line, items)
        return self._mapping(line, depth)

    def _mapping(self, line: int, depth: int) -> Node:
        values: dict[str, Node] = {}
        jinja = ""
        while not self._loader.check_event(yaml.MappingEndEvent):
            event = self._next()
            key_line = self._line(event)
            key = self._node(event, depth + 1)
            value = self._node(self._next(), depth + 1)
            if isinstance(key.value, (dict, list)):
                jinja = self._complex_key(key_line)
            elif key.text in values:
                first = values[key.text].line
                self._faults.append((key_line, f"`{key.text}` stands in line {first} already. Keep one of the two."))
            else:
                values[key.text] = Node(key_line, value.value, value.text)
        self._next()
        return Node(line, jinja, jinja) if jinja else Node(line, values)

    def _complex_key(self, line: int) -> str:
        """Name the fault of a key that is no word. Jinja without quotes looks like one; give its text."""
        source = "".join(self._source.splitlines()[line - 1 : line]).strip()
        if _JINJA.search(source):
            self._faults.append((line, _jinja_fault(source)))
            return source
        self._faults.append((line, "A key is one word. Write `key: value`."))
        return ""

    def _scalar(self, event: t.Any, line: int) -> Node:
        text = str(event.value)
        if _JINJA.search(text):
            self._faults.append((line, _jinja_fault(text)))
        for asked in _QUESTION.findall(text):
            words = asked or "what goes here?"
            words += "" if words.endswith(("?", ".", "!")) else "."
            self._faults.append((line, f"{_ASKS}{words} Write the answer in place of the question."))
        tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit)
        return Node(line, scalar(tag, text), text)


def scalar(tag: str, text: str) -> Scalar:
    """Give a scalar's value.

    A number is one only when it would be written the same way again. YAML takes 0123456, 12:30:45, 1_0, 0x1f and 1.10
    for numbers too; in a plan those are commit hashes, times and versions, so they stay text. So does a date.
    """
    if tag == _TAG + "null":
        return None
    if tag == _TAG + "bool":
        return text.lower() in ("yes", "true", "on")
    if tag in _NUMBER_TAGS and _NUMBER.fullmatch(text):
        number = float(text) if "." in text else int(text)
        if repr(number) == text:
            return number
    return text


def _jinja_fault(text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"'{shown}' holds Jinja. Values of a plan are literals: write the value itself, or set it in group_vars."


def _syntax_fault(error: yaml.MarkedYAMLError, text: str) -> tuple[int, str]:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 0
    source = "".join(text.splitlines()[line - 1 : line]) if line else ""
    problem = error.problem or "it cannot be read"
    if _JINJA.search(source):
        return line, _jinja_fault(source.strip())
    if "nesting depth" in problem:  # the parser in C has a limit of its own, and looks ahead
        return line, _TOO_DEEP
    if "\t" in source[: len(source) - len(source.lstrip())]:
        return line, "The line begins with a tab. Indent with spaces."
    if "mapping values are not allowed" in problem:
        return (
            line,
            "This is not YAML: there is a second colon. Put text with a colon in quotes, as in title: 'Add: totals'.",
        )
    return (
        line,
        f"This is not YAML: {problem}. Check the indentation, the quotes and the brackets here and in the line above.",
    )

# Copyright: changeops.rollback contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines that move at the foot of a terminal. Needs Rich. Private to this collection."""

from __future__ import annotations

import contextlib
import sys
import threading
import typing as t

from ._progress import Board, clock

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text
except ImportError:
    HAS_RICH = False
    Console = object  # type: ignore[assignment,misc]
else:
    HAS_RICH = True

ROOMY = 60  # columns, below which words are left out
FRAME_SECONDS = 0.25


def frame(board: Board, task: str, now: float, width: int) -> t.Any:
    """What moves, for Rich: the phase at work with its bar, and how far the whole is.

    :arg task: what is done outside phases.
    """
    piece = board.piece
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width // 2, 10))
    table.add_column(ratio=1)
    table.add_column(no_wrap=True, justify="right")
    if piece is None:
        table.add_row(Text(task), "", "")
    else:
        elapsed = now - piece.began
        counts = piece.counted(len(piece.done), short=width < ROOMY)
        of = "/" if width < ROOMY else " of "
        times = f"{clock(elapsed)}{of}{clock(piece.expected)}" if piece.expected is not None else clock(elapsed)
        if piece.together:
            drawn = ProgressBar(total=max(piece.total, 1), completed=len(piece.done), width=None)
        elif piece.expected:
            # It is full when it is over, and not before.
            drawn = ProgressBar(total=1.0, completed=min(elapsed / piece.expected, 0.97), width=None)
        else:
            drawn = ProgressBar(total=None, pulse=True, animation_time=now)
        table.add_row(Text(piece.title, style="bold"), drawn, Text(f"{counts} {times}"))
    foot = Text(board.overall(now, short=width < ROOMY), style="dim", no_wrap=True, overflow="ellipsis")
    return Group(table, foot)


class _Console(Console):
    """A console that leaves the cursor where it can be seen: a run that is killed cannot show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class Above:
    """Stands for a stream while the bar moves: what is written to it comes above the bar."""

    def __init__(self, below: Bar, stream: t.Any) -> None:
        self._bar, self._stream, self._held = below, stream, ""

    def write(self, text: str) -> int:
        """Show whole lines; hold what has no end yet."""
        with self._bar.lock:
            whole, end, self._held = (self._held + text).rpartition("\n")
            if end:
                self._bar.print(whole)
        return len(text)

    def flush(self) -> None:
        """Show what was held."""
        with self._bar.lock:
            held, self._held = self._held, ""
            if held:
                self._bar.print(held)
            self._stream.flush()

    def __getattr__(self, name: str) -> t.Any:
        if name == "buffer":  # whoever wants that writes to the terminal himself: Ansible does, to ask a question
            self._bar.hide()
        return getattr(self._stream, name)


class Bar:
    """The moving lines, drawn anew four times a second by a thread of its own.

    :arg draw: gives what to draw for a width.
    :arg lock: Ansible's own for the terminal. It is held while Ansible forks a worker, so a worker never finds a lock
        of Rich's held by this thread; and while Ansible waits for an answer, so that nothing is drawn over it.
    """

    def __init__(self, draw: t.Callable[[int], t.Any], lock: t.Any, color: bool) -> None:
        self.lock = lock
        self._console = _Console(
            file=sys.stdout, force_terminal=True, force_interactive=True, color_system="auto" if color else None,
            highlight=False, markup=False, emoji=False,
        )  # fmt: skip
        self._live = Live(
            get_renderable=lambda: draw(self._console.width), console=self._console, auto_refresh=False,
            transient=True, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._streams = (sys.stdout, sys.stderr)
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to draw."""
        with self.lock:
            sys.stdout = t.cast(t.TextIO, Above(self, sys.stdout))
            if sys.stderr.isatty():
                sys.stderr = t.cast(t.TextIO, Above(self, sys.stderr))
            self._live.start()
        threading.Thread(target=self._move, name="changeops-progress", daemon=True).start()

    def _move(self) -> None:
        while not self._stop.wait(FRAME_SECONDS):
            with contextlib.suppress(Exception), self.lock:
                if not self._stop.is_set():
                    self._live.start()  # if it was hidden
                    self._live.refresh()

    def print(self, text: str) -> None:
        """Show lines above the bar, as they are: the terminal wraps them, so that they can be copied."""
        self._console.print(Text.from_ansi(text), soft_wrap=True)

    def hide(self) -> None:
        """Take the bar away until the next time that it is drawn."""
        with self.lock:
            self._live.stop()

    def stop(self) -> None:
        """Take the bar away for good. It may be called again, and by a signal's handler."""
        with self.lock:
            if self._stop.is_set():
                return
            self._stop.set()
            above = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, Above)]
            sys.stdout, sys.stderr = self._streams
            for stream in above:
                stream.flush()
            self._live.stop()

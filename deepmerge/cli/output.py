"""Printing: tables for people, JSON for machines, warnings and progress on stderr."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepmerge.names import for_json, for_terminal
from deepmerge.text import GAP, plain_table, size

if TYPE_CHECKING:
    import rich.progress

NEXT = "deepmerge.next"  # in Context.meta: the command to run next
SHOWN = "deepmerge.shown"  # in Context.meta: whether a result has been printed as JSON
VERSION = 1  # of the results of --json that have none of their own
_LAST = 30  # characters that the last column keeps on a narrow terminal
_NAMES = 20  # characters that the other columns of text keep
_NEW_STAGE, _SAME_STAGE = 30.0, 60.0  # seconds between two lines of progress where there is no terminal
_SILENT = 2.0  # seconds that a command may show nothing on a terminal
_WORKING = "working"


@dataclass(frozen=True)
class Console:
    """How a command prints: the options --json, -q and -v."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give a Progress, and clear what it shows at the end."""
        progress = Progress(self.quiet or self.as_json)
        try:
            with progress.ticking():
                yield progress
        finally:
            progress.clear()

    def say(self, line: str) -> None:
        """Print a line of progress on stderr."""
        if not self.quiet:
            click.echo(for_terminal(line), err=True)

    def warn(self, lines: Sequence[str]) -> None:
        """Print warnings on stderr."""
        warn(lines, self.quiet)

    def complain(self, lines: Sequence[str]) -> None:
        """Print on stderr what is wrong where --quiet hides the result that says it."""
        if self.quiet and not self.as_json:
            for line in lines:
                click.echo(for_terminal(line), err=True)

    def next(self, words: Sequence[Any]) -> None:
        """Have `next: deepmerge …` printed as the command's last line, on stderr."""
        if not (self.quiet or self.as_json):
            click.get_current_context().meta[NEXT] = shlex.join(["deepmerge", *map(str, words)])

    def show(self, result: dict[str, Any], text: Callable[[], str]) -> None:
        """Print a result on stdout: as JSON with --json, else as `text` words it."""
        if self.as_json:
            show_json({"version": VERSION, **result})
            click.get_current_context().meta[SHOWN] = True
        elif not self.quiet:
            click.echo(text())


def tinted(word: str, colour: str) -> str:
    """Return a word in a colour, for click.echo, which leaves colours out where there is no terminal."""
    return word if _colourless() else click.style(word, fg=colour, bold=True)


def _colourless() -> bool:
    """Return whether the user wants no colours (no-color.org), or the terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def show_json(value: Any) -> None:
    """Print a value as JSON, in ASCII where stdout takes nothing else."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(for_json(value, ascii_only=not unicode))


def warn(lines: Sequence[str], quiet: bool = False) -> None:
    """Print warnings on stderr, each as one line."""
    if not quiet:
        for line in lines:
            click.echo(f"{tinted('warning:', 'yellow')} {for_terminal(line)}", err=True)


# -- tables ----------------------------------------------------------------------------------------


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = (), right: str = "") -> str:
    """Return a table as text: plain, or as a terminal shows it if stdout is one.

    On a terminal, text is wrapped to its width; elsewhere each row is one line. What a terminal would not show, in a
    layer's name for instance, is escaped. right: one letter a column, "r" for those aligned on the right.
    """
    if not sys.stdout.isatty() or not (rows or head):
        return plain_table(rows, head, right)
    cells = [[for_terminal(cell) for cell in row] for row in rows]
    columns = len(head or cells[0])
    right = right.ljust(columns, "l")
    widths = [max(len(row[i]) for row in [*cells, *([head] if head else [])]) for i in range(columns)]
    return _drawn(cells, head, right, _fitted(cells, right, widths))


def _fitted(cells: Sequence[Sequence[str]], right: str, widths: Sequence[int]) -> list[int]:
    """Return widths that fit on the terminal, if possible.

    The last column gets narrower first, then the widest. Numbers keep their width.
    """
    widths = list(widths)
    spare = shutil.get_terminal_size().columns - sum(widths) - len(GAP) * (len(widths) - 1)
    text = [i for i, side in enumerate(right) if side == "l"]
    last = len(widths) - 1
    words = [len(word) for row in cells for word in row[last].split()]
    least = {i: _NAMES for i in text} | {last: max([_LAST, *words])}
    for i in sorted(text, key=lambda i: (i != last, -widths[i])):
        if spare < 0 and len(widths) > 1:
            narrow = max(widths[i] + spare, min(widths[i], least[i]))
            spare += widths[i] - narrow
            widths[i] = narrow
    return widths


def _drawn(cells: Sequence[Sequence[str]], head: Sequence[str], right: str, widths: Sequence[int]) -> str:
    """Return the table as rich draws it. Names are data: markup in them stays as it is."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD, show_header=bool(head), show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for i, width in enumerate(widths):
        justify = "right" if right[i] == "r" else "left"
        drawn.add_column(Text(head[i]) if head else "", justify=justify, width=width, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    wide = sum(widths) + len(GAP) * len(widths)
    colours = None if _colourless() else "auto"
    console = RichConsole(file=io.StringIO(), force_terminal=True, color_system=colours, width=wide, highlight=False)
    console.print(drawn)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def shortened(names: Sequence[str], limit: int = 60) -> str:
    """Return the names between commas, or the first two and the number of layers if that is too long."""
    text = ", ".join(names)
    return text if len(text) <= limit or len(names) <= 2 else f"{', '.join(names[:2])} … ({len(names)} layers)"


def written_line(folder: Path) -> str:
    """Return where the result is, and how large it is on the disk."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return for_terminal(f"written to {folder} ({size(sum(file.stat().st_size for file in files))})")


# -- progress --------------------------------------------------------------------------------------


def has_terminal() -> bool:
    """Return whether stderr is a terminal that can show a bar."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class Progress:
    """Report on stderr how far a run has come: a bar on a terminal, elsewhere a line a minute.

    Calling it is a `deepmerge.progress.Progress`. What does not call it, or not for long, is shown by `tick` with the
    time that has passed. clock: returns seconds.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic):
        self._quiet, self._clock = quiet, clock
        self._terminal = has_terminal()
        self._begun = self._said = clock()
        self._stage, self._last = "", (_WORKING, 0, 1)  # of the last line; of the last call
        self._from = (self._begun, 0)  # when the stage began, and how much was done then
        self._called = False
        self._lock = threading.Lock()
        self._bar: rich.progress.Progress | None = None
        self._counts = (0, 0)  # done and total, at the last call

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` parts are done; a total of 1 has no parts."""
        if self._quiet:
            return
        stage = for_terminal(stage, 60)
        with self._lock:
            self._called = True
            if _name(stage) != _name(self._last[0]) or total != self._last[2] or done < self._last[1]:
                self._from = self._clock(), done
            self._last = stage, done, total
            if self._terminal:
                self._draw(stage, done, total)
            else:
                self._say(_SAME_STAGE if _name(stage) == self._stage else _NEW_STAGE)

    def tick(self) -> None:
        """Show that the work goes on: a bar if nothing has been reported for two seconds, elsewhere a line a minute."""
        with self._lock:
            if not self._terminal:
                self._say(_SAME_STAGE)
            elif not self._called and self._bar is None and self._clock() - self._begun >= _SILENT:
                self._draw(*self._last)

    @contextlib.contextmanager
    def ticking(self) -> Iterator[None]:
        """Let a thread call `tick` until the block ends."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(_SILENT):
                self.tick()

        thread = threading.Thread(target=run, name="progress", daemon=True)
        if not self._quiet:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if thread.is_alive():
                thread.join()

    def clear(self) -> None:
        """Remove the bar."""
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
                self._bar, self._counts = None, (0, 0)

    def _draw(self, stage: str, done: int, total: int) -> None:
        parts = f"{done}/{total}" if total > 1 else ""
        if self._bar is None:
            self._bar = _new_bar()
            self._bar.add_task(stage, total=None, parts=parts)
            self._bar.start()
        (task,) = self._bar.task_ids
        before, self._counts = self._counts, (done, total)
        if before[1] != total or done < before[0]:  # the next stage has a time of its own
            self._bar.reset(task, total=total if total > 1 else None)
        self._bar.update(task, description=stage, completed=done, parts=parts)

    def _say(self, least: float) -> None:
        """Print a line about the last call, if the one before it is older than `least` seconds."""
        now, (stage, done, total) = self._clock(), self._last
        if now - self._said < least:
            return
        self._said, self._stage = now, _name(stage)
        parts = f": {done} of {total}" if total > 1 else ""
        begun, before = self._from
        left = (now - begun) * (total - done) / (done - before) if before < done < total else 0.0
        times = f"{_clock_time(now - self._begun)} elapsed" + (f", {_clock_time(left)} left" if left else "")
        click.echo(f"{stage}{parts}, {times}", err=True)


def _name(stage: str) -> str:
    """Return a stage's name, without the figures that may come after a comma."""
    return stage.partition(",")[0]


def _new_bar() -> rich.progress.Progress:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Times(ProgressColumn):
        def render(self, task: Task) -> Text:
            left = "" if task.time_remaining is None else f", {_clock_time(task.time_remaining)} left"
            return Text(f"{_clock_time(task.elapsed or 0)} elapsed{left}")

    columns = (
        BarColumn(20),
        TextColumn("{task.fields[parts]}", markup=False),
        TextColumn("{task.description}", markup=False),
        Times(),
    )
    console = RichConsole(stderr=True, highlight=False)
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _clock_time(seconds: float) -> str:
    """Return `1:02:03` or `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

"""Printing: tables for people, JSON for machines, warnings and progress on stderr."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import click

from deepmerge.text import one_line

_GAP = "  "


def table(rows: Sequence[Sequence[Any]], head: Sequence[str] = (), right: str = "") -> str:
    """Columns lined up with two spaces between. right: one letter a column, r for those lined up on the right.

    On a terminal the last column is wrapped to its width; elsewhere each row is one line. What a terminal would not
    show, in a layer's name for instance, is escaped.
    """
    cells = [[one_line(c) for c in row] for row in ([head] if head else []) + list(rows)]
    if not cells:
        return ""
    right = right.ljust(len(cells[0]), "l")
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    if right[-1] == "l":
        widths[-1] = min(widths[-1], _room(sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)))
    lines: list[str] = []
    for row in cells:
        for part in _wrapped(row, widths[-1]):
            padded = (c.rjust(w) if r == "r" else c.ljust(w) for c, w, r in zip(part, widths, right, strict=True))
            lines.append(_GAP.join(padded).rstrip())
        if head and len(lines) == 1:
            lines.append(_GAP.join("-" * w for w in widths))
    return "\n".join(lines)


def _room(taken: int) -> int:
    """How wide the last column may be."""
    if not sys.stdout.isatty():
        return sys.maxsize
    return max(shutil.get_terminal_size().columns - taken, 30)


def _wrapped(row: list[str], width: int) -> list[list[str]]:
    """The row as one row or more, none with a last cell wider than `width`."""
    parts = (
        textwrap.wrap(row[-1], width, break_long_words=False, break_on_hyphens=False)
        if len(row[-1]) > width
        else [row[-1]]
    )
    return [[*row[:-1], parts[0]]] + [[""] * (len(row) - 1) + [part] for part in parts[1:]]


def show(text: str, quiet: bool = False) -> None:
    if not quiet and text:
        click.echo(text)


def show_json(value: Any) -> None:
    """The value as JSON, in ASCII where stdout takes nothing else."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, indent=2, ensure_ascii=not unicode))


def warn(lines: Sequence[str], quiet: bool = False) -> None:
    if not quiet:
        for line in lines:
            click.echo(f"warning: {one_line(line)}", err=True)


class Progress:
    """A line on stderr that says what is going on; on a terminal only."""

    def __init__(self, quiet: bool = False):
        self.on = sys.stderr.isatty() and not quiet

    def __call__(self, what: str, done: int, total: int) -> None:
        if self.on:
            bar = "█" * (20 * done // max(total, 1))
            click.echo(f"\r\033[K[{bar:<20}] {done}/{total} {what}", err=True, nl=False)

    def clear(self) -> None:
        if self.on:
            click.echo("\r\033[K", err=True, nl=False)


def millions(number: float) -> str:
    return f"{number / 1e6:,.2f} M"


def megabytes(number: float) -> str:
    return f"{number / 1e6:,.2f} MB"


def ratio(before: float, after: float) -> str:
    """What is left, as a share; "–" where there was nothing."""
    return f"{after / before:.1%}" if before else "–"


def count(number: int, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def shortened(names: Sequence[str], limit: int = 60) -> str:
    """The names between commas, or the first two and how many there are."""
    text = ", ".join(names)
    return text if len(text) <= limit or len(names) <= 2 else f"{', '.join(names[:2])} … ({len(names)} layers)"

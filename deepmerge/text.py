"""Wording: similar names, unused names, options to type, tables, counts, sizes, times."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice

from deepmerge.names import for_shell, for_terminal

_COMPARED = 1000  # candidates that a word is compared with; comparing is slow
_LONGEST = 100  # characters; a longer word is not compared
GAP = "  "  # between two columns of a table
_LISTED = 12  # candidates that are listed if none is similar
_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def flat(text: object) -> str:
    """Return the text with each run of white space as one space, such as a library's message of several lines."""
    return " ".join(str(text).split())


def nearest(word: str, known: Iterable[str], most: int = 3, cutoff: float = 0.5) -> list[str]:
    """Return up to `most` known words that are similar to `word`, the most similar first.

    Case is ignored. cutoff: from 0 (any word) to 1 (equal).
    """
    if len(word) > _LONGEST:
        return []
    lower = {k.lower(): k for k in islice(known, _COMPARED) if len(k) <= _LONGEST}
    return [lower[found] for found in difflib.get_close_matches(word.lower(), lower, most, cutoff)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence about an unknown word: "did you mean 'conv1'?", or the list of known words."""
    known = list(dict.fromkeys(known))
    near = nearest(word, known)
    if near:
        return f"did you mean {' or '.join(map(repr, near))}?"
    if not known:
        return "there are none"
    return f"there {'are' if len(known) > 1 else 'is only'} {listed(known, _LISTED)}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Return `a, b, c and 4 more`: the first `most` of the names, and how many are left out."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def unused(name: str, taken: Collection[str], form: str = "{}_{}", first: int = 2) -> str:
    """Return `name`, or the first of `name_2`, `name_3`, … that is not taken.

    form: joins name and number. first: the first number.
    """
    made, number = name, first
    while made in taken:
        made = form.format(name, number)
        number += 1
    return made


def input_option(name: str, shape: Sequence[int | None] = ()) -> str:
    """Return `--input NAME=N,C,H,W` as a user types it, with the numbers of the shape that are known.

    shape: four numbers, None where one is not known; () where not even the number of axes is.
    """
    numbers = ",".join(str(n or letter) for n, letter in zip(shape, "NCHW", strict=False)) or "N,…"
    return f"--input {for_shell(name)}={numbers}"


def plain_table(rows: Sequence[Sequence[object]], head: Sequence[str] = (), right: str = "") -> str:
    """Return a table as plain text, each row on one line; what a terminal would not show is escaped.

    right: one letter a column, "r" for those aligned on the right.
    """
    cells = [[for_terminal(cell) for cell in row] for row in ([head] if head else []) + list(rows)]
    if not cells:
        return ""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = right.ljust(len(widths), "l")
    if head:
        cells.insert(1, ["-" * width for width in widths])
    lines = []
    for row in cells:
        padded = (c.rjust(w) if r == "r" else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True))
        lines.append(GAP.join(padded).rstrip())
    return "\n".join(lines)


def count(number: float, noun: str) -> str:
    """Return a number and its noun: `1 step`, `2 steps`, `1,200 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def scaled(number: float) -> str:
    """Return a number with three figures and its prefix: `1.58 G`, `203 M`, `12.5 k`, `17`."""
    for factor, letter in _SCALES:
        if number >= factor * 0.9995:
            return f"{figures(number / factor)} {letter}"
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Return bytes with three figures: `27.3 MB`, `12 B`."""
    return f"{scaled(number)}B" if number >= 1e3 * 0.9995 else f"{number:,.0f} B"


def milliseconds(seconds: float) -> str:
    """Return milliseconds with three figures, down to a microsecond: `12.3`, `0.045`. The table's head has the unit."""
    return figures(1e3 * seconds) if seconds >= 1e-3 else f"{1e3 * seconds:.3f}"


def figures(number: float) -> str:
    """Return a number with three figures, or all figures before the point: `1.58`, `27.3`, `1,203`."""
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:,.{digits}f}"


def millions(number: float) -> str:
    """Return a count in millions: `203.45 M`."""
    return f"{number / 1e6:,.2f} M"


def megabytes(number: float | None) -> str:
    """Return bytes in megabytes: `27.99 MB`; "–" if they are unknown."""
    return "–" if number is None else f"{number / 1e6:,.2f} MB"


def times(factor: float) -> str:
    """Return a factor with three figures: `3.90×`."""
    return f"{figures(factor)}×"


def times_as_fast(ratio: Mapping[str, float] | None) -> str:
    """Return a ratio of times as a speed-up with its interval: `4.00 (2.00–5.00)`; `1` without a ratio."""
    if ratio is None:
        return "1"
    return f"{1 / ratio['value']:.2f} ({1 / ratio['high']:.2f}–{1 / ratio['low']:.2f})"


def share_left(before: float | None, after: float | None) -> str:
    """Return `after` as a share of `before`: `38.0%`; "–" if `before` is 0 or one of the two is unknown."""
    return f"{after / before:.1%}" if before and after is not None else "–"

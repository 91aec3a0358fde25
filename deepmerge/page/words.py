"""Numbers as the page writes them."""

from __future__ import annotations

_SIZES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def count(number: float, noun: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def many(number: float) -> str:
    """`1.58 G`, `203 M`, `12.5 k`, `17`: three figures."""
    return f"{_scaled(number)}"


def size(number: float) -> str:
    """Bytes: `27.3 MB`."""
    return f"{_scaled(number)}B" if number >= 1e3 else f"{number:,.0f} B"


def left(before: float | None, after: float | None) -> str:
    """What is left, as a share; "–" where that says nothing."""
    return f"{after / before:.1%}" if before and after is not None else "–"


def milliseconds(seconds: float) -> str:
    """`12.3 ms`, three figures."""
    return f"{_figures(1e3 * seconds) if seconds >= 1e-4 else f'{1e3 * seconds:.3f}'} ms"


def share(number: float) -> str:
    """`52.3%`"""
    return f"{number:.1%}"


def times(number: float) -> str:
    """`3.90×`, three figures."""
    return f"{_figures(number)}×"


def _scaled(number: float) -> str:
    for factor, letter in _SIZES:
        if number >= factor * 0.9995:
            return f"{_figures(number / factor)} {letter}"
    return f"{number:,.0f} "[: None if number >= 1e3 else -1]


def _figures(number: float) -> str:
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:,.{digits}f}"

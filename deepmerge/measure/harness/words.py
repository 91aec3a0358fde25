"""Times and ratios in words, as tables show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def milliseconds(seconds: float) -> str:
    """Three significant digits, all of those before the point, none below a microsecond."""
    value = seconds * 1e3
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}" if value >= 1 else f"{value:.3f}"


def times_as_fast(ratio: Mapping[str, Any] | None) -> str:
    """A ratio of times told as a speed-up, with its interval; 1 for the network that others are compared with."""
    if ratio is None:
        return "1"
    return f"{1 / ratio['value']:.2f} ({1 / ratio['high']:.2f}–{1 / ratio['low']:.2f})"

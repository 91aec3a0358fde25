"""The values that a pass's options may have, on the command line and in a recipe alike (see base.Options)."""

from __future__ import annotations

from typing import Any

ABSORB = ("lrn", "pooling", "branches")
KERNELS = ("keep", "cover")
INITS = ("trained", "xavier")


def width(value: Any) -> float | str:
    """A number above 0 and up to 1, or "full"; ValueError for anything else."""
    if value == "full":
        return value
    try:
        number = float(value) if not isinstance(value, bool) else 0.0
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not 0 < number <= 1:
        raise ValueError(f"{value!r} is neither a number above 0 and up to 1 nor 'full'")
    return number


def rank(value: Any) -> str:
    """vbmf, energy:SHARE or ratio:SHARE, a share above 0 and up to 1; ValueError for anything else."""
    kind, _, share = str(value).partition(":")
    try:
        good = value == "vbmf" or (kind in ("energy", "ratio") and 0 < float(share) <= 1)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{value!r} is none of vbmf, energy:SHARE and ratio:SHARE (a share above 0 and up to 1)")
    return str(value)

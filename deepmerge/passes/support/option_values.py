"""The values that options of passes may have, on the command line and in a recipe (see base.Options)."""

from __future__ import annotations

from typing import Any

ABSORB = ("lrn", "pooling", "branches")
KERNELS = ("keep", "cover")
INITS = ("trained", "xavier")


def width(value: Any) -> float | str:
    """Return a number above 0 and up to 1, or "full"; ValueError for anything else."""
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
    """Return vbmf, energy:SHARE, ratio:SHARE or macs:SHARE, a share above 0 and up to 1; else ValueError."""
    kind, _, share = str(value).partition(":")
    try:
        good = value == "vbmf" or (kind in ("energy", "ratio", "macs") and 0 < float(share) <= 1)
    except ValueError:
        good = False
    if not good:
        raise ValueError(
            f"{value!r} is none of vbmf, energy:SHARE, ratio:SHARE and macs:SHARE (a share above 0 and up to 1)"
        )
    return str(value)


def ranks(value: Any) -> dict[str, tuple[int, ...]]:
    """Return a table of layers with their ranks, one for a matrix, else two, each 1 or more; else ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a table of layers and their ranks, found {value!r}")
    for name, found in value.items():
        if not isinstance(found, list) or len(found) not in (1, 2) or not all(type(n) is int and n > 0 for n in found):
            raise ValueError(f"{name!r}: expected [rank] or [rank_in, rank_out], each 1 or more, found {found!r}")
    return {name: tuple(found) for name, found in value.items()}


def channels(value: Any) -> dict[str, tuple[int, ...]]:
    """Return a table of reducers with the filters they keep, numbered from 0, each once; else ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a table of layers and the filters that they keep, found {value!r}")
    for name, found in value.items():
        good = isinstance(found, list) and found and all(type(n) is int and n >= 0 for n in found)
        if not good or len(set(found)) < len(found):
            raise ValueError(f"{name!r}: expected different whole numbers from 0 on, found {found!r}")
    return {name: tuple(found) for name, found in value.items()}


def calibration(value: Any) -> str:
    """Return the calibration images as convert names them: "500 images, sha256:…"; ValueError unless it is text."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, found {value!r}")
    return value

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
    """vbmf, energy:SHARE, ratio:SHARE or macs:SHARE, a share above 0 and up to 1; ValueError for anything else."""
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
    """A table of layers with one rank (of a matrix) or two each, whole numbers from 1 on; ValueError for anything else."""
    if not isinstance(value, dict):
        raise ValueError(f"wants a table of layers and their ranks, found {value!r}")
    for name, found in value.items():
        if not isinstance(found, list) or len(found) not in (1, 2) or not all(type(n) is int and n > 0 for n in found):
            raise ValueError(
                f"{name!r}: wants [rank], or [rank_in, rank_out], whole numbers from 1 on, found {found!r}"
            )
    return {name: tuple(found) for name, found in value.items()}


def calibration(value: Any) -> str:
    """What images were used, as convert writes it: "500 images, sha256:…"; ValueError for anything but text."""
    if not isinstance(value, str):
        raise ValueError(f"wants text, found {value!r}")
    return value

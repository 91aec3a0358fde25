"""Bare values of a tree → numbers and truth values, as protobuf's own text parser takes them.

Python's int() and float() take more (1_0, 0b1, +5) and round octal numbers differently.
"""

from __future__ import annotations

import re

_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}
_INTEGER = re.compile(r"-?(?:0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*)", re.IGNORECASE)
_NUMBER = re.compile(
    r"-?(?:(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:e[-+]?[0-9]+)?f?|inf|infinity|nan)", re.IGNORECASE
)


def integer(text: str) -> int:
    """Return a whole number: decimal, octal (010) or hexadecimal (0x8). ValueError for anything else."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not a whole number")
    digits = text.lstrip("-").lower()
    if digits.startswith("0x"):
        return int(text, 16)
    return int(text, 8 if digits.startswith("0") else 10)


def number(text: str) -> float:
    """Return a decimal number, with or without a trailing f; inf, infinity and nan. ValueError for anything else."""
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not a number")
    text = text.lower()
    return float(text.removesuffix("f") if not text.endswith("inf") else text)


def boolean(text: str) -> bool:
    """Return a truth value: a word for it, or 1 or 0. ValueError for anything else."""
    value = _BOOLS[text] if text in _BOOLS else integer(text)
    if value not in (0, 1):
        raise ValueError(f"{text[:60]!r} is neither true nor false")
    return bool(value)

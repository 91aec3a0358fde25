"""Tree → prototxt text, and Python values → tree values."""

from __future__ import annotations

import re

import numpy as np

from deepmerge.graph.tokens import number
from deepmerge.graph.tree import Message, Quoted, Token
from deepmerge.names import for_prototxt

_LONG_DECIMAL = re.compile(r"-?\d*\.\d{7,}(?:[eE][-+]?\d+)?[fF]?")
_SMALLEST_PLAIN = float(np.float32(1e-4))  # below it, exponents are shorter


def format_tree(tree: Message, indent: int = 0) -> str:
    """Return the tree as prototxt text as Caffe prints it: one field on a line, indented by two spaces."""
    lines: list[str] = []
    _format(tree, "  " * indent, lines)
    return "\n".join(lines) + "\n" if lines else ""


def _format(tree: Message, pad: str, lines: list[str]) -> None:
    for field in tree:
        if isinstance(field.value, Message):
            lines.append(f"{pad}{field.name} {{")
            _format(field.value, pad + "  ", lines)
            lines.append(pad + "}")
        else:
            lines.append(f"{pad}{field.name}: {_written(field.value)}")


def _written(value: Quoted | Token) -> str:
    if isinstance(value, Quoted):
        return for_prototxt(value)
    return shortest(number(value)) if _LONG_DECIMAL.fullmatch(value) else str(value)


def shortest(value: float) -> str:
    """Return the shortest text that reads back as the same float32, such as 0.01 for protobuf's 0.00999999977648."""
    with np.errstate(over="ignore"):
        single = np.float32(value)
    if not np.isfinite(single):
        return str(single)
    if single == int(single) and abs(single) < 1e7:
        return "-0.0" if single == 0 and np.signbit(single) else str(int(single))
    if _SMALLEST_PLAIN <= abs(float(single)) < 1e7:
        return np.format_float_positional(single, unique=True, trim="-")
    return np.format_float_scientific(single, unique=True, trim="-", exp_digits=1)


def scalar(value) -> Token | Quoted:
    """Return a Python value as the tree holds it. A plain str becomes an enum's token: wrap strings in Quoted."""
    if isinstance(value, Quoted | Token):
        return value
    if isinstance(value, bool | np.bool_):
        return Token("true" if value else "false")
    if isinstance(value, float | np.floating):
        return Token(shortest(value))
    return Token(str(value))


def message(**fields) -> Message:
    """Return a message made of keyword arguments. A list or tuple is a repeated field; None is left out."""
    made = Message()
    for name, value in fields.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None:
                made.add(name, one if isinstance(one, Message) else scalar(one))
    return made

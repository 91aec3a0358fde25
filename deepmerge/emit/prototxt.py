"""Tree → prototxt text, and Python values → tree values."""

from __future__ import annotations

import re

import numpy as np

from deepmerge.graph.tree import Message, Quoted, Token

_LONG_DECIMAL = re.compile(r"[-+]?\d*\.\d{7,}(?:[eE][-+]?\d+)?f?$")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def format_tree(tree: Message, indent: int = 0) -> str:
    """The tree as prototxt text, two spaces an indent, one field a line, as Caffe prints it."""
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
            lines.append(f"{pad}{field.name}: {_scalar(field.value)}")


def _scalar(value: Quoted | Token) -> str:
    if isinstance(value, Quoted):
        return quote(value)
    return shortest(float(value.rstrip("f"))) if _LONG_DECIMAL.match(value) else str(value)


def quote(text: str) -> str:
    """A string in double quotes; what is no printable UTF-8 is escaped byte by byte."""
    out = []
    for char in text:
        if char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        else:
            out += [f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape")]
    return f'"{"".join(out)}"'


def shortest(value: float) -> str:
    """The shortest text that reads back as the same float32 (PITFALLS: 0.00999999977648)."""
    if value == int(value) and abs(value) < 1e7:
        return str(int(value)) if value or not np.signbit(value) else "-0.0"
    return np.format_float_scientific(np.float32(value), unique=True, trim="-", exp_digits=1) if _tiny_or_huge(value) else str(np.float32(value))


def _tiny_or_huge(value: float) -> bool:
    return not 1e-4 <= abs(value) < 1e7 and np.isfinite(value)


def scalar(value) -> Token | Quoted:
    """A Python value as the tree holds it; str becomes an enum token, so quote strings yourself."""
    if isinstance(value, Quoted | Token):
        return value
    if isinstance(value, bool):
        return Token("true" if value else "false")
    if isinstance(value, float | np.floating):
        return Token(shortest(float(value))) if np.isfinite(value) else Token(str(float(value)))
    return Token(str(value))


def message(**fields) -> Message:
    """A message from keyword arguments; a list or tuple is a repeated field, None is left out."""
    made = Message()
    for name, value in fields.items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is not None:
                made.add(name, one if isinstance(one, Message) else scalar(one))
    return made

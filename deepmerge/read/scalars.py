"""Values of the tree → Python values, by the kind that the schema gives a field."""

from __future__ import annotations

import difflib

from deepmerge import schema
from deepmerge.errors import ReadError
from deepmerge.graph.tree import Field, Message, Quoted

_BOOLS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False, "True": True, "False": False}


class Reader:
    """Reads one message of a known type; knows the file and the layer for its errors."""

    def __init__(self, message: Message | None, type_name: str, file, where: str):
        self.message = message or Message()
        self.known = schema.fields(type_name)
        self.type_name, self.file, self.where = type_name, file, where

    def error(self, text: str, at: Field | Message | None = None) -> ReadError:
        at = at or self.message
        return ReadError(f"{self.where}: {text}", self.file, at.line or None, at.column or None)

    def has(self, name: str) -> bool:
        return name in self.message

    def all(self, name: str) -> list:
        """Every value of a field, converted; [] where it does not stand."""
        return [self._convert(f) for f in self.message if f.name == name]

    def one(self, name: str):
        """The last value of a field, else the schema's default (None where it has none)."""
        found = [f for f in self.message if f.name == name]
        return self._convert(found[-1]) if found else self.known[name].default

    def required(self, name: str):
        if not self.has(name):
            strangers = [f.name for f in self.message if f.name not in self.known]
            near = difflib.get_close_matches(name, strangers, 1, 0.6)
            raise self.error(f"{name!r} is missing" + (f"; is {near[0]!r} a misspelling of it?" if near else ""))
        return self.one(name)

    def _convert(self, field: Field):
        known, value = self.known[field.name], field.value
        try:
            return _CONVERT[known.kind](value, known)
        except (ValueError, OverflowError, TypeError):
            shown = "a message" if isinstance(value, Message) else repr(str(value))
            raise self.error(f"{field.name!r} wants {_WANTED[known.kind]}, found {shown}", field) from None


_WANTED = {
    "int": "a whole number", "uint": "a whole number from 0 on", "float": "a number", "double": "a number", "bool": "true or false",
    "enum": "one of the schema's names", "string": "a quoted string", "bytes": "a quoted string", "message": "a message in braces",
}  # fmt: skip


def _int(value, _known) -> int:
    if isinstance(value, (Message, Quoted)):
        raise TypeError
    text = str(value).lower()
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
    number = int(text, 8 if octal else 0)
    if not -(2**63) <= number < 2**64:
        raise OverflowError
    return number


def _uint(value, known) -> int:
    number = _int(value, known)
    if not 0 <= number < 2**32:
        raise ValueError
    return number


def _float(value, _known) -> float:
    if isinstance(value, (Message, Quoted)):
        raise TypeError
    text = str(value).lower()
    if text.lstrip("+-").startswith("0x"):
        return float(int(text, 16))
    return float(text[:-1] if text.endswith("f") and not text.endswith("inf") else text)


def _bool(value, _known) -> bool:
    if isinstance(value, (Message, Quoted)) or str(value) not in _BOOLS:
        raise ValueError
    return _BOOLS[str(value)]


def _enum(value, known) -> str:
    """The name of the value; a name that the schema does not know is kept (forks add their own)."""
    if isinstance(value, Message):
        raise TypeError
    if str(value).lstrip("-").isdigit():
        names = {number: name for name, number in schema.enum_values(known.type_name).items()}
        return names.get(int(value), str(value))
    return str(value)


def _string(value, _known) -> str:
    if not isinstance(value, Quoted):
        raise TypeError
    return str(value)


def _message(value, _known) -> Message:
    if not isinstance(value, Message):
        raise TypeError
    return value


_CONVERT = {
    "int": _int, "uint": _uint, "float": _float, "double": _float, "bool": _bool,
    "enum": _enum, "string": _string, "bytes": _string, "message": _message,
}  # fmt: skip

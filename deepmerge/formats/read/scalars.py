"""Values of the tree → Python values, by the kind that the schema gives a field."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from itertools import islice

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.graph.tokens import integer, number
from deepmerge.graph.tree import Field, Message, Quoted, Token

_LONGEST, _MOST = 100, 2000
_BOOLS = {"true": True, "True": True, "t": True, "false": False, "False": False, "f": False}


class Reader:
    """Reads one message of a known type; knows the file and the layer for its errors.

    kind: the message's name in the schema, or its fields where the schema does not have it.
    """

    def __init__(self, message: Message | None, kind: str | Mapping[str, schema.Field], file, where: str):
        self.message = message if message is not None else Message()
        self.known = schema.fields(kind) if isinstance(kind, str) else kind
        self.file, self.where = file, where

    def error(self, text: str, at: Field | Message | None = None) -> ReadError:
        """The error to raise about a field of the message, or about all of it."""
        at = at or self.message
        return ReadError(f"{self.where}: {text}" if self.where else text, self.file, at.line or None, at.column or None)

    def has(self, name: str) -> bool:
        return name in self.message

    def all(self, name: str) -> list:
        """Every value of a field, converted; [] where it does not stand."""
        return [self.convert(f) for f in self.message if f.name == name]

    def one(self, name: str):
        """The last value of a field, else the schema's default (None where it has none)."""
        found = [f for f in self.message if f.name == name]
        return self.convert(found[-1]) if found else self.known[name].default

    def required(self, name: str):
        """As `one`; ReadError where the field does not stand."""
        if not self.has(name):
            typo = near(name, (f.name for f in self.message if f.name not in self.known), 0.6)
            raise self.error(f"{name!r} is missing" + (f"; is {typo!r} a misspelling of it?" if typo else ""))
        return self.one(name)

    def convert(self, field: Field):
        """The field's value as int, float, bool, str (strings and enums) or Message; ReadError where it is none."""
        known = self.known[field.name]
        try:
            return _CONVERT[known.kind](field.value, known)
        except (ValueError, TypeError):
            text = f"{field.name!r} wants {_wanted(field, known)}, found {_shown(field.value)}"
            raise self.error(text, field) from None


def near(name: str, known: Iterable[str], cutoff: float = 0.8) -> str | None:
    """The one of `known` that `name` is likely to be a misspelling of, whatever the case of its letters.

    Of many only the first are looked at, and none for a long name, as comparing takes long.
    """
    if len(name) > _LONGEST:
        return None
    lower = {k.lower(): k for k in islice(known, _MOST) if len(k) <= _LONGEST}
    found = difflib.get_close_matches(name.lower(), lower, 1, cutoff) if lower else None
    return lower[found[0]] if found else None


_WANTED = {
    "int": "a whole number", "uint": "a whole number from 0 on", "float": "a number", "double": "a number",
    "bool": "true or false", "message": "a message in braces",
}  # fmt: skip


def _wanted(field: Field, known: schema.Field) -> str:
    if known.kind == "enum":
        names = list(schema.enum_values(known.type_name))
        return f"one of {', '.join(names[:5])}{', …' if len(names) > 5 else ''}, without quotes"
    if known.kind in ("string", "bytes"):
        bare = isinstance(field.value, Token) and len(field.value) <= 60
        return "a quoted string" + (f' ({field.name}: "{field.value}")' if bare else "")
    return _WANTED[known.kind]


def _shown(value: Message | Quoted | Token) -> str:
    if isinstance(value, Message):
        return "a message"
    text = str(value) if len(value) <= 60 else value[:60] + "…"
    if not text.isprintable():
        return ascii(text)
    return f'the string "{text}"' if isinstance(value, Quoted) else repr(text)


def _bare(value) -> str:
    if not isinstance(value, Token):
        raise TypeError
    return str(value)


def _int(value, _known) -> int:
    result = integer(_bare(value))
    if not -(2**63) <= result < 2**63:
        raise ValueError
    return result


def _uint(value, _known) -> int:
    result = integer(_bare(value))
    if not 0 <= result < 2**32:
        raise ValueError
    return result


def _float(value, _known) -> float:
    return number(_bare(value))


def _bool(value, _known) -> bool:
    text = _bare(value)
    if text in _BOOLS:
        return _BOOLS[text]
    result = integer(text)
    if result not in (0, 1):
        raise ValueError
    return result == 1


def _enum(value, known) -> str:
    """The name of the value; one that the schema does not know is kept (forks add their own)."""
    text = _bare(value)
    if not text.lstrip("-").isdigit():
        return text
    names = {index: name for name, index in schema.enum_values(known.type_name).items()}
    return names.get(integer(text), text)


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

"""Values of the tree → Python values, by the field's kind in the schema."""

from __future__ import annotations

from collections.abc import Mapping

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.graph.tokens import boolean, integer, number
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.text import nearest


class Reader:
    """Reads one message of a known type; knows the file and the layer for its errors.

    kind: the message's name in the schema, or its fields if the schema does not have it.
    """

    def __init__(self, message: Message | None, kind: str | Mapping[str, schema.Field], file, where: str):
        self.message = message if message is not None else Message()
        self.known = schema.fields(kind) if isinstance(kind, str) else kind
        self.file, self.where = file, where

    def error(self, text: str, at: Field | Message | None = None) -> ReadError:
        """Return the error to raise about a field of the message, or about the whole message."""
        at = at or self.message
        return ReadError(f"{self.where}: {text}" if self.where else text, self.file, at.line or None, at.column or None)

    def has(self, name: str) -> bool:
        """Return whether the field is given."""
        return name in self.message

    def all(self, name: str) -> list:
        """Return every value of a field, converted; [] if it is not given."""
        return [self.convert(f) for f in self.message if f.name == name]

    def one(self, name: str):
        """Return the last value of a field, else the schema's default, which may be None."""
        found = [f for f in self.message if f.name == name]
        return self.convert(found[-1]) if found else self.known[name].default

    def required(self, name: str):
        """Return what `one` does; ReadError if the field is not given."""
        if not self.has(name):
            near = nearest(name, (f.name for f in self.message if f.name not in self.known), 1, 0.6)
            raise self.error(f"{name!r} is missing" + (f"; is {near[0]!r} a misspelling of it?" if near else ""))
        return self.one(name)

    def convert(self, field: Field):
        """Return the value as int, float, bool, str (strings and enums) or Message; ReadError for another kind."""
        known = self.known[field.name]
        try:
            return _CONVERT[known.kind](field.value, known)
        except (ValueError, TypeError):
            text = f"{field.name!r} needs {_needed(field, known)}, found {_shown(field.value)}"
            raise self.error(text, field) from None


_NEEDED = {
    "int": "a whole number",
    "uint": "a whole number from 0 on",
    "float": "a number",
    "double": "a number",
    "bool": "true or false",
    "message": "a message in braces",
}


def _needed(field: Field, known: schema.Field) -> str:
    if known.kind == "enum":
        names = list(schema.enum_values(known.type_name))
        return f"one of {', '.join(names[:5])}{', …' if len(names) > 5 else ''}, without quotes"
    if known.kind in ("string", "bytes"):
        bare = isinstance(field.value, Token) and len(field.value) <= 60
        return "a quoted string" + (f' ({field.name}: "{field.value}")' if bare else "")
    return _NEEDED[known.kind]


def _shown(value: Message | Quoted | Token) -> str:
    if isinstance(value, Message):
        return "a message"
    text = str(value) if len(value) <= 60 else value[:60] + "…"
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
    return boolean(_bare(value))


def _enum(value, known) -> str:
    """Return the name of the value; an unknown one is kept, as forks add their own."""
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
    "int": _int,
    "uint": _uint,
    "float": _float,
    "double": _float,
    "bool": _bool,
    "enum": _enum,
    "string": _string,
    "bytes": _string,
    "message": _message,
}

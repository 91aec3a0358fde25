"""The schema-free form of a prototxt: messages of named fields, in file order.

What deepmerge does not understand is kept in this form and written unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field


class Quoted(str):
    """A string value; written between quotes."""

    __slots__ = ()


class Token(str):
    """A bare value as the file has it: a number, an enum value, true or false."""

    __slots__ = ()


@dataclass(slots=True)
class Field:
    """One `name: value` or `name { … }`, with the line and column where it was read (0 if it was not read)."""

    name: str
    value: Message | Quoted | Token
    line: int = 0
    column: int = 0


@dataclass(slots=True)
class Message:
    """An ordered list of fields; a name may occur several times."""

    fields: list[Field] = field(default_factory=list)
    line: int = 0
    column: int = 0

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __contains__(self, name: str) -> bool:
        return any(f.name == name for f in self.fields)

    def values(self, name: str) -> list:
        """Return every value of the field `name`, in order."""
        return [f.value for f in self.fields if f.name == name]

    def value(self, name: str):
        """Return the last value of `name` (protobuf's rule for a singular field), or None."""
        found = self.values(name)
        return found[-1] if found else None

    def message(self, name: str) -> Message | None:
        """Return the message `name`, several occurrences merged as protobuf does, or None."""
        found = [f for f in self.fields if f.name == name and isinstance(f.value, Message)]
        if not found:
            return None
        if len(found) == 1:
            return found[0].value
        return Message([g for f in found for g in f.value.fields], found[0].line, found[0].column)

    def add(self, name: str, value: Message | Quoted | Token) -> None:
        """Append a field."""
        self.fields.append(Field(name, value))

    def set(self, name: str, *values: Message | Quoted | Token) -> None:
        """Give `name` these values, where it first occurs or else at the end."""
        place = next((i for i, f in enumerate(self.fields) if f.name == name), len(self.fields))
        new = [Field(name, value) for value in values]
        rest = [f for f in self.fields[place:] if f.name != name]
        self.fields = self.fields[:place] + new + rest

    def remove(self, *names: str) -> None:
        """Remove all fields of these names."""
        self.fields = [f for f in self.fields if f.name not in names]

    def copy(self) -> Message:
        """Return a deep copy, positions included."""
        return Message(
            [
                Field(f.name, f.value.copy() if isinstance(f.value, Message) else f.value, f.line, f.column)
                for f in self.fields
            ],
            self.line,
            self.column,
        )

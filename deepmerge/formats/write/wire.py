"""Tree → protobuf's wire format, by the schema.

Fields and enum values of forks that the schema does not know have no number, so they are in the prototxt only.
"""

from __future__ import annotations

import struct

import numpy as np

from deepmerge.errors import EmitError
from deepmerge.formats import schema
from deepmerge.graph.tokens import integer, number
from deepmerge.graph.tree import Message, Quoted, Token
from deepmerge.names import encoded

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_TRUE, _FALSE = ("true", "True", "t"), ("false", "False", "f")


def varint(value: int) -> bytes:
    """Return a number in base 128. Negative ones take ten bytes, as protobuf's int32 and int64 do."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, kind: int) -> bytes:
    """Return the beginning of a field: its number and wire type."""
    return varint(number << 3 | kind)


def prefix(number: int, size: int) -> bytes:
    """Return the beginning of a length-delimited field of `size` bytes."""
    return key(number, BYTES) + varint(size)


def block(number: int, payload: bytes) -> bytes:
    """Return a length-delimited field."""
    return prefix(number, len(payload)) + payload


def encode(tree: Message, type_name: str) -> bytes:
    """Return the message `tree`, of a type in the schema, in wire format, with the fields in the tree's order.

    EmitError for a value that is not of its field's kind.
    """
    known = schema.fields(type_name)
    return b"".join(_field(field.value, known[field.name], type_name) for field in tree if field.name in known)


def _field(value: Message | Quoted | Token, what: schema.Field, type_name: str) -> bytes:
    if isinstance(value, Message) and what.kind == "message":
        return block(what.number, encode(value, what.type_name))
    try:
        return _scalar(value, what)
    except ValueError:
        shown = "a message" if isinstance(value, Message) else repr(str(value)[:60])
        raise EmitError(f"{type_name}.{what.name} is of kind {what.kind}, and cannot be written from {shown}") from None


def _scalar(value: Message | Quoted | Token, what: schema.Field) -> bytes:
    if isinstance(value, Quoted) and what.kind in ("string", "bytes"):
        return block(what.number, encoded(value))
    if not isinstance(value, Token):
        raise ValueError
    text = str(value)
    if what.kind in ("float", "double"):
        kind, data = (FIXED32, _float32(text)) if what.kind == "float" else (FIXED64, struct.pack("<d", number(text)))
    elif what.kind in ("int", "uint"):
        kind, data = VARINT, varint(integer(text))
    elif what.kind == "bool":
        kind, data = VARINT, varint(text in _TRUE or (text not in _FALSE and integer(text)))
    elif what.kind == "enum":
        index = schema.enum_values(what.type_name).get(text)
        if index is None and not text.lstrip("-").isdigit():
            return b""  # a fork's
        kind, data = VARINT, varint(integer(text) if index is None else index)
    else:
        raise ValueError
    return block(what.number, data) if what.packed else key(what.number, kind) + data


def _float32(text: str) -> bytes:
    with np.errstate(over="ignore"):  # as in protobuf, too large values become infinite
        return np.array(number(text), "<f4").tobytes()

"""Tree → protobuf's wire format, by the schema.

What the schema does not know (a fork's fields and enum values) has no number to be written under,
and stays in the prototxt alone.
"""

from __future__ import annotations

import struct

from deepmerge import schema
from deepmerge.graph.tree import Message, Quoted

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(value: int) -> bytes:
    """A number in base 128; negative ones as protobuf's int32 and int64 (ten bytes)."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def key(number: int, kind: int) -> bytes:
    return varint(number << 3 | kind)


def block(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return key(number, BYTES) + varint(len(payload)) + payload


def encode(tree: Message, type_name: str) -> bytes:
    """The message `tree`, of the schema's type, in wire format, fields in the tree's order."""
    known = schema.fields(type_name)
    out = []
    for field in tree:
        what = known.get(field.name)
        if what is None:
            continue
        if isinstance(field.value, Message):
            if what.kind == "message":
                out.append(block(what.number, encode(field.value, what.type_name)))
            continue
        payload = _scalar(field.value, what)
        if payload is not None:
            kind, data = payload
            out.append(block(what.number, data) if what.packed and kind != BYTES else key(what.number, kind) + (varint(len(data)) if kind == BYTES else b"") + data)
    return b"".join(out)


def _scalar(value, what: schema.Field) -> tuple[int, bytes] | None:
    text = str(value)
    if isinstance(value, Quoted):
        return (BYTES, text.encode("utf-8", "surrogateescape")) if what.kind in ("string", "bytes") else None
    if what.kind in ("int", "uint"):
        octal = len(text) > 1 and text[0] == "0" and text.isdigit()
        return VARINT, varint(int(text, 8 if octal else 0))
    if what.kind == "bool":
        return VARINT, varint(text.lower() in ("true", "t", "1"))
    if what.kind == "float":
        return FIXED32, struct.pack("<f", _number(text))
    if what.kind == "double":
        return FIXED64, struct.pack("<d", _number(text))
    if what.kind == "enum":
        number = schema.enum_values(what.type_name).get(text)
        if number is None and text.lstrip("-").isdigit():
            number = int(text)
        return None if number is None else (VARINT, varint(number))
    return None


def _number(text: str) -> float:
    text = text.lower()
    if text.lstrip("+-").startswith("0x"):
        return float(int(text, 16))
    return float(text[:-1] if text.endswith("f") and not text.endswith("inf") else text)

"""Protobuf's wire format, read in place.

Every length is checked against the bytes that are left before it is used.
"""

from __future__ import annotations

from collections.abc import Iterator

from deepmerge.errors import ReadError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the number (64 bits, unsigned) at `at`, and the place after it; ReadError past `end` or 10 bytes."""
    value = shift = 0
    start = at
    while True:
        if at >= end or shift > 63:
            raise ReadError(f"the number at byte {start} is cut off, or too long")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def signed(value: int) -> int:
    """Return a varint as a signed number, as in protobuf's int32 and int64."""
    return value - (1 << 64) if value >> 63 else value


def fields(data: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, wire type, start, stop) of each field of the message in data[at:end].

    For a varint, start is its value and stop the place after it. ReadError if the bytes are not a message.
    """
    while at < end:
        begin = at
        key, at = varint(data, at, end)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ReadError(f"no field begins at byte {begin}")
        if kind == VARINT:
            value, at = varint(data, at, end)
            yield number, kind, value, at
            continue
        if kind == BYTES:
            size, at = varint(data, at, end)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise ReadError(f"field {number} at byte {begin} has the unknown wire type {kind}")
        if size > end - at:
            raise ReadError(f"field {number} at byte {begin} claims {size} bytes where {end - at} are left")
        yield number, kind, at, at + size
        at += size

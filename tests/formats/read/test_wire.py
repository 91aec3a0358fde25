"""The wire format, read in place; protobuf itself writes what is read here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.errors import ReadError
from deepmerge.formats import schema
from deepmerge.formats.read.wire import BYTES, FIXED32, FIXED64, VARINT, fields, signed, varint
from deepmerge.formats.write import wire as written


def listed(data: bytes) -> list[tuple]:
    return list(fields(memoryview(data), 0, len(data)))


@given(st.integers(0, 2**64 - 1))
def test_varint(value):
    data = written.varint(value)
    assert varint(memoryview(data), 0, len(data)) == (value, len(data))


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed(value):
    made = schema.message_class("BlobShape")(dim=[value]).SerializeToString()
    assert signed(varint(memoryview(made), 2, len(made))[0]) == value


def test_fields_of_a_message():
    data = schema.message_class("LayerParameter")(name="conv", phase=1, loss_weight=[0.5]).SerializeToString()
    found = listed(data)
    assert [(number, kind) for number, kind, _, _ in found] == [(1, BYTES), (5, FIXED32), (10, VARINT)]
    name, weight, phase = found
    assert data[name[2] : name[3]] == b"conv" and data[weight[2] : weight[3]] == b"\0\0\0\x3f" and phase[2] == 1


def test_field_of_eight_bytes():
    assert listed(b"\x09" + bytes(8)) == [(1, FIXED64, 1, 9)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80", "the number at byte 0 is cut off, or too long"),
        (b"\x08", "the number at byte 1 is cut off, or too long"),
        (b"\x08" + b"\xff" * 11, "the number at byte 1 is cut off, or too long"),
        (b"\x0a\x05abc", "field 1 at byte 0 claims 5 bytes where 3 are left"),
        (
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "field 1 at byte 0 claims 18446744073709551615 bytes where 0 are left",
        ),
        (b"\x0d123", "field 1 at byte 0 claims 4 bytes where 3 are left"),
        (b"\x0b", "field 1 at byte 0 has the unknown wire type 3"),
        (b"\x08\x01\x00\x01", "no field begins at byte 2"),
    ],
)
def test_what_is_no_message(data, message):
    with pytest.raises(ReadError) as caught:
        listed(data)
    assert str(caught.value) == message


def test_only_the_part_that_was_asked_for():
    data = memoryview(b"\xff\x08\x05\xff")
    assert list(fields(data, 1, 3)) == [(1, VARINT, 5, 3)]


@given(st.binary(max_size=30))
def test_any_bytes_are_fields_or_a_read_error(data):
    try:
        found = listed(data)
    except ReadError:
        return
    assert all(0 <= start <= stop <= len(data) for _, kind, start, stop in found if kind != VARINT)

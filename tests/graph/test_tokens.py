"""Numbers and truth values as protobuf's text parser takes them; what it takes was tried out in real Caffe."""

from __future__ import annotations

import math

import pytest

from deepmerge.graph.tokens import boolean, integer, number


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("7", 7), ("-7", -7), ("010", 8), ("0x1F", 31), ("-0X1f", -31), ("00", 0)]
)
def test_integer(text, value):
    assert integer(text) == value


@pytest.mark.parametrize(
    "text", ["", "-", "+5", "1_0", "0b1", "0o7", "09", "5.0", "3x", "1e3", "--5", "5 ", "١", "9" * 5000]
)
def test_no_integer(text):
    with pytest.raises(ValueError):
        integer(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-5", -5), (".5", 0.5), ("1.", 1), ("1.e2", 100), ("1f", 1), (".5F", 0.5), ("1e-5", 1e-5), ("1E+2", 100), ("0.50", 0.5),
     ("inf", math.inf), ("-Infinity", -math.inf), ("1e400", math.inf)],
)  # fmt: skip
def test_number(text, value):
    assert number(text) == value


def test_not_a_number_is_one():
    assert math.isnan(number("nan")) and math.isnan(number("-NaN"))


@pytest.mark.parametrize(
    "text", ["", "-", "+5", "1_0", "0x10", "08", "010", "1.5.2", "1e", "e5", ".", "--1", "inff", "true", " 1"]
)
def test_no_number(text):
    with pytest.raises(ValueError):
        number(text)


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("t", True), ("1", True), ("False", False), ("f", False), ("0x0", False)]
)
def test_boolean(text, value):
    assert boolean(text) is value


@pytest.mark.parametrize("text", ["", "2", "-1", "TRUE", "yes", "1.0"])
def test_no_boolean(text):
    with pytest.raises(ValueError):
        boolean(text)

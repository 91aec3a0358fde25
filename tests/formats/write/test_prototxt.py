"""Tree → text, and Python values → tree; real Caffe reads what is written."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.formats.write.prototxt import format_tree, message, scalar, shortest
from deepmerge.graph.tree import Quoted, Token
from deepmerge.names import for_prototxt
from tests.protobuf_judge import differences
from tests.trees import made, plain


def test_the_form_is_caffes():
    tree = made(
        [
            ("name", Quoted("net")),
            ("layer", [("top", Quoted("a")), ("relu_param", []), ("lrn_param", [("k", Token("2"))])]),
        ]
    )
    text = 'name: "net"\nlayer {\n  top: "a"\n  relu_param {\n  }\n  lrn_param {\n    k: 2\n  }\n}\n'
    assert format_tree(tree) == text
    assert format_tree(tree.fields[1].value, 1).splitlines()[0] == '  top: "a"'
    assert format_tree(made([])) == ""


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", '""'), ("conv1/7x7_s2", '"conv1/7x7_s2"'), ('a"b', '"a\\"b"'), ("a'b", '"a\'b"'), ("a\\b", '"a\\\\b"'), ("a\nb\tc\rd", '"a\\nb\\tc\\rd"'),
        ("\0", '"\\000"'), ("é网", '"é网"'), ("\u2028", '"\\342\\200\\250"'), ("caf\udce9", '"caf\\351"'), ("\x7f1", '"\\1771"'),
    ],
)  # fmt: skip
def test_quote(text, written):
    assert for_prototxt(text) == written


@pytest.mark.pitfall("row", 9)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00999999977648, "0.01"), (0.01, "0.01"), (1.0, "1"), (0.0, "0"), (-0.0, "-0.0"), (-2.5, "-2.5"), (1e-5, "1e-5"), (9.99999974738e-05, "0.0001"),
        (0.0001, "0.0001"), (0.00009, "9e-5"), (0.00015, "0.00015"), (0.999, "0.999"), (0.1, "0.1"), (1 / 3, "0.33333334"), (0.99999999, "1"), (1e7, "1e+7"), (123456, "123456"),
        (16777217, "1.6777216e+7"), (3.4028235e38, "3.4028235e+38"), (1e39, "inf"), (-math.inf, "-inf"), (math.nan, "nan"), (1e-45, "1e-45"), (1e-50, "0"),
    ],
)  # fmt: skip
def test_shortest(value, text):
    assert shortest(value) == text


@pytest.mark.pitfall("row", 9)
@given(st.floats(width=32, allow_nan=False))
def test_shortest_reads_back_as_the_same_float32(value):
    text = shortest(value)
    assert np.float32(text) == np.float32(value) and math.copysign(1, float(text)) == math.copysign(1, value)
    assert len(text) <= 15


@pytest.mark.pitfall("row", 9)
@pytest.mark.parametrize(
    ("token", "written"),
    [
        ("0.00999999977648", "0.01"), ("9.99999974738e-05", "0.0001"), ("-0.750000000000", "-0.75"), ("1.00000000f", "1"), ("0.0100", "0.0100"),
        ("1e-5", "1e-5"), ("123456789012", "123456789012"), ("0x10", "0x10"), (".5", ".5"), ("MAX", "MAX"), ("1.0000000e400", "inf"),
    ],
)  # fmt: skip
def test_long_decimals_are_shortened_and_the_rest_is_verbatim(token, written):
    text = format_tree(made([("x", Token(token))]))
    assert text == f"x: {written}\n"


@pytest.mark.pitfall("row", 9)
def test_shortened_floats_are_equal_to_real_caffe(caffe_python):
    chance = np.random.default_rng(5)
    values = (chance.standard_normal(200) * 10.0 ** chance.integers(-12, 12, 200)).astype(np.float32)
    long = [
        (
            "layer",
            [("loss_weight", Token(f"{value:.20g}" if abs(value) > 1e7 else f"{value:.20f}")) for value in values],
        )
    ]
    exact = "layer {" + "\n".join(f"loss_weight: {float(value)!r}" for value in values) + "}"
    shorter = made([("layer", [("loss_weight", scalar(float(value))) for value in values])])
    assert differences(caffe_python, [("NetParameter", exact, format_tree(shorter))]) == [""]
    assert len(format_tree(made(long))) > 0


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (3, "3"), (-1, "-1"), (np.int64(7), "7"), (True, "true"), (np.bool_(False), "false"), (0.5, "0.5"), (np.float32(0.1), "0.1"), (2.0, "2"),
        (float("inf"), "inf"), ("AVE", "AVE"), (Token("x"), "x"),
    ],
)  # fmt: skip
def test_scalar(value, token):
    assert scalar(value) == token and isinstance(scalar(value), Token)


def test_strings_stay_quoted():
    assert isinstance(scalar(Quoted("conv")), Quoted)


def test_message():
    found = message(
        name=Quoted("a"),
        dim=[1, 2],
        top=(),
        pool="AVE",
        group=None,
        relu_param=message(negative_slope=0.5),
        blobs=[message(), message()],
    )
    assert plain(found) == [
        ("name", ("quoted", "a")), ("dim", ("bare", "1")), ("dim", ("bare", "2")), ("pool", ("bare", "AVE")),
        ("relu_param", [("negative_slope", ("bare", "0.5"))]), ("blobs", []), ("blobs", []),
    ]  # fmt: skip

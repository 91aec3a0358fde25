"""Values by the schema's kinds, as real Caffe's text parser (C++) takes and refuses them."""

from __future__ import annotations

import math

import pytest

from deepmerge.errors import ReadError
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.read.scalars import Reader


def reader(text: str, kind: str) -> Reader:
    return Reader(parse(text), kind, "net.prototxt", "layer 'x' (X)")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("LRNParameter", "local_size: 010", 8),
        ("LRNParameter", "local_size: 0x7", 7),
        ("LRNParameter", "alpha: .5f", 0.5),
        ("LRNParameter", "alpha: -infinity", -math.inf),
        ("LRNParameter", "alpha: 5", 5.0),
        ("SoftmaxParameter", "axis: -1", -1),
        ("BlobShape", "dim: 9223372036854775807", 2**63 - 1),
        ("NetParameter", "force_backward: true", True),
        ("NetParameter", "force_backward: f", False),
        ("NetParameter", "force_backward: False", False),
        ("NetParameter", "force_backward: 0x1", True),
        ("NetParameter", "force_backward: 00", False),
        ("PoolingParameter", "pool: AVE", "AVE"),
        ("PoolingParameter", "pool: 1", "AVE"),
        ("PoolingParameter", "pool: L2", "L2"),  # some fork's
        ("PoolingParameter", "pool: 17", "17"),
        ("LayerParameter", "name: 'a' 'b'", "ab"),
    ],
)
def test_values(kind, text, value):
    found = reader(text, kind).one(text.partition(":")[0])
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "wanted", "found"),
    [
        ("LRNParameter", "local_size: 5.0", "a whole number from 0 on", "'5.0'"),
        ("LRNParameter", "local_size: -5", "a whole number from 0 on", "'-5'"),
        ("LRNParameter", "local_size: 4294967296", "a whole number from 0 on", "'4294967296'"),
        ("LRNParameter", "local_size: 3x3", "a whole number from 0 on", "'3x3'"),
        ("LRNParameter", "local_size: '3'", "a whole number from 0 on", 'the string "3"'),
        ("LRNParameter", "local_size { }", "a whole number from 0 on", "a message"),
        ("SoftmaxParameter", "axis: one", "a whole number", "'one'"),
        ("BlobShape", "dim: 9223372036854775808", "a whole number", "'9223372036854775808'"),
        ("LRNParameter", "alpha: 0x10", "a number", "'0x10'"),
        ("LRNParameter", "alpha: '1'", "a number", 'the string "1"'),
        ("NetParameter", "force_backward: TRUE", "true or false", "'TRUE'"),
        ("NetParameter", "force_backward: 2", "true or false", "'2'"),
        ("PoolingParameter", "pool: 'MAX'", "one of MAX, AVE, STOCHASTIC, without quotes", 'the string "MAX"'),
        ("LayerParameter", "name: conv1", 'a quoted string (name: "conv1")', "'conv1'"),
        ("LayerParameter", "name: 1", 'a quoted string (name: "1")', "'1'"),
        ("LayerParameter", "relu_param: 1", "a message in braces", "'1'"),
        ("LRNParameter", "alpha: '\\n'", "a number", 'the string "\\n"'),
        ("LRNParameter", "alpha: " + "9" * 70 + "x", "a number", "'" + "9" * 60 + "…'"),
    ],
)
def test_refusals(kind, text, wanted, found):
    name = text.partition(":")[0].partition(" ")[0]
    with pytest.raises(ReadError) as caught:
        reader(f"\n  {text}", kind).one(name)
    assert str(caught.value) == f"net.prototxt:2:3: layer 'x' (X): {name!r} needs {wanted}, found {found}"


def test_absent_fields():
    lrn = reader("alpha: 2", "LRNParameter")
    assert (lrn.one("local_size"), lrn.all("local_size"), lrn.has("local_size")) == (5, [], False)
    assert (lrn.one("alpha"), lrn.has("alpha")) == (2.0, True)
    assert reader("", "PoolingParameter").one("kernel_h") is None
    assert Reader(None, "LRNParameter", "f", "w").one("beta") == 0.75


def test_repeated_fields():
    assert reader("dim: [2, 3] dim: 4", "BlobShape").all("dim") == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "hint"), [("num_outputs: 3", "; is 'num_outputs' a misspelling of it?"), ("kernel_size: 3", "")]
)
def test_required(text, hint):
    with pytest.raises(ReadError) as caught:
        reader(text, "ConvolutionParameter").required("num_output")
    assert str(caught.value) == f"net.prototxt:1:1: layer 'x' (X): 'num_output' is missing{hint}"

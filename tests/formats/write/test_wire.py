"""Tree → wire format: the bytes parse, in real Caffe's protobuf, to the message that the text means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.errors import EmitError
from deepmerge.formats import schema
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.formats.write.wire import block, encode, key, prefix, varint
from deepmerge.graph.tree import Message, Quoted, Token
from tests.protobuf_judge import differences

TEXTS = [
    ("NetParameter", 'name: "n\u00e9t" force_backward: true debug_info: f input_dim: [1, -2, 010, 0x10]'),
    ("LayerParameter", 'loss_weight: [0.1, -1e-5, inf, -inf, 1e50, 1.5f] propagate_down: true propagate_down: false phase: TEST'),
    ("LayerParameter", "softmax_param { axis: -1 engine: CAFFE } lrn_param { alpha: 1e-45 norm_region: 1 k: -0.0 }"),
    ("BlobShape", "dim: 1 dim: -9223372036854775808 dim: 9223372036854775807"),
    ("BlobProto", "num: 1 shape { dim: [2, 3] } data: [1, 2.5] double_data: [0.1, 1e300] diff: 3"),
    ("Datum", 'channels: 3 data: "abc\\000\\n" float_data: 1 encoded: true'),
    ("FillerParameter", 'type: "" sparse: -1 value: .5'),
    ("SolverParameter", 'random_seed: -1 solver_mode: GPU type: "SGD" stepvalue: 1 stepvalue: 2'),
    ("PoolingParameter", ""),
]  # fmt: skip


def test_texts_as_real_caffe_parses_them(caffe_python):
    cases = [(kind, text, encode(parse(text), kind)) for kind, text in TEXTS]
    assert differences(caffe_python, cases) == [""] * len(cases)


def test_models_as_real_caffe_parses_them(models, caffe_python):
    texts = [path.read_text() for path in sorted(models.glob("*/*.prototxt"))]
    cases = [("NetParameter", text, encode(parse(text), "NetParameter")) for text in texts]
    assert len(cases) > 10 and differences(caffe_python, cases) == [""] * len(cases)


@pytest.mark.parametrize(("kind", "text"), TEXTS)
def test_bytes_are_protobufs(kind, text):
    """Also by the protobuf that is installed here; what it writes of the message is the same, up to packing."""
    from google.protobuf import text_format

    message = schema.message_class(kind)
    assert message.FromString(encode(parse(text), kind)) == text_format.Parse(text, message())


@given(st.integers(-(2**63), 2**63 - 1))
def test_varint(value):
    shape = schema.message_class("BlobShape").FromString(block(1, varint(value)))
    assert list(shape.dim) == [value]


def test_keys_and_prefixes():
    assert key(1, 0) == b"\x08" and key(100, 2) == b"\xa2\x06"
    assert prefix(1, 300) == b"\x0a\xac\x02" and block(1, b"ab") == b"\x0a\x02ab"


@settings(max_examples=60)
@given(st.floats(width=32, allow_nan=False), st.integers(0, 2**32 - 1), st.text(max_size=8))
def test_values_survive(number, size, text):
    tree = Message()
    tree.add("name", Quoted(text))
    lrn = Message()
    lrn.add("alpha", Token(repr(number)))
    lrn.add("local_size", Token(str(size)))
    tree.add("lrn_param", lrn)
    layer = schema.message_class("LayerParameter").FromString(encode(tree, "LayerParameter"))
    assert (layer.name, layer.lrn_param.local_size, layer.lrn_param.alpha) == (text, size, number)
    assert parse(format_tree(tree)).value("name") == text


def test_bytes_that_are_no_utf8_survive():
    assert encode(parse('name: "caf\\351"'), "NetParameter") == b"\x0a\x04caf\xe9"


def test_what_the_schema_does_not_know_is_left_out():
    text = 'name: "l" my_fork_param { a: 1 } phase: RUN pooling_param { pool: L2 ceil_mode: false kernel_size: 3 }'
    expected = 'name: "l" pooling_param { kernel_size: 3 }'
    assert encode(parse(text), "LayerParameter") == encode(parse(expected), "LayerParameter")


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (
            "LRNParameter",
            "local_size: big",
            "LRNParameter.local_size is of kind uint, and cannot be written from 'big'",
        ),
        ("LRNParameter", "alpha: 'x'", "LRNParameter.alpha is of kind float, and cannot be written from 'x'"),
        ("LRNParameter", "alpha { }", "LRNParameter.alpha is of kind float, and cannot be written from a message"),
        ("LayerParameter", "name: conv", "LayerParameter.name is of kind string, and cannot be written from 'conv'"),
        (
            "LayerParameter",
            "lrn_param: 1",
            "LayerParameter.lrn_param is of kind message, and cannot be written from '1'",
        ),
        (
            "NetParameter",
            "force_backward: maybe",
            "NetParameter.force_backward is of kind bool, and cannot be written from 'maybe'",
        ),
    ],
)
def test_values_of_the_wrong_kind(kind, text, message):
    with pytest.raises(EmitError) as caught:
        encode(parse(text), kind)
    assert str(caught.value) == message

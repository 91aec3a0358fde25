"""Typed parameters → messages: only what changed is written, and reading it again gives the same parameters."""

from __future__ import annotations

import dataclasses

import pytest

from deepmerge.formats.read.params import read_params
from deepmerge.formats.read.prototxt import parse
from deepmerge.formats.write.params import layer_fields
from deepmerge.formats.write.prototxt import format_tree
from deepmerge.graph import params as typed
from deepmerge.graph.graph import Layer
from deepmerge.graph.tree import Message
from deepmerge.graph.types import TYPES


def read(kind: str, fields: str, other: str = "") -> Layer:
    name = TYPES[kind].params.FIELD
    tree = parse(f"{name} {{ {fields} }} {other}") if fields or other else Message()
    params = read_params(kind, tree, "x", "layer")
    return Layer("l", kind, params, tree=tree, read_params=params)


def written(layer: Layer) -> str:
    return " ".join(format_tree(layer_fields(layer)).split())


def changed(kind: str, fields: str, **changes) -> str:
    """What stands in the layer's message after a change; what is written must read back as what was meant."""
    layer = read(kind, fields)
    before = written(layer)
    layer.params = dataclasses.replace(layer.params, **changes)
    text = written(layer)
    assert read_params(kind, parse(text), "x", "layer") == layer.params
    layer.params = layer.read_params
    assert written(layer) == before
    name = TYPES[kind].params.FIELD
    return text.removeprefix(f"{name} {{ ").removesuffix(" }") if text else ""


def test_what_has_not_changed_is_the_tree_as_read():
    layer = read(
        "Convolution",
        "num_output: 2 kernel_size: 3 kernel_size: 3 own: 1 weight_filler { std: 0.1 }",
        "fork_param { a: 1 }",
    )
    assert layer_fields(layer) is layer.tree
    layer.params = dataclasses.replace(layer.params)
    assert layer_fields(layer) is layer.tree


def test_layers_of_unknown_types_and_without_parameters():
    for layer in (
        Layer("a", "Axpy", None, tree=parse("axpy_param { a: 1 }")),
        Layer("s", "Sigmoid", typed.Plain(), tree=parse("sigmoid_param { }")),
    ):
        assert layer_fields(layer) is layer.tree


CONV = "num_output: 2 kernel_size: 3"
CHANGES = [
    ("Convolution", CONV, {"num_output": 5}, "num_output: 5 kernel_size: 3"),
    ("Convolution", CONV + " bias_term: false own: 1 engine: CAFFE", {"bias_term": True}, CONV + " own: 1 engine: CAFFE"),
    ("Convolution", CONV + " weight_filler { type: 'msra' }", {"bias_term": False}, CONV + ' weight_filler { type: "msra" } bias_term: false'),
    ("Convolution", CONV, {"kernel_h": 5, "kernel_w": 5}, "num_output: 2 kernel_size: 5"),
    ("Convolution", "kernel_size: 3 num_output: 2", {"kernel_w": 5}, "kernel_h: 3 kernel_w: 5 num_output: 2"),
    ("Convolution", "kernel_size: 3 kernel_size: 4 num_output: 2", {"kernel_w": 3}, "kernel_size: 3 num_output: 2"),
    ("Convolution", "kernel_h: 3 kernel_w: 4 num_output: 2", {"kernel_w": 3}, "kernel_size: 3 num_output: 2"),
    ("Convolution", "kernel_h: 3 kernel_w: 4 num_output: 2", {"kernel_h": 1}, "kernel_h: 1 kernel_w: 4 num_output: 2"),
    ("Convolution", CONV + " stride: 2 pad: 1", {"stride_h": 1, "stride_w": 1, "pad_h": 0, "pad_w": 0}, CONV),
    ("Convolution", CONV, {"stride_w": 2, "pad_h": 1}, CONV + " stride_h: 1 stride_w: 2 pad_h: 1 pad_w: 0"),
    ("Convolution", CONV + " pad_h: 1", {"pad_h": 0}, CONV),
    ("Convolution", CONV + " dilation: 2", {"dilation_h": 1, "dilation_w": 1}, CONV),
    ("Convolution", CONV, {"dilation_h": 3, "dilation_w": 3}, CONV + " dilation: 3"),
    ("Convolution", CONV + " dilation: 2", {"dilation_w": 3}, CONV + " dilation: 2 dilation: 3"),
    ("Convolution", CONV + " group: 2", {"group": 1}, CONV),
    ("Pooling", "kernel_size: 3 stride: 2", {"pool": "AVE"}, "kernel_size: 3 stride: 2 pool: AVE"),
    ("Pooling", "pool: AVE kernel_size: 3", {"pool": "MAX"}, "kernel_size: 3"),
    ("Pooling", "kernel_size: 3", {"ceil": False}, "kernel_size: 3 round_mode: FLOOR"),
    ("Pooling", "kernel_size: 3 round_mode: FLOOR", {"ceil": True}, "kernel_size: 3"),
    ("Pooling", "ceil_mode: false kernel_size: 3", {"ceil": True}, "kernel_size: 3"),
    ("Pooling", "ceil_mode: false kernel_size: 3", {"stride_h": 2, "stride_w": 2}, "ceil_mode: false kernel_size: 3 stride: 2"),
    ("Pooling", "global_pooling: true pool: AVE", {"global_pooling": False, "kernel_h": 4, "kernel_w": 4}, "pool: AVE kernel_size: 4"),
    ("Pooling", "kernel_size: 4", {"global_pooling": True, "kernel_h": 0, "kernel_w": 0}, "global_pooling: true"),
    ("ReLU", "negative_slope: 0.1", {"negative_slope": 0.0}, ""),
    ("ReLU", "", {"negative_slope": 0.1}, "negative_slope: 0.1"),
    ("LRN", "local_size: 5 alpha: 0.0001", {"alpha": 0.0002, "norm_region": "WITHIN_CHANNEL"}, "local_size: 5 alpha: 0.0002 norm_region: WITHIN_CHANNEL"),
    ("BatchNorm", "use_global_stats: true", {"use_global_stats": None, "eps": 2e-5}, "eps: 2e-5"),
    ("Dropout", "dropout_ratio: 0.7 scale_train: false", {"dropout_ratio": 0.6}, "dropout_ratio: 0.6 scale_train: false"),
    ("Dropout", "sample_weights_test: true", {"sample_weights_test": False, "scale_train": False}, "scale_train: false"),
    ("Concat", "concat_dim: 2", {"axis": 1}, ""),
    ("Concat", "concat_dim: 1", {"axis": 2}, "axis: 2"),
    ("Slice", "slice_dim: 0 slice_point: 1", {"axis": 1, "slice_point": (2, 4)}, "slice_point: 2 slice_point: 4"),
    ("Eltwise", "coeff: 1 coeff: 2", {"coeff": ()}, ""),
    ("Eltwise", "coeff: 1 coeff: 2 operation: SUM", {"coeff": (1.0, -1.0)}, "coeff: 1 coeff: -1 operation: SUM"),
    ("Input", "shape { dim: 1 dim: 2 }", {"shape": ((1, 3), (4,))}, "shape { dim: 1 dim: 3 } shape { dim: 4 }"),
    ("DummyData", "num: 1 channels: 2 height: 3 width: 4", {"shape": ((2, 3),)}, "shape { dim: 2 dim: 3 }"),
    ("Reshape", "shape { dim: 0 dim: -1 }", {"shape": (0, 2, -1), "axis": 1}, "shape { dim: 0 dim: 2 dim: -1 } axis: 1"),
    ("Parameter", "shape { dim: 2 }", {"shape": (3,)}, "shape { dim: 3 }"),
    ("InnerProduct", "num_output: 3 transpose: true", {"transpose": False}, "num_output: 3"),
    ("ArgMax", "axis: 1", {"axis": None, "top_k": 2}, "top_k: 2"),
    ("Accuracy", "", {"ignore_label": 0}, "ignore_label: 0"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "before", "changes", "after"), CHANGES)
def test_changes(kind, before, changes, after):
    assert changed(kind, before, **changes) == after


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            typed.Convolution(num_output=2, kernel_h=3, kernel_w=1, pad_h=1),
            "convolution_param { num_output: 2 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 }",
        ),
        (
            typed.Pooling(kernel_h=3, kernel_w=3, stride_h=2, stride_w=2, ceil=False),
            "pooling_param { kernel_size: 3 stride: 2 round_mode: FLOOR }",
        ),
        (typed.InnerProduct(num_output=4), "inner_product_param { num_output: 4 }"),
        (typed.Input(shape=((1, 2),)), "input_param { shape { dim: 1 dim: 2 } }"),
        (typed.Scale(bias_term=True), "scale_param { bias_term: true }"),
        (typed.ReLU(), ""),
        (typed.Concat(), ""),
    ],
)
def test_new_layers(params, text):
    kind = type(params).__name__
    layer = Layer("l", kind, params)
    assert written(layer) == text
    assert read_params(kind, parse(text), "x", "layer") == params
    assert layer.tree.fields == []


def test_a_layer_that_took_over_another_ones_message_says_all():
    """Whatever the message said of another type's parameters, it says the new ones."""
    layer = read("Convolution", CONV + " group: 2 stride: 2")
    layer.type, layer.params = "Deconvolution", typed.Deconvolution(num_output=2, kernel_h=3, kernel_w=3)
    assert written(layer) == "convolution_param { num_output: 2 kernel_size: 3 }"
    layer.read_params, layer.params = None, typed.Convolution(num_output=7, kernel_h=1, kernel_w=1)
    assert written(layer) == "convolution_param { num_output: 7 kernel_size: 1 }"


def test_the_tree_is_not_changed():
    layer = read("Convolution", CONV + " weight_filler { type: 'msra' }", "own { a: 1 }")
    before = format_tree(layer.tree)
    layer.params = dataclasses.replace(layer.params, num_output=9)
    assert written(layer).endswith("own { a: 1 }") and format_tree(layer.tree) == before

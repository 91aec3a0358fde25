"""Weights have the shapes that Caffe gives them (test_shapes.py compares those), or they are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepmerge.errors import ShapeError
from deepmerge.graph import Graph
from deepmerge.graph import params as typed
from deepmerge.graph.shapes import check_weights, fits, infer_shapes
from tests.graph.graph_nets import one_layer

CONV = typed.Convolution(num_output=3, kernel_h=2, kernel_w=1)


def weighted(kind: str, params: typed.Params, *shapes: tuple[int, ...]) -> Graph:
    graph = one_layer(kind, params, (1, 4, 5, 6))
    graph.layer("y").weights = [np.zeros(found, np.float32) for found in shapes]
    return graph


def test_weights_that_fit_pass():
    for graph in (
        weighted("Convolution", CONV, (3, 4, 2, 1), (3,)),
        weighted("Convolution", replace(CONV, bias_term=False), (3, 4, 2, 1)),
        weighted("Convolution", CONV),
        weighted("BatchNorm", typed.BatchNorm(), (4,), (4,), (1,)),
        weighted("Correlation", None, (4,)),
    ):
        check_weights(graph, infer_shapes(graph))


@pytest.mark.parametrize(
    "kind, params, shapes, message",
    [
        (
            "Convolution",
            CONV,
            [(3, 4, 1, 2), (3,)],
            "layer 'y' (Convolution): weight blob 0: expected (3, 4, 2, 1), found (3, 4, 1, 2);"
            " does the caffemodel belong to this prototxt?",
        ),
        ("Convolution", CONV, [(3, 4, 2, 1), (4,)], "weight blob 1: expected (3,), found (4,)"),
        (
            "Convolution",
            CONV,
            [(3, 4, 2, 1)],
            "weights: expected 2 blobs (3, 4, 2, 1), (3,), found 1 blob (3, 4, 2, 1)",
        ),
        ("ReLU", typed.ReLU(), [(3,)], "weights: expected 0 blobs, found 1 blob (3,)"),
        ("BatchNorm", typed.BatchNorm(), [(4,), (4,), (1,), (4,), (4,)], "(4,), as NVCaffe stores them; does"),
        (
            "InnerProduct",
            typed.InnerProduct(num_output=2, transpose=True),
            [(2, 120), (2,)],
            "expected (120, 2), found (2, 120)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(kind, params, shapes, message):
    graph = weighted(kind, params, *shapes)
    with pytest.raises(ShapeError) as refusal:
        check_weights(graph, infer_shapes(graph))
    assert message in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "found, expected, answer",
    [
        ((5, 7), (5, 7), True),
        ((1, 1, 5, 7), (5, 7), True),
        ((1, 1, 1, 7), (7,), True),
        ((1, 1, 1, 1), (), True),
        ((1, 1, 1, 1), (1,), True),
        ((4, 3, 2, 1), (4, 3, 2, 1), True),
        ((5, 7), (7, 5), False),
        ((1, 5, 7), (5, 7), False),  # three axes are no legacy blob
        ((1, 5, 1, 7), (5, 7), False),
        ((5, 7, 1, 1), (5, 7), False),
        ((1, 1, 1, 7), (7, 1), False),
        ((1, 1, 1, 5, 7), (5, 7), False),
        ((35,), (5, 7), False),
    ],
)
def test_legacy_blobs_fit_where_only_ones_in_front_are_added(found, expected, answer):
    assert fits(found, expected) is answer


def test_real_caffe_loads_the_same_legacy_blobs(worker, tmp_path):
    """A caffemodel with four legacy axes for a vector and a matrix, written by Caffe's own schema."""
    from deepmerge.formats import schema

    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 7 } } }
    layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 5 } }"""
    net = schema.message_class("NetParameter")()
    stored = net.layer.add(name="y", type="InnerProduct")
    for dims in ((1, 1, 5, 7), (1, 1, 1, 5)):
        blob = stored.blobs.add(num=dims[0], channels=dims[1], height=dims[2], width=dims[3])
        blob.data.extend(np.arange(np.prod(dims)))
    prototxt, caffemodel = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(text, encoding="utf-8")
    caffemodel.write_bytes(net.SerializeToString())
    with worker.load(prototxt, caffemodel) as session:
        found = session.params()["y"]
    assert [blob.shape for blob in found] == [(5, 7), (5,)]
    assert np.array_equal(found[0].ravel(), np.arange(35))

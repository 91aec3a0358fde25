"""Shapes of blobs and weights are those of real Caffe, over odd sizes."""

from __future__ import annotations

import pytest

from deepmerge.formats.read import read_network
from deepmerge.graph import Layer
from deepmerge.graph import params as typed
from deepmerge.graph.shapes import expected_weights, infer_shapes
from deepmerge.graph.types import TYPES
from tests.graph.graph_nets import NETS, data, layer
from tests.helpers import calls

ROUNDED = "pooling", "convolution"


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.pitfall("row", 20)) if n in ROUNDED else n for n in NETS]
)
def test_every_shape_is_real_caffes(name, read, describe):
    text = NETS[name]()
    graph, caffe = read(text), describe(text)
    shapes = infer_shapes(graph)
    assert {blob.name: shapes[blob] for blob in graph.blobs} == {b.name: caffe["blobs"][b.name] for b in graph.blobs}
    weights = {la.name: expected_weights(la, [shapes[b] for b in la.bottoms]) for la in graph.layers}
    assert weights == {la["name"]: [tuple(p) for p in la["params"]] for la in caffe["layers"] if la["name"] in weights}


def test_every_known_type_has_a_rule_and_a_test():
    assert all(known.shape and known.params for known in TYPES.values())
    texts = "".join(net() for net in NETS.values())
    untested = {kind for kind, known in TYPES.items() if not known.fork and f'type: "{kind}"' not in texts}
    assert untested == {"Clip"}  # newer than the Caffe that pip has


def test_batch_takes_the_place_of_the_first_axis(read):
    graph = read(data(10, 3, 5, 6) + data(4, name="z") + layer("ReLU") + layer("Flatten", "", "f"))
    shapes = {blob.name: found for blob, found in infer_shapes(graph, batch=1).items()}
    assert shapes == {"x": (1, 3, 5, 6), "z": (4,), "y": (1, 3, 5, 6), "f": (1, 90)}


def test_behind_an_unknown_layer_shapes_are_unknown(read):
    graph = read(
        data(1, 4, 5, 6)
        + layer("Correlation")
        + layer("ReLU", "", "z", "y")
        + layer("Eltwise", "", "e", "x z")
        + layer("ReLU", "", "r")
    )
    shapes = {blob.name: found for blob, found in infer_shapes(graph).items()}
    assert shapes == {"x": (1, 4, 5, 6), "y": None, "z": None, "e": None, "r": (1, 4, 5, 6)}
    conv = Layer("c", "Convolution", typed.Convolution(num_output=3, kernel_h=1, kernel_w=1))
    assert expected_weights(conv, [None]) is None
    assert expected_weights(graph.layer("y"), [(1, 4, 5, 6)]) is None


def test_an_input_without_a_shape_is_unknown(read):
    graph = read('layer { name: "x" type: "Input" top: "x" }\n' + layer("ReLU"))
    assert set(infer_shapes(graph).values()) == {None}


@pytest.mark.parametrize("name", ["resnet50", "googlenet"])
def test_a_large_network_takes_work_by_its_layers(name, models):
    graph = read_network(models / name / "deploy.prototxt")
    assert calls(lambda: infer_shapes(graph)) < 100 * len(graph.layers)

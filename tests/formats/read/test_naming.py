"""Layers without a name, and layers of one name. Real Caffe runs both, and says what comes out."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.errors import EngineError, GraphError, ShapeError
from deepmerge.formats.read.network import read_network
from deepmerge.formats.write import write_pair
from deepmerge.formats.write.caffemodel import write_caffemodel
from tests.helpers import apart, conv, feeds, fill, inputs, layer, relu

UNNAMED = (
    inputs((2, 3, 6, 5))
    + conv("", "data", 4, top="c")
    + relu("c", "x")
    + layer("", "ReLU", "c", tops="c").replace('name: "" ', "")
)
UNNAMED += layer("", "TanH", "c", tops="t").replace('name: "" ', "") + conv("last", "t", 2)
TWINS = inputs((2, 3, 6, 5)) + conv("c", "data", 4) + relu("c", "x") + layer("x", "TanH", "c", tops="t")
TWINS += layer("x", "AbsVal", "t", tops="a") + conv("last", "a", 2)


def read(tmp_path, text: str):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    return read_network(path)


def in_caffe(real_caffe, prototxt, caffemodel, values):
    with real_caffe.start() as worker, worker.load(prototxt, caffemodel) as session:
        return session.forward(values)


def test_an_unnamed_layer_has_the_name_of_its_place(tmp_path):
    graph = read(tmp_path, UNNAMED)
    assert [x.name for x in graph.layers] == ["input", "layer2", "x", "layer4", "layer5", "last"]
    assert graph.warnings == ["3 layers without a name: called layer2, layer4, layer5, by the place in the file"]


def test_a_made_up_name_that_is_taken(tmp_path):
    graph = read(tmp_path, UNNAMED.replace('"x"', '"layer2"'))
    assert [x.name for x in graph.layers][1:3] == ["layer2_2", "layer2"]


def test_twins_are_told_apart(tmp_path):
    graph = read(tmp_path, TWINS)
    assert [x.name for x in graph.layers] == ["input", "c", "x", "x_2", "x_3", "last"]
    assert graph.warnings == [f"two layers have the name 'x': the later one is called 'x_{i}'" for i in (2, 3)]


@pytest.mark.parametrize("text", [UNNAMED, TWINS])
def test_real_caffe_loads_both_files_and_finds_the_same(tmp_path, real_caffe, text):
    """The original prototxt runs with weights stored under its own names, "" among them."""
    graph = read(tmp_path, text)
    fill(graph, 3)
    made = tmp_path / "out.prototxt", tmp_path / "out.caffemodel"
    write_pair(graph, *made)
    stored, values = graph.copy(), feeds(graph)
    stored.layers[1].name = "" if stored.layers[1].name == "layer2" else "c"
    write_caffemodel(stored, tmp_path / "stored.caffemodel")
    again = read_network(tmp_path / "net.prototxt", tmp_path / "stored.caffemodel")
    for x, y in zip(graph.layers, again.layers, strict=True):
        assert x.name == y.name and all(map(np.array_equal, x.weights, y.weights))
    theirs = in_caffe(real_caffe, tmp_path / "net.prototxt", tmp_path / "stored.caffemodel", values)
    assert apart(theirs, in_caffe(real_caffe, *made, values)) == 0


def test_twins_with_weights_stay_an_error(tmp_path):
    with pytest.raises(GraphError, match="'c' .ReLU. has the name of a layer before it; weights go by name"):
        read(tmp_path, inputs((2, 3, 6, 5)) + conv("c", "data", 4) + relu("c", "c"))
    with pytest.raises(GraphError, match="has the name of a layer before it"):
        read(tmp_path, inputs((2, 3, 6, 5)) + layer("u", "Strange", "data") + layer("u", "TanH", "u", tops="v"))


SHARED = inputs((2, 3, 6, 5), (2, 4, 6, 5))


@pytest.mark.parametrize("mode", ["", "share_mode: PERMISSIVE"])  # STRICT by default
def test_blobs_that_are_shared_in_two_shapes(tmp_path, real_caffe, mode):
    spec = f'param {{ name: "w" {mode} }}'
    text = SHARED + layer("a", "Convolution", "data", "num_output: 4 kernel_size: 1", param=spec)
    text += layer("b", "Convolution", "data1", "num_output: 4 kernel_size: 1", param=spec)
    with pytest.raises(ShapeError) as caught:
        read(tmp_path, text)
    for part in (
        "layer 'b' (Convolution): weight blob 0",
        "'w' in layer 'a' (Convolution)",
        "(4, 3, 1, 1)",
        "(4, 4, 1, 1)",
    ):
        assert part in str(caught.value)
    assert not runs(real_caffe, tmp_path / "net.prototxt")


@pytest.mark.parametrize(("mode", "fine"), [("", False), ("share_mode: PERMISSIVE", True)])
def test_permissive_sharing_counts_values_only(tmp_path, real_caffe, mode, fine):
    text = SHARED + layer(
        "a", "Convolution", "data", "num_output: 4 kernel_size: 1 bias_term: false", param='param { name: "w" }'
    )
    text += layer(
        "b",
        "Convolution",
        "data1",
        "num_output: 3 kernel_size: 1 bias_term: false",
        param=f'param {{ name: "w" {mode} }}',
    )
    if fine:
        read(tmp_path, text)
    else:
        with pytest.raises(ShapeError, match="shares it"):
            read(tmp_path, text)
    assert runs(real_caffe, tmp_path / "net.prototxt") == fine


def runs(real_caffe, prototxt) -> bool:
    try:
        with real_caffe.start() as worker, worker.load(prototxt, None):
            return True
    except EngineError:
        return False

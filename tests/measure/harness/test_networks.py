from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepmerge.errors import ReadError, ShapeError
from deepmerge.graph.shapes import infer_shapes
from deepmerge.measure.harness.networks import Source, parse_networks, read_networks, with_batch
from tests.helpers import conv, inputs, network

A, W = Path("a.prototxt"), Path("w.caffemodel")


def sources(*words):
    return [
        (s.label, str(s.prototxt), None if s.caffemodel is None else str(s.caffemodel)) for s in parse_networks(words)
    ]


def test_the_forms_of_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    assert sources(
        "a.prototxt", "w.caffemodel", "b.prototxt", "out", "c.prototxt,d.caffemodel", "e.prototxt", "f.caffemodel.h5"
    ) == [
        ("a", "a.prototxt", "w.caffemodel"),
        ("b", "b.prototxt", None),
        ("out", "out/deploy.prototxt", "out/weights.caffemodel"),
        ("c", "c.prototxt", "d.caffemodel"),
        ("e", "e.prototxt", "f.caffemodel.h5"),
    ]
    assert sources("x=a.prototxt", "w.caffemodel", "y y=out") == [
        ("x", "a.prototxt", "w.caffemodel"),
        ("y y", "out/deploy.prototxt", "out/weights.caffemodel"),
    ]


def test_labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [label for label, *_ in sources("a.prototxt", "z/a.prototxt", "a.prototxt")] == ["a", "a (2)", "a (3)"]
    assert [label for label, *_ in sources("z/deploy.prototxt")] == ["z"]
    Path("n=1.prototxt").touch()
    assert sources("n=1.prototxt") == [("n=1", "n=1.prototxt", None)]


@pytest.mark.parametrize(
    "words", [["w.caffemodel"], ["a.prototxt", "w.caffemodel", "w.caffemodel"], ["a.prototxt", "x=w.h5"]]
)
def test_weights_of_no_network(words):
    with pytest.raises(ValueError, match="are weights; give them after their PROTOTXT"):
        parse_networks(words)


def test_read(mini_pair, tmp_path):
    prototxt, caffemodel = mini_pair
    real, made = read_networks([Source("a", prototxt, caffemodel), Source("b", prototxt, None)])
    assert (real.random, made.random) == (False, True)
    assert all(layer.weights for layer in made.graph.layers if layer.type == "Convolution")
    again = read_networks([Source("b", prototxt, None)])[0]
    for one, other in zip(made.graph.layers, again.graph.layers, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(one.weights, other.weights, strict=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ReadError, match="empty: holds no deploy.prototxt; give a folder that `deepmerge convert` wrote"
    ):
        read_networks(parse_networks([str(tmp_path / "empty")]))


def test_another_batch(tmp_path):
    graph = network(tmp_path, inputs((2, 3, 5, 4)) + conv("c", "data", 2))
    twin = with_batch(graph, 7)
    assert [shape for shape in infer_shapes(twin).values()] == [(7, 3, 5, 4), (7, 2, 5, 4)]
    assert graph.layers[0].params.shape == ((2, 3, 5, 4),)
    fixed = (
        inputs((2, 3, 5, 4))
        + 'layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 2 dim: 60 } } }'
    )
    with pytest.raises(ShapeError):
        with_batch(network(tmp_path, fixed), 3)


@pytest.fixture
def mini_pair(models):
    folder = models / "inception_mini"
    return folder / "inception_mini.prototxt", folder / "inception_mini.caffemodel"

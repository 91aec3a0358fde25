"""Layers of forks whose size the layers after them decide."""

from __future__ import annotations

import pytest

from deepmerge.errors import ShapeError
from deepmerge.formats.read.network import read_network
from deepmerge.formats.write import write_pair
from deepmerge.graph.shapes import infer_shapes
from tests.helpers import inputs, layer

POOLED = inputs((1, 4, 16, 16)) + layer("pool", "Pooling", "data", "kernel_size: 2 stride: 2")
ZOOM = layer("up", "Interp", "pool", "zoom_factor: 2")


def read(tmp_path, text: str):
    path = tmp_path / "net.prototxt"
    path.write_text(text)
    graph = read_network(path)
    return graph, {blob.name: shape for blob, shape in infer_shapes(graph).items()}


def test_deeplabs_rule_where_nothing_says_otherwise(tmp_path):
    graph, shapes = read(tmp_path, POOLED + ZOOM)
    assert shapes["up"] == (1, 4, 15, 15) and graph.warnings == []


def test_the_rule_that_fits_the_reader(tmp_path):
    graph, shapes = read(tmp_path, POOLED + ZOOM + layer("sum", "Eltwise", "data up"))
    assert shapes["up"] == shapes["sum"] == (1, 4, 16, 16)
    assert graph.warnings == [
        "layer 'up' (Interp): DeepLab's size does not fit 'sum' (Eltwise); taken is zoom_factor times the bottom's"
    ]
    write_pair(graph, tmp_path / "out.prototxt", tmp_path / "out.caffemodel")
    assert "zoom_rule" not in (tmp_path / "out.prototxt").read_text()
    assert infer_shapes(read_network(tmp_path / "out.prototxt")).popitem()[1] == (1, 4, 16, 16)


def test_two_in_a_row(tmp_path):
    text = (
        POOLED
        + layer("pool2", "Pooling", "pool", "kernel_size: 2 stride: 2")
        + layer("up", "Interp", "pool2", "zoom_factor: 2")
    )
    text += (
        layer("sum", "Eltwise", "pool up")
        + layer("up2", "Interp", "sum", "zoom_factor: 2")
        + layer("sum2", "Eltwise", "data up2")
    )
    graph, shapes = read(tmp_path, text)
    assert shapes["sum2"] == (1, 4, 16, 16) and len(graph.warnings) == 2


def test_no_rule_fits(tmp_path):
    """Neither 15 nor 16: the size is not known, what is before it is, and nothing fails."""
    text = POOLED + layer("up", "Interp", "pool", "zoom_factor: 3") + layer("sum", "Eltwise", "data up")
    graph, shapes = read(tmp_path, text)
    assert shapes["pool"] == (1, 4, 8, 8) and shapes["up"] is None and shapes["sum"] is None
    (warning,) = graph.warnings
    assert warning.startswith("layer 'up' (Interp): forks differ in its size") and "'sum' (Eltwise)" in warning


def test_another_forks_layer(tmp_path):
    text = POOLED + layer("up", "Upsample", "pool", "scale: 3") + layer("sum", "Eltwise", "data up")
    graph, shapes = read(tmp_path, text)
    assert shapes["up"] is None and "forks differ" in graph.warnings[0]


def test_a_value_that_is_wrong_in_every_fork(tmp_path):
    with pytest.raises(ShapeError, match="pad_beg and pad_end: expected 0 or less"):
        read(tmp_path, POOLED + layer("up", "Interp", "pool", "zoom_factor: 2 pad_beg: 2"))


@pytest.mark.parametrize("text", [ZOOM, ""])
def test_an_error_that_no_forks_layer_has_made(tmp_path, text):
    bad = layer("other", "Pooling", "data", "kernel_size: 4 stride: 4") + layer("sum", "Eltwise", "data other")
    with pytest.raises(ShapeError, match="'sum' .Eltwise."):
        read(tmp_path, POOLED + text + bad)

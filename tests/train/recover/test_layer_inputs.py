"""Rows of what a layer reads, times its matrix, are what the layer makes there, by the engine's account."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines import engine
from deepmerge.passes.support.weights import group_of
from deepmerge.train.recover.layer_inputs import (
    matrix_of,
    patches_at,
    places,
    store,
    tile,
    tile_size,
    tiles_at,
    values_at,
)
from tests.helpers import conv, feeds, inputs, layer, network

LAYERS = {
    "kernel_h != kernel_w": conv("c", "data", 4, "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 3"),
    "dilation, groups": conv("c", "data", 6, "kernel_size: 3 dilation: 2 pad: 2 group: 2 bias_term: false"),
    "1x1": conv("c", "data", 3),
    "inner product": layer("c", "InnerProduct", "data", "num_output: 5"),
    "transposed": layer("c", "InnerProduct", "data", "num_output: 5 transpose: true bias_term: false"),
}


@pytest.mark.parametrize("text", LAYERS.values(), ids=LAYERS)
def test_rows_times_matrix(tmp_path, text):
    graph = network(tmp_path, inputs((3, 6, 9, 8)) + text)
    one, fed = graph.layer("c"), feeds(graph)
    made = engine().load(graph).forward(fed, ["c"])["c"]
    where = np.stack([places(made.shape[1:], 9, [1, image]) for image in range(3)])
    width = made.shape[3] if made.ndim == 4 else 1
    rows = patches_at(one, fed["data"], where, width)
    group, matrix = group_of(one), matrix_of(one)
    parts = np.split(rows, group, axis=1)
    if len(matrix) > parts[0].shape[1]:
        parts = [np.hstack([part, np.ones((len(part), 1))]) for part in parts]
    found = np.hstack([part @ columns for part, columns in zip(parts, np.split(matrix, group, axis=1), strict=True)])
    np.testing.assert_allclose(found, values_at(made, where), atol=1e-5)


@pytest.mark.parametrize("name", ["kernel_h != kernel_w", "1x1"])
def test_tiles_hold_the_patches(tmp_path, name):
    graph = network(tmp_path, inputs((3, 6, 9, 8)) + LAYERS[name])
    one, fed = graph.layer("c"), feeds(graph)
    shape = engine().load(graph).forward(fed, ["c"])["c"].shape[1:]
    size = tile_size(shape, 12)
    where = np.stack([tile(shape, 12, [2, image]) for image in range(3)])
    tiles, valid = tiles_at(one, fed["data"], where, size, shape[2])
    assert set(np.unique(valid)) <= {0, 1} and not tiles[valid == 0].any()
    p, rows = (
        one.params,
        patches_at(one, fed["data"], where, shape[2]).reshape(3, *size, 6, one.params.kernel_h, one.params.kernel_w),
    )
    for i in range(size[0]):
        for j in range(size[1]):
            part = tiles[:, i * p.stride_h : i * p.stride_h + p.kernel_h, j * p.stride_w : j * p.stride_w + p.kernel_w]
            np.testing.assert_array_equal(rows[:, i, j], part.transpose(0, 3, 1, 2))


def test_padding_is_marked(tmp_path):
    """The tile is the whole output, so that the padding is where it is in the layer."""
    graph = network(tmp_path, inputs((1, 6, 9, 8)) + LAYERS["kernel_h != kernel_w"])
    one = graph.layer("c")
    _, valid = tiles_at(one, np.ones((1, 6, 9, 8), np.float32), np.arange(65)[None], (5, 13), 13)
    assert valid.shape == (1, 11, 14) and valid[0, 1:10, 3:11].all() and valid.sum() == 72


@pytest.mark.parametrize(
    ("shape", "points"),
    [((4, 9, 8), 12), ((4, 2, 30), 20), ((4, 1, 1), 60), ((4,), 60), ((4, 7, 7), 60), ((2, 30, 3), 25)],
)
def test_places_are_different_and_inside(shape, points):
    size = int(np.prod(shape[1:]))
    for choose in (places, tile) if len(shape) == 3 else (places,):
        found = choose(shape, points, [3, 1])
        assert len(set(found.tolist())) == len(found) and found.min() >= 0 and found.max() < size
        assert (np.diff(found) > 0).all() and len(found) >= min(size, points) / 2
        np.testing.assert_array_equal(found, choose(shape, points, [3, 1]))
    if len(shape) == 3:
        height, width = tile_size(shape, points)
        assert (
            height <= shape[1] and width <= shape[2] and len(tile(shape, points, [1])) == height * width <= 1.5 * points
        )


def test_places_reach_the_borders():
    found = set(np.concatenate([places((1, 9, 8), 12, [0, image]) for image in range(60)]).tolist())
    tiled = set(np.concatenate([tile((1, 9, 8), 12, [0, image]) for image in range(200)]).tolist())
    assert found == tiled == set(range(72))


@pytest.mark.parametrize("text", LAYERS.values(), ids=LAYERS)
def test_stored_as_it_was(tmp_path, text):
    one = network(tmp_path, inputs((1, 6, 9, 8)) + text).layer("c")
    old = [array.copy() for array in one.weights]
    store(one, matrix_of(one))
    assert len(old) == len(one.weights)
    for new, before in zip(one.weights, old, strict=True):
        assert new.dtype == np.float32 and new.flags.c_contiguous and new is not before
        np.testing.assert_array_equal(new, before)

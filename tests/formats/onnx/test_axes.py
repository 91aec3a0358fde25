"""Layers that move values about as ONNX, against real Caffe: to the bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.formats.onnx.cases import images, inputs, judge, layer

SHAPE = (4, 6, 5, 8)
LARGER = (8, *SHAPE[1:])


def free(graph) -> bool:
    """Whether the model takes any batch."""
    from deepmerge.formats.onnx import to_onnx

    return to_onnx(graph).graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def test_concat_split_slice(worker, tmp_path):
    text = inputs(SHAPE, SHAPE)
    for axis in (1, 2, -1, 0):
        text += layer(f"concat{axis}", "Concat", f"concat_param {{ axis: {axis} }}", "data data1")
    text += layer("old", "Concat", "concat_param { concat_dim: 3 }", "data data1 data")
    text += layer("one", "Concat", "", "data")
    text += layer("split", "Split", tops="s1 s2 s3") + layer("silent", "Silence", bottoms="s3", tops="")
    text += layer("halves", "Slice", tops="h1 h2")
    text += layer("parts", "Slice", "slice_param { axis: -1 slice_point: 1 slice_point: 6 }", tops="p1 p2 p3")
    text += layer("uncut", "Slice", "slice_param { axis: 2 }")
    graph = judge(worker, tmp_path, text, images(SHAPE, SHAPE), images(LARGER, LARGER), exact=True)
    assert free(graph)


RESHAPES = [
    "shape { dim: 0 dim: -1 }",
    "shape { dim: 0 dim: 3 dim: -1 dim: 5 }",
    "shape { dim: -1 dim: 30 dim: 8 }",
    "axis: 1 shape { dim: 12 dim: -1 }",
    "axis: 1 num_axes: 2 shape { dim: 5 dim: 6 }",
    "axis: -2 shape { dim: -1 }",
    "axis: 0 num_axes: 0 shape { dim: 1 }",
    "axis: -1 num_axes: 0 shape { dim: 1 dim: 1 }",
    "shape { dim: 0 dim: 0 dim: 0 dim: 0 }",
]


@pytest.mark.parametrize("chosen", [RESHAPES[:6] + RESHAPES[7:], RESHAPES[6:7], ["shape { dim: 2 dim: -1 dim: 8 }"]])
def test_reshape(worker, tmp_path, chosen):
    text = inputs(SHAPE)
    for number, params in enumerate(chosen):
        text += layer(f"top{number}", "Reshape", f"reshape_param {{ {params} }}")
    graph = judge(worker, tmp_path, text, images(SHAPE), images(LARGER), exact=True)
    assert free(graph) == (len(chosen) > 1)


def test_flatten(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(["", "axis: 2", "end_axis: 2", "axis: 0", "axis: 1 end_axis: -2", "axis: -1"]):
        text += layer(f"top{number}", "Flatten", f"flatten_param {{ {params} }}")
    assert free(judge(worker, tmp_path, text, images(SHAPE), images(LARGER), exact=True))


def test_tile_and_permute(worker, tmp_path):
    text = inputs(SHAPE)
    for axis in (0, 1, -1):
        text += layer(f"tile{axis}", "Tile", f"tile_param {{ axis: {axis} tiles: 3 }}")
    text += layer("permute", "Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }")
    assert free(judge(worker, tmp_path, text, images(SHAPE), images(LARGER), exact=True))
    text += layer("batch_last", "Permute", "permute_param { order: 3 order: 2 order: 1 order: 0 }")
    assert not free(judge(worker, tmp_path, text, images(SHAPE), images(LARGER), exact=True))


def test_crop(worker, tmp_path):
    small = (4, 6, 3, 4)
    text = inputs(SHAPE, small, (2, 3, 4, 5))
    text += layer("plain", "Crop", "", "data data1")
    text += layer("both", "Crop", "crop_param { axis: 2 offset: 2 }", "data data1")
    text += layer("each", "Crop", "crop_param { axis: -2 offset: 1 offset: 4 }", "data data1")
    text += layer("wide", "Crop", "crop_param { axis: 3 offset: 3 }", "data data1")
    text += layer("channels", "Crop", "crop_param { axis: 1 offset: 2 offset: 1 offset: 0 }", "data data2")
    judge(worker, tmp_path, text, images(SHAPE, small, (2, 3, 4, 5)), exact=True)
    text = inputs(SHAPE, (2, 3, 4, 5)) + layer("all", "Crop", "crop_param { axis: 0 offset: 1 }", "data data1")
    judge(worker, tmp_path, text, images(SHAPE, (2, 3, 4, 5)), exact=True)


def test_cut_across_the_batch(worker, tmp_path):
    text = inputs(SHAPE) + layer("cut", "Slice", "slice_param { axis: 0 slice_point: 1 }", tops="first rest")
    graph = judge(worker, tmp_path, text, images(SHAPE), images(LARGER), exact=True)
    assert not free(graph)


def test_batch_reindex(worker, tmp_path):
    text = inputs(SHAPE, (6,)) + layer("chosen", "BatchReindex", "", "data data1")
    fed = images(SHAPE) | {"data1": np.float32([3, 0, 0, 2, 1, 3])}
    longer = images(LARGER) | {"data1": np.float32([7, 0, 3])}
    judge(worker, tmp_path, text, fed, longer, exact=True)

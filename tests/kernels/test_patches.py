"""Windows cut out of a bottom: multiplied by weights they are what real Caffe computes."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.formats.write import write_pair
from deepmerge.kernels.patches import patches, read_at
from tests.helpers import conv, feeds, inputs, network


@pytest.mark.parametrize(
    "params",
    [
        "kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1 pad_h: 0 pad_w: 3",
        "kernel_h: 2 kernel_w: 3 stride_h: 1 stride_w: 3 pad_h: 1 pad_w: 0 group: 2",
        "kernel_size: 3 dilation: 2 dilation: 3 pad_h: 2 pad_w: 3 group: 3",
        "kernel_size: 1 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0",
    ],
)
def test_weights_times_patches_are_the_convolution(real_caffe, tmp_path, params):
    graph = network(tmp_path, inputs((3, 6, 9, 13)) + conv("conv", "data", 12, params))
    layer, values = graph.layer("conv"), feeds(graph)
    files = tmp_path / "a.prototxt", tmp_path / "a.caffemodel"
    write_pair(graph, *files)
    with real_caffe.start() as worker, worker.load(*files) as session:
        wanted = session.forward(values)["conv"]
    height, width = wanted.shape[2:]
    where = np.tile(np.arange(height * width), (3, 1))
    found = patches(values["data"], where // width, where % width, layer.params)
    group = layer.params.group
    assert found.dtype == np.float32 and found.shape == (3 * height * width, group * layer.weights[0][0].size)
    found = found.reshape(len(found), group, -1).transpose(1, 0, 2)
    weight = layer.weights[0].reshape(group, 12 // group, -1)
    made = found @ weight.transpose(0, 2, 1) + layer.weights[1].reshape(group, 1, -1)
    made = made.reshape(group, 3, *wanted.shape[2:], -1)
    np.testing.assert_allclose(
        made, np.moveaxis(wanted.reshape(3, group, -1, *wanted.shape[2:]), (1, 2), (0, 4)), atol=2e-5
    )


def test_outside_is_zero_and_marked():
    bottom = -np.ones((2, 3, 4, 5), np.float32)
    rows, columns = np.array([[-1, 0, 3], [2, 4, 9]]), np.array([[0, 5], [-3, 4]])
    values, inside = read_at(bottom, rows, columns)
    assert values.shape == (2, 3, 2, 3) and inside.shape == (2, 3, 2)
    assert inside.tolist() == [
        [[False, False], [True, False], [True, False]],
        [[False, True], [False, False], [False, False]],
    ]
    np.testing.assert_array_equal(values, np.where(inside, -1, 0)[..., None] * np.ones(3))
    assert not np.signbit(values[~inside]).any()

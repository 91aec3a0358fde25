"""Windows cut out of a bottom: multiplied by weights they are what real Caffe computes."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.convert.calibrate.patches import patches, places
from deepmerge.formats.write import write_pair
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
    where = np.stack([places(image, wanted.shape[2:], 10**6) for image in range(3)])
    found = patches(values["data"], where, layer.params)
    group = layer.params.group
    assert found.dtype == np.float32 and found.shape == (group, 3 * wanted[0, 0].size, layer.weights[0][0].size)
    weight = layer.weights[0].reshape(group, 12 // group, -1)
    made = found @ weight.transpose(0, 2, 1) + layer.weights[1].reshape(group, 1, -1)
    made = made.reshape(group, 3, *wanted.shape[2:], -1)
    np.testing.assert_allclose(
        made, np.moveaxis(wanted.reshape(3, group, -1, *wanted.shape[2:]), (1, 2), (0, 4)), atol=2e-5
    )


def test_places():
    assert places(0, (2, 3), 6).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    drawn = places(7, (30, 4), 50)
    assert drawn.shape == (50, 2) and drawn.min() == 0 and drawn[:, 0].max() > 20 and drawn[:, 1].max() == 3
    assert places(7, (30, 4), 50).tolist() == drawn.tolist() != places(8, (30, 4), 50).tolist()

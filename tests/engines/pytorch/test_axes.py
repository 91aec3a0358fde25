"""Layers that join, cut, copy, order or rename axes, and Reduction and ArgMax, in PyTorch, against real Caffe."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import EngineError
from tests.engines.pytorch.cases import images, inputs, judge, layer, network, torch

SHAPE = (2, 6, 5, 4)


def test_flatten_and_reshape(worker, tmp_path):
    text = inputs(SHAPE)
    for number, params in enumerate(
        ["", "axis: 2", "axis: 1 end_axis: 2", "axis: -2", "axis: 0 end_axis: 1", "axis: 0"]
    ):
        text += layer(f"flat{number}", "Flatten", f"flatten_param {{ {params} }}")
    for number, params in enumerate(
        [
            "shape { dim: 0 dim: -1 }",
            "shape { dim: 3 dim: 2 } axis: 1 num_axes: 1",
            "shape { dim: 1 } axis: -1 num_axes: 0",
            "shape { dim: -1 dim: 4 }",
        ]
    ):
        text += layer(f"shape{number}", "Reshape", f"reshape_param {{ {params} }}")
    judge(worker, tmp_path, text, images(SHAPE), images((4, *SHAPE[1:])))


def test_concat_slice_and_split(worker, tmp_path):
    shapes = SHAPE, (2, 3, 5, 4), (2, 6, 5, 2)
    text = (
        inputs(*shapes)
        + layer("join", "Concat", "", "data data1 data")
        + layer("wide", "Concat", "concat_param { axis: -1 }", "data2 data")
    )
    text += layer("alone", "Concat", "", "data1")
    text += layer("cut", "Slice", "", "data", "a b c") + layer(
        "points", "Slice", "slice_param { axis: 2 slice_point: 1 slice_point: 4 }", "data", "d e f"
    )
    text += layer("copies", "Split", "", "data", "g h")
    text += layer("square", "Power", "power_param { power: 2 }", "g")
    judge(worker, tmp_path, text, images(*shapes))


def test_tile_and_permute(worker, tmp_path):
    text = (
        inputs(SHAPE)
        + layer("tile", "Tile", "tile_param { tiles: 3 }")
        + layer("tile2", "Tile", "tile_param { axis: -1 tiles: 2 }")
    )
    text += layer("order", "Permute", "permute_param { order: 0 order: 3 order: 1 order: 2 }")
    judge(worker, tmp_path, text, images(SHAPE))


def test_crop(worker, tmp_path):
    shapes = SHAPE, (2, 6, 3, 2)
    text = inputs(*shapes) + layer("crop", "Crop", "crop_param { axis: 2 offset: 1 offset: 2 }", "data data1")
    text += layer("one", "Crop", "crop_param { offset: 1 }", "data data1")
    judge(worker, tmp_path, text, images(*shapes), unlearned=["data1"])


def test_batch_reindex(worker, tmp_path):
    """Real Caffe refuses to go back to the indices: the gradients seen are those of a convolution."""
    text = inputs(SHAPE, (3,)) + layer("conv", "Convolution", "convolution_param { num_output: 3 kernel_size: 1 }")
    text += layer("pick", "BatchReindex", "loss_weight: 2", "conv data1")
    judge(
        worker,
        tmp_path,
        text,
        images(SHAPE) | {"data1": np.float32([1, 0, 1])},
        unlearned=["data", "data1"],
        force=False,
    )


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_reduction(worker, tmp_path, operation):
    text = inputs(SHAPE)
    for number, params in enumerate(["", "axis: 1", "axis: -1 coeff: 2.5", "axis: 2 coeff: -1"]):
        text += layer(f"top{number}", "Reduction", f"reduction_param {{ operation: {operation} {params} }}")
    judge(worker, tmp_path, text, images(SHAPE))


def test_a_reduction_of_a_fork_is_refused(tmp_path):
    text = inputs(SHAPE) + layer("r", "Reduction", "reduction_param { operation: PROD }")
    net = TorchNet(network(tmp_path, text))
    with pytest.raises(EngineError, match=r"^layer 'r' \(Reduction\): engine 'torch' does not have operation PROD"):
        net({"data": torch.zeros(SHAPE)})


def test_argmax(worker, tmp_path):
    text = inputs(SHAPE)
    cases = [
        "",
        "top_k: 3",
        "out_max_val: true top_k: 2",
        "axis: 1",
        "axis: -1 top_k: 2",
        "axis: 2 out_max_val: true",
        "axis: 0",
    ]
    for number, params in enumerate(cases):
        text += layer(f"top{number}", "ArgMax", f"argmax_param {{ {params} }}")
    fed = {"data": np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.float32)}
    judge(worker, tmp_path, text, fed, images(SHAPE), backward=False)


def test_sources(worker, tmp_path):
    text = inputs((2, 3)) + layer("learned", "Parameter", "parameter_param { shape { dim: 2 dim: 3 } }", "")
    filler = 'data_filler { type: "constant" value: 0.5 }'
    text += layer("dummy", "DummyData", f"dummy_data_param {{ shape {{ dim: 2 dim: 3 }} {filler} }}", "")
    text += layer("sum", "Eltwise", "", "data learned dummy")
    judge(worker, tmp_path, text, images((2, 3)))

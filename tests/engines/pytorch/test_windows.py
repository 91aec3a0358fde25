"""Convolution, Deconvolution, Im2col, Pooling and SPP in PyTorch, against real Caffe, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.pytorch import TorchNet
from deepmerge.errors import EngineError
from deepmerge.graph.windows import pooled_size
from tests.engines.pytorch.cases import images, inputs, judge, layer, network, torch
from tests.helpers import Window, pooling_windows, poolings, poolings_after_the_image

SHAPE = (2, 6, 9, 7)
WINDOWS = [
    "kernel_size: 1",
    "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 0 pad_w: 1",
    "kernel_size: 3 pad: 1 group: 3",
    "kernel_h: 2 kernel_w: 4 pad: 2 dilation: 2 group: 2 bias_term: false",
    "kernel_size: 3 dilation: 2 dilation: 1 stride: 2",
    "kernel_size: 2 stride: 3 group: 6 bias_term: false",
]


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_windows(worker, tmp_path, kind):
    text = inputs(SHAPE)
    for number, window in enumerate(WINDOWS):
        text += layer(f"top{number}", kind, f"convolution_param {{ num_output: 12 {window} }}")
    judge(worker, tmp_path, text, images(SHAPE), images((3, *SHAPE[1:])))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_several_bottoms_have_the_same_weights(worker, tmp_path, kind):
    text = inputs(SHAPE, SHAPE)
    text += layer("both", kind, "convolution_param { num_output: 4 kernel_size: 3 }", "data data1", "one two")
    judge(worker, tmp_path, text, images(SHAPE, SHAPE))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_other_numbers_of_axes(worker, tmp_path, kind):
    text = inputs((2, 4, 11), (2, 4, 5, 6, 4), (2, 3, 4, 5))
    text += layer("line", kind, "convolution_param { num_output: 6 kernel_size: 3 stride: 2 pad: 1 group: 2 }")
    text += layer(
        "cube",
        kind,
        "convolution_param { num_output: 2 kernel_size: [2, 3, 1] stride: [2, 1, 3] pad: [0, 1, 2] }",
        "data1",
    )
    text += layer("axis", kind, "convolution_param { num_output: 5 kernel_size: 2 axis: 2 }", "data2")
    judge(worker, tmp_path, text, images((2, 4, 11), (2, 4, 5, 6, 4), (2, 3, 4, 5)))


def test_im2col(worker, tmp_path):
    text = inputs(SHAPE)
    for number, window in enumerate(
        ["kernel_h: 3 kernel_w: 2 stride: 2 pad_h: 1 pad_w: 0", "kernel_size: 2 dilation: 3"]
    ):
        text += layer(f"top{number}", "Im2col", f"convolution_param {{ {window} }}")
    judge(worker, tmp_path, text, images(SHAPE))


SIZES = [(5, 12), (6, 11), (8, 9), (4, 4)]


def grid(size: tuple[int, int], pool: str, rounding: str = "", mask: bool = False, full: bool = True) -> str:
    """Poolings of every window that Caffe takes.

    full: with windows that see nothing of the image, too, whose gradient real Caffe writes to where it has no memory.
    """
    windows = [window for window in pooling_windows(size) if full or not empty(size, window, not rounding)]
    return poolings(size, pool, rounding, mask, windows)


def empty(size: tuple[int, int], window: Window, ceil: bool) -> bool:
    """Whether the last window starts behind the image, in one direction or both."""
    padded = max(window[2]) > 0
    return any(
        (pooled_size(n, kernel, stride, pad, ceil, padded) - 1) * stride - pad >= n
        for n, kernel, stride, pad in zip(size, *window, strict=True)
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rounding", ["", "round_mode: FLOOR"])
def test_max_and_its_ties(worker, tmp_path, size, rounding):
    """Values are few, so that there are ties: of equals the first one gets the gradient."""
    fed = {"data": np.random.default_rng(0).integers(-9, -5, (2, 3, *size)).astype(np.float32)}
    judge(worker, tmp_path, grid(size, "MAX", rounding, full=False), fed, images((1, 3, *size)))
    judge(worker, tmp_path, grid(size, "MAX", rounding), fed, backward=False, tolerance=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rounding", ["", "round_mode: FLOOR"])
def test_average(worker, tmp_path, size, rounding):
    judge(worker, tmp_path, grid(size, "AVE", rounding, full=False), images((2, 3, *size)))
    judge(worker, tmp_path, grid(size, "AVE", rounding), images((2, 3, *size)), backward=False)


def test_mask(worker, tmp_path):
    fed = {"data": np.random.default_rng(0).integers(-9, -5, (2, 3, 6, 11)).astype(np.float32)}
    judge(worker, tmp_path, grid((6, 11), "MAX", mask=True), fed, backward=False, tolerance=0)


@pytest.mark.parametrize("mask", [False, True])
def test_max_of_bfloat16(tmp_path, mask):
    """It is one of the values, and so exact; the lowest number is nearer to 0 than float32's."""
    net = TorchNet(network(tmp_path, grid((6, 11), "MAX", mask=mask)))
    rounded = torch.from_numpy(images((2, 3, 6, 11))["data"]).bfloat16()
    wanted, found = net({"data": rounded.float()}), net({"data": rounded})
    for name, value in wanted.items():
        assert torch.equal(found[name].float(), value.clamp(min=torch.finfo(torch.bfloat16).min)), name


def test_windows_after_the_image(worker, tmp_path):
    judge(worker, tmp_path, poolings_after_the_image(), images((1, 2, 4, 5)), backward=False)


def test_global(worker, tmp_path):
    text = inputs((2, 5, 7, 4))
    for pool in ("MAX", "AVE"):
        text += layer(pool, "Pooling", f"pooling_param {{ pool: {pool} global_pooling: true }}")
    judge(worker, tmp_path, text, images((2, 5, 7, 4)), {"data": np.zeros((3, 5, 7, 4), np.float32)})


def test_pyramid(worker, tmp_path):
    shapes = (2, 3, 13, 9), (2, 3, 8, 8)
    text = inputs(*shapes)
    for number, (bottom, levels) in enumerate([("data", 3), ("data1", 2), ("data", 1)]):
        text += layer(f"spp{number}", "SPP", f"spp_param {{ pyramid_height: {levels} }}", bottom)
    judge(worker, tmp_path, text, images(*shapes))


def test_what_caffe_has_on_a_gpu_only(tmp_path):
    net = TorchNet(
        network(
            tmp_path, inputs((1, 2, 4, 4)) + layer("s", "Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")
        )
    )
    with pytest.raises(EngineError, match=r"^layer 's' \(Pooling\): engine 'torch' does not have STOCHASTIC pooling"):
        net({"data": torch.zeros(1, 2, 4, 4)})

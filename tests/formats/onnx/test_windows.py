"""Layers that slide a window as ONNX, against real Caffe, over odd sizes.

Of poolings: Caffe's ceil, its clipped last window, its divisors, its mask.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from deepmerge.errors import EngineError
from deepmerge.formats.onnx import to_onnx
from tests.formats.onnx.cases import images, inputs, judge, layer, network
from tests.helpers import poolings, poolings_after_the_image

SHAPE = (2, 6, 11, 8)

SIZES = [(5, 12), (6, 11), (7, 10), (8, 9), (4, 4)]  # of poolings


def grid(kind: str, field: str = "convolution_param", head: str = "num_output: 4") -> str:
    """A layer for each combination of kernel, stride, pad, dilation, group and bias."""
    text = inputs(SHAPE)
    kernels = ["kernel_size: 3", "kernel_h: 2 kernel_w: 5", "kernel_size: 1", "kernel_h: 4 kernel_w: 1"]
    strides = ["", "stride: 2", "stride_h: 3 stride_w: 1"]
    pads = ["", "pad: 1", "pad_h: 0 pad_w: 2"]
    for number, (kernel, stride, pad) in enumerate(itertools.product(kernels, strides, pads)):
        dilation = ["", "dilation: 2", "dilation: 2 dilation: 1"][number % 3]
        extra = (
            "" if kind == "Im2col" else f"group: {[1, 2][number % 2]} bias_term: {['true', 'false'][number % 5 == 0]}"
        )
        text += layer(f"top{number}", kind, f"{field} {{ {head} {kernel} {stride} {pad} {dilation} {extra} }}")
    return text


@pytest.mark.parametrize("kind", ["Convolution", pytest.param("Deconvolution", marks=pytest.mark.pitfall("row", 26))])
def test_windows_of_every_kind(worker, tmp_path, kind):
    judge(worker, tmp_path, grid(kind), images(SHAPE), images((3, *SHAPE[1:])))


def test_im2col_picks_values(worker, tmp_path):
    # No pad after a stride that leaves values over, height and width apart.
    judge(worker, tmp_path, grid("Im2col", head=""), images(SHAPE), images((1, *SHAPE[1:])), exact=True)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_depthwise_and_several_bottoms(worker, tmp_path, kind):
    text = inputs((2, 6, 7, 5), (2, 6, 7, 5))
    text += layer("both", kind, "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 }", "data data1", "one two")
    text += layer("deep", kind, "convolution_param { num_output: 6 group: 6 kernel_size: 3 pad: 1 stride: 2 }")
    judge(worker, tmp_path, text, images((2, 6, 7, 5), (2, 6, 7, 5)))


@pytest.mark.parametrize(
    ("shape", "params"),
    [
        ((2, 3, 17), "kernel_size: 4 stride: 3 pad: 2"),
        (
            (2, 4, 5, 7, 6),
            "kernel_size: 3 kernel_size: 2 kernel_size: 1 stride: 2 stride: 1 stride: 3 pad: 1 pad: 0 pad: 2 group: 2",
        ),
        ((2, 3, 4, 7, 6), "axis: 2 kernel_h: 3 kernel_w: 2 pad: 1"),
        ((2, 3, 4, 7, 6), "axis: -3 kernel_size: 3 stride: 2"),
        ((4, 7, 6), "axis: 0 kernel_size: 3 dilation: 2"),
    ],
)
def test_other_numbers_of_axes(worker, tmp_path, shape, params):
    text = inputs(shape) + layer("conv", "Convolution", f"convolution_param {{ num_output: 6 {params} }}")
    if "axis" not in params:  # real Caffe's Deconvolution and Im2col, too
        text += layer("deconv", "Deconvolution", f"convolution_param {{ num_output: 6 {params} }}")
        text += layer("columns", "Im2col", f"convolution_param {{ {params.replace('group: 2', '')} }}")
    judge(worker, tmp_path, text, images(shape))


def test_no_spatial_axis_is_refused(tmp_path):
    text = inputs((2, 6)) + layer("conv", "Convolution", "convolution_param { num_output: 4 kernel_size: 1 }")
    with pytest.raises(EngineError, match=r"layer 'conv' \(Convolution\).*InnerProduct"):
        to_onnx(network(tmp_path, text))


@pytest.mark.pitfall("row", 20)
@pytest.mark.pitfall("row", 23)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rounding", ["", "round_mode: FLOOR"])
def test_max_with_mask(worker, tmp_path, size, rounding):
    """To the bit. Values are few, so that there are ties, and the first of equals is the mask's."""
    shape = (2, 3, *size)
    fed = {"data": np.random.default_rng(0).integers(-9, -5, shape).astype(np.float32)}
    judge(worker, tmp_path, poolings(size, "MAX", rounding, mask=True), fed, images((1, *shape[1:])), exact=True)


@pytest.mark.pitfall("row", 20)
@pytest.mark.pitfall("row", 22)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rounding", ["", "round_mode: FLOOR"])
def test_average(worker, tmp_path, size, rounding):
    judge(worker, tmp_path, poolings(size, "AVE", rounding), images((2, 3, *size)), images((3, 3, *size)))


def test_max_without_mask(worker, tmp_path):
    judge(worker, tmp_path, poolings((6, 11), "MAX"), images((2, 3, 6, 11)), exact=True)


def test_windows_after_the_image(worker, tmp_path):
    judge(worker, tmp_path, poolings_after_the_image(), images((1, 2, 4, 5)))


def test_global(worker, tmp_path):
    text = inputs((2, 5, 7, 4))
    text += layer("ave", "Pooling", "pooling_param { pool: AVE global_pooling: true }")
    text += layer("max", "Pooling", "pooling_param { pool: MAX global_pooling: true }", tops="max mask")
    text += layer("tall", "Pooling", "pooling_param { pool: AVE kernel_h: 7 kernel_w: 2 }")
    text += layer("whole", "Pooling", "pooling_param { pool: MAX kernel_h: 7 kernel_w: 4 }")
    judge(worker, tmp_path, text, images((2, 5, 7, 4)), images((4, 5, 7, 4)))


@pytest.mark.parametrize("size", [(7, 12), (16, 9), (13, 8)])
def test_spp(worker, tmp_path, size):
    text = inputs((2, 3, *size))
    for pool, levels in itertools.product(("MAX", "AVE"), (1, 2, 3)):
        text += layer(f"{pool}{levels}", "SPP", f"spp_param {{ pool: {pool} pyramid_height: {levels} }}")
    judge(worker, tmp_path, text, images((2, 3, *size)), images((1, 3, *size)))


def test_stochastic_is_refused(tmp_path):
    text = inputs((1, 2, 4, 5)) + layer("p", "Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")
    with pytest.raises(EngineError, match=r"layer 'p' \(Pooling\): STOCHASTIC pooling"):
        to_onnx(network(tmp_path, text))

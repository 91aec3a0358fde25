"""Convolution, Deconvolution and Im2col in PyTorch, against real Caffe, forward and backward."""

from __future__ import annotations

import pytest

from tests.engines.pytorch.cases import images, inputs, judge, layer

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

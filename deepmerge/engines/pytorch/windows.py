"""Convolution, Deconvolution and Im2col, over one to three spatial axes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.graph.shape_windows import window_axes

if TYPE_CHECKING:
    from torch import Tensor

    from deepmerge.engines.pytorch.step import Step

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_DECONV = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def convolution(step: Step, *bottoms: Tensor) -> list[Tensor]:
    """Caffe: conv_layer.cpp: each bottom has a top of its own, all with the same weights."""
    run, window = _prepared(step, bottoms[0], _CONV)
    bias = step.weight(1).reshape(-1) if step.params.bias_term else None

    def one(x: Tensor) -> Tensor:
        return run(x, step.weight(0), bias, window.stride, window.pad, window.dilation, step.params.group)

    return [_over_batch(step, x, one) for x in bottoms]


def deconvolution(step: Step, *bottoms: Tensor) -> list[Tensor]:
    """Caffe: deconv_layer.cpp. Weights are (channels, num_output/group, …), as torch has them."""
    run, window = _prepared(step, bottoms[0], _DECONV)
    bias = step.weight(1).reshape(-1) if step.params.bias_term else None

    def one(x: Tensor) -> Tensor:
        return run(x, step.weight(0), bias, window.stride, window.pad, 0, step.params.group, window.dilation)

    return [_over_batch(step, x, one) for x in bottoms]


def im2col(step: Step, x: Tensor) -> Tensor:
    """Caffe: im2col_layer.cpp: a convolution whose filters each pick one value of the window."""
    run, window = _prepared(step, x, _CONV)
    channels = x.shape[step.axis(x, step.params.axis)]
    count = prod(window.kernel)
    picks = torch.eye(count, dtype=x.dtype, device=x.device).reshape(count, 1, *window.kernel)
    picks = picks.repeat(channels, *[1] * (picks.dim() - 1))
    return _over_batch(step, x, lambda x: run(x, picks, None, window.stride, window.pad, window.dilation, channels))


def _prepared(step: Step, x: Tensor, functions: dict):
    """Return the function for the number of spatial axes, and the window."""
    count = x.dim() - step.axis(x, step.params.axis) - 1
    if count not in functions:
        raise step.error(f"{count} spatial axes; engine 'torch' takes one to three")
    return functions[count], window_axes(step.layer, count)


def _over_batch(step: Step, x: Tensor, run) -> Tensor:
    """Call `run` with all axes before the channels as one."""
    axis = step.axis(x, step.params.axis)
    if axis == 1:
        return run(x)
    y = run(x.reshape(-1, *x.shape[axis:]))
    return y.reshape(*x.shape[:axis], *y.shape[1:])

"""Layers that slide a window: Convolution, Deconvolution, Im2col, Pooling and SPP, with Caffe's rounding.

The rules of pooling's windows are in graph/windows.py. The gradient of MAX goes to the first of equal values. Torch has
the same rules, unless pads are larger than half a window, or windows start after the image.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepmerge.graph.shape_windows import window_axes
from deepmerge.graph.windows import Windows, pooled_size, pooling_windows, pyramid_windows

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


_LOWEST = torch.finfo(torch.float32).min  # -FLT_MAX: what Caffe's MAX starts from


def pooling(step: Step, x: Tensor) -> Tensor | list[Tensor]:
    """Compute MAX, with its mask if there is a second top, or AVE."""
    p = step.params
    if p.pool not in ("MAX", "AVE"):
        raise step.error(f"engine 'torch' does not have {p.pool} pooling; Caffe has it on a GPU only")
    high, wide = pooling_windows(p, x.shape[2:])
    if p.pool == "AVE":
        return average(x, high, wide)
    return maximum(x, high, wide) if len(step.layer.tops) == 1 else _maximum_and_mask(x, high, wide)


def spp(step: Step, x: Tensor) -> Tensor:
    """Caffe: spp_layer.cpp: level i pools with 2^i windows each way; the levels are flattened and joined."""
    if step.params.pool not in ("MAX", "AVE"):
        raise step.error(f"engine 'torch' does not have {step.params.pool} pooling")
    pool = maximum if step.params.pool == "MAX" else average
    levels = [pool(x, *pyramid_windows(x.shape[2:], 2**level)) for level in range(step.params.pyramid_height)]
    return levels[0] if len(levels) == 1 else torch.cat([level.flatten(1) for level in levels], 1)


def average(x: Tensor, high: Windows, wide: Windows) -> Tensor:
    """Compute AVE pooling."""
    if high.whole and wide.whole:
        return x.mean((2, 3), keepdim=True)
    kernel, stride, pad = (high.kernel, wide.kernel), (high.stride, wide.stride), (high.pad, wide.pad)
    if (ceil := _native(high, wide)) is not None:
        return F.avg_pool2d(x, kernel, stride, pad, ceil)
    y = F.avg_pool2d(_padded(x, high, wide, 0.0), kernel, stride)
    # Torch has divided by the size of the whole window. 0 / 0 is NaN, as in Caffe.
    counted = torch.as_tensor(high.counted[:, None] * wide.counted, dtype=x.dtype, device=x.device)
    return y * (high.kernel * wide.kernel / counted)


def maximum(x: Tensor, high: Windows, wide: Windows) -> Tensor:
    """Compute MAX pooling."""
    kernel, stride, pad = (high.kernel, wide.kernel), (high.stride, wide.stride), (high.pad, wide.pad)
    if (ceil := _native(high, wide)) is not None:
        return F.max_pool2d(x, kernel, stride, pad, 1, ceil)
    return F.max_pool2d(_padded(x, high, wide, _lowest(x)), kernel, stride)


def _maximum_and_mask(x: Tensor, high: Windows, wide: Windows) -> list[Tensor]:
    """Compute MAX and its mask: h · width + w of each maximum, as a float; −1 for a window outside the image."""
    kernel, stride = (high.kernel, wide.kernel), (high.stride, wide.stride)
    y, index = F.max_pool2d(_padded(x, high, wide, _lowest(x)), kernel, stride, return_indices=True)
    width = wide.pad + wide.size + wide.end_pad
    row, column = torch.div(index, width, rounding_mode="floor") - high.pad, index % width - wide.pad
    mask = (row * wide.size + column).to(x.dtype)
    return [y, torch.where(y > _lowest(x), mask, -1.0).detach()]


def _lowest(x: Tensor) -> float:
    """Return what MAX starts from: Caffe's value, or that of bfloat16, which does not reach so far."""
    return max(_LOWEST, torch.finfo(x.dtype).min)


def _native(high: Windows, wide: Windows) -> bool | None:
    """Return the ceil_mode for which torch has the same windows, or None. Source: ATen's native/Pool.h."""
    for ceil in (False, True):
        sizes = [pooled_size(a.size, a.kernel, a.stride, a.pad, ceil, True) for a in (high, wide)]
        if sizes == [high.out, wide.out] and all(2 * a.pad <= a.kernel for a in (high, wide)):
            return ceil
    return None


def _padded(x: Tensor, high: Windows, wide: Windows, value: float) -> Tensor:
    return F.pad(x, (wide.pad, wide.end_pad, high.pad, high.end_pad), value=value)

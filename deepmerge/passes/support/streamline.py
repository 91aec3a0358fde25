"""A convolution that also does the work of the pooling after it: its new window and its initial weights.

Shared by merge_pooling and merge_branches. Source: Li et al., DeepRebirth (AAAI 2018).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepmerge.graph.graph import Layer
from deepmerge.graph.params import Convolution, Pooling, Window
from deepmerge.kernels.compose import embed_at, pad_for, spread_average, window
from deepmerge.kernels.xavier import xavier
from deepmerge.passes.support.base import Refused, Shapes


def strided(conv: Layer, pool: Layer, shapes: Shapes, cover: bool) -> Convolution:
    """Return the convolution's parameters with the pooling in it, whose output size stays the same.

    cover: make the kernel as large as the receptive field of both layers; otherwise it stays.
    Refused where no pad gives the output's size.
    """
    params, new = conv.params, {}
    for axis, n, m in zip("hw", shapes[conv.bottom][2:], shapes[pool.top][2:], strict=True):
        kernel, dilation = getattr(params, f"kernel_{axis}"), getattr(params, f"dilation_{axis}")
        both = window(*_window(params, axis), dilation).then(*_window(pool.params, axis))
        if cover and (both.size - 1) % dilation == 0:
            kernel = (both.size - 1) // dilation + 1
        extent = dilation * (kernel - 1) + 1
        pad = pad_for(n, m, extent, both)
        if pad is None:
            hint = "" if cover else "; a kernel that covers the pooling may (--kernel cover)"
            problem = f"no pad lets a kernel of {extent} at stride {both.stride} make {m} outputs of {n} values"
            raise Refused(pool, f"{problem}{hint}")
        new |= {f"kernel_{axis}": kernel, f"stride_{axis}": both.stride, f"pad_{axis}": pad}
    return replace(params, **new)


def _window(params: Window, axis: str) -> tuple[int, int, int]:
    """Return (kernel, stride, pad) along "h" or "w"."""
    return tuple(getattr(params, f"{name}_{axis}") for name in ("kernel", "stride", "pad"))


def start(weight: np.ndarray, old: Convolution, new: Convolution, pool: Pooling, init: str) -> np.ndarray:
    """Return the merged convolution's initial weights.

    A kernel of the same size keeps its weights. One that covers the pooling's window gets, for AVE without dilation,
    the mean over the window, which is exact except at the image's edge and where an activation is in between; otherwise
    it gets the old kernel in its middle.

    Parameters
    ----------
    weight : ndarray, float32, (num_output, channels/group, kernel_h, kernel_w)
        The weights before the merge.
    old, new : Convolution
        The parameters before and after it.
    pool : Pooling
        The parameters of the pooling.
    init : {"trained", "xavier"}
        Random weights for "xavier".

    Returns
    -------
    ndarray, float32
        (num_output, channels/group, new.kernel_h, new.kernel_w)
    """
    shape = (*weight.shape[:2], new.kernel_h, new.kernel_w)
    if init == "xavier":
        return xavier(shape)
    if shape == weight.shape:
        return weight
    if pool.pool == "AVE" and old.dilation == (1, 1):
        return spread_average(weight, pool.kernel, old.stride)
    top, left = (new.kernel_h - old.kernel_h) // 2, (new.kernel_w - old.kernel_w) // 2
    return embed_at(weight, new.kernel_h, new.kernel_w, top, left)


def check_strided(pool: Layer, shapes: Shapes) -> None:
    """Raise Refused unless the layer is a pooling with a stride, whose merging would save work."""
    params, bottom, top = pool.params, shapes.get(pool.bottom), shapes.get(pool.top)
    if len(pool.tops) != 1:
        raise Refused(pool, "its mask is used")
    if top is None or bottom is None:
        raise Refused(pool, "its shape is not known")
    if params.global_pooling or top[2:] == (1, 1):
        raise Refused(pool, "it pools the whole image")
    if params.stride == (1, 1):
        raise Refused(pool, "its stride is 1, so merging it would save no work")

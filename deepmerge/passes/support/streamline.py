"""A convolution that does a following pooling's work too: its new window, and its weights' start.

What merge_pooling and merge_branches share. Source: Li et al., DeepRebirth (AAAI 2018).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deepmerge.graph.params import Convolution, Pooling, Window
from deepmerge.kernels.embed import embed_at, spread_average
from deepmerge.kernels.geometry import pad_for, window
from deepmerge.kernels.xavier import xavier


def strided(
    conv: Convolution, pool: Pooling, size: tuple[int, int], out: tuple[int, int], cover: bool
) -> Convolution | str:
    """The convolution's parameters with the pooling in it, or the reason why there are none.

    size: height and width of the convolution's bottom; out: of the pooling's top, which stay as they are.
    cover: take the whole receptive field of both as the kernel; otherwise the kernel stays.
    """
    new = {}
    for axis, n, m in zip("hw", size, out, strict=True):
        kernel, dilation = getattr(conv, f"kernel_{axis}"), getattr(conv, f"dilation_{axis}")
        both = window(*_window(conv, axis), dilation).then(*_window(pool, axis))
        if cover and (both.size - 1) % dilation == 0:
            kernel = (both.size - 1) // dilation + 1
        extent = dilation * (kernel - 1) + 1
        pad = pad_for(n, m, extent, both)
        if pad is None:
            hint = "" if cover else "; a kernel that covers the pooling may (--kernel cover)"
            return f"no pad lets a kernel of {extent} at stride {both.stride} make {m} outputs of {n} values{hint}"
        new |= {f"kernel_{axis}": kernel, f"stride_{axis}": both.stride, f"pad_{axis}": pad}
    return replace(conv, **new)


def _window(params: Window, axis: str) -> tuple[int, int, int]:
    """(kernel, stride, pad) along "h" or "w"."""
    return tuple(getattr(params, f"{name}_{axis}") for name in ("kernel", "stride", "pad"))


def start(weight: np.ndarray, old: Convolution, new: Convolution, pool: Pooling, init: str) -> np.ndarray:
    """The merged convolution's weights to begin with, (num_output, channels/group, kernel_h, kernel_w).

    A kernel that stays keeps its weights. One that covers the pooling's window gets, for AVE, the mean
    over the window (exact but for the image's edge), and for MAX the kernel in its middle.
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


def poolable(pool, shapes) -> str:
    """Why a pooling layer is not one to merge: "" if it is."""
    p, bottom, top = pool.params, shapes.get(pool.bottom), shapes.get(pool.top)
    if len(pool.tops) != 1:
        return "its mask is used"
    if top is None or bottom is None:
        return "its shape is not known"
    if p.global_pooling or top[2:] == (1, 1):
        return "it pools the whole image"
    if p.stride == (1, 1):
        return "its stride is 1, so merging it would save no work"
    return ""

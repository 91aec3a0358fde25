"""The values that a convolution's windows read of its bottom."""

from __future__ import annotations

from typing import Protocol

import numpy as np

Pair = tuple[int, int]


class Windows(Protocol):
    """A convolution's windows, each pair as (height, width); the graph's Convolution is one."""

    kernel: Pair
    stride: Pair
    pad: Pair
    dilation: Pair


def patches(bottom: np.ndarray, y: np.ndarray, x: np.ndarray, windows: Windows) -> np.ndarray:
    """Return the values in the windows at some places of a convolution's output.

    Parameters
    ----------
    bottom : ndarray, (N, channels, height, width)
    y, x : ndarray, int, (N, places)
        The places in the output, image by image.
    windows : Windows

    Returns
    -------
    ndarray, (N * places, channels * kernel_h * kernel_w)
        In the order of the weights' axes; 0 where the convolution pads.
    """
    rows = y[..., None] * windows.stride[0] - windows.pad[0] + np.arange(windows.kernel[0]) * windows.dilation[0]
    columns = x[..., None] * windows.stride[1] - windows.pad[1] + np.arange(windows.kernel[1]) * windows.dilation[1]
    found, _ = read_at(bottom, rows, columns)
    return found.transpose(0, 1, 4, 2, 3).reshape(y.size, -1)


def read_at(bottom: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values at some rows and columns of a bottom, and which of them lie inside.

    Parameters
    ----------
    bottom : ndarray, (N, channels, height, width)
    rows, columns : ndarray, int, (N, …, R) and (N, …, S)
        They may lie outside of the bottom; the values there are 0.

    Returns
    -------
    values : ndarray, (N, …, R, S, channels)
    inside : ndarray, bool, (N, …, R, S)
    """
    height, width = bottom.shape[2:]
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    inside = inside_rows[..., :, None] & inside_columns[..., None, :]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    images = np.arange(len(bottom)).reshape(-1, *(1,) * rows.ndim)
    values = bottom.transpose(0, 2, 3, 1)[images, rows[..., :, None], columns[..., None, :]]
    values[~inside] = 0
    return values, inside

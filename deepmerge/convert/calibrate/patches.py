"""What a layer's weights are multiplied by, cut out of its bottom."""

from __future__ import annotations

import numpy as np

from deepmerge.graph.params import Convolution


def places(seed: int, sizes: tuple[int, int], most: int) -> np.ndarray:
    """(n, 2) places (y, x) in a top of (height, width): all, or `most` of them at random, the same for the same seed."""
    height, width = sizes
    if height * width <= most:
        return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    return np.minimum(np.random.default_rng(seed).random((most, 2)) * sizes, (height - 1, width - 1)).astype(np.int64)


def patches(bottom: np.ndarray, where: np.ndarray, p: Convolution) -> np.ndarray:
    """Return (group, N*n, channels_per_group*kernel_h*kernel_w), float32, in the order of the weights' axes.

    bottom: (N, C, H, W). where: (N, n, 2), the places in the top whose windows are wanted. What of a window lies
    outside the bottom is 0, as Caffe pads.
    """
    count, channels = bottom.shape[:2]
    rows = where[..., 0, None] * p.stride_h - p.pad_h + np.arange(p.kernel_h) * p.dilation[0]
    columns = where[..., 1, None] * p.stride_w - p.pad_w + np.arange(p.kernel_w) * p.dilation[1]
    inside = ((rows >= 0) & (rows < bottom.shape[2]))[..., :, None] & ((columns >= 0) & (columns < bottom.shape[3]))[
        ..., None, :
    ]
    rows, columns = np.clip(rows, 0, bottom.shape[2] - 1), np.clip(columns, 0, bottom.shape[3] - 1)
    image = np.arange(count)[:, None, None, None]
    # one axis of images, rows and columns each: (N, n, kernel_h, kernel_w, C)
    found = bottom[image, :, rows[..., :, None], columns[..., None, :]] * inside[..., None]
    found = np.moveaxis(found, -1, 2).reshape(count * where.shape[1], p.group, -1)
    return np.ascontiguousarray(found.transpose(1, 0, 2), dtype=np.float32)

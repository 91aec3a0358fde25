"""The values that a layer reads for some places of its output, as rows of a matrix."""

from __future__ import annotations

import numpy as np

from deepmerge.graph.graph import Layer
from deepmerge.graph.params import Convolution
from deepmerge.kernels.patches import patches, read_at
from deepmerge.passes.support.weights import bias_of, weight_of


def places(shape: tuple[int, ...], points: int, key: list[int]) -> np.ndarray:
    """Return up to `points` different places of one image's output, (C, H, W) or (C,), as sorted flat indices.

    key: seed of the choice. An output without height and width has one place, 0.
    """
    size = int(np.prod(shape[1:]))
    if size <= points:
        return np.arange(size)
    return np.sort(np.random.default_rng(key).choice(size, points, replace=False))


def tile(shape: tuple[int, ...], points: int, key: list[int]) -> np.ndarray:
    """Return places as `places` does, but all in one rectangle; see `tile_size`."""
    height, width = tile_size(shape, points)
    top, left = np.random.default_rng(key).integers((shape[1] - height + 1, shape[2] - width + 1))
    return ((top + np.arange(height))[:, None] * shape[2] + left + np.arange(width)).reshape(-1)


def tile_size(shape: tuple[int, ...], points: int) -> tuple[int, int]:
    """Return height and width of a rectangle of about `points` places, as square as the output (C, H, W) allows."""
    side = max(1, round(points**0.5))
    width = min(shape[2], max(side, points // max(1, min(shape[1], side))))
    return min(shape[1], max(1, round(points / width))), width


def tiles_at(
    layer: Layer, bottom: np.ndarray, where: np.ndarray, size: tuple[int, int], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what a convolution reads for tiles of its output, and where that is not padding.

    Parameters
    ----------
    bottom
        float32, (N, C, H, W).
    where
        The tiles' places, (N, P).
    size
        The tiles' height and width.
    width
        The output's width.

    Returns
    -------
    The values, float32, (N, rows, columns, C), and 1 or, for padding, 0, float32, (N, rows, columns).
    """
    p: Convolution = layer.params
    span_h = (size[0] - 1) * p.stride_h + (p.kernel_h - 1) * p.dilation_h + 1
    span_w = (size[1] - 1) * p.stride_w + (p.kernel_w - 1) * p.dilation_w + 1
    rows = (where[:, 0] // width * p.stride_h)[:, None] + np.arange(span_h) - p.pad_h
    columns = (where[:, 0] % width * p.stride_w)[:, None] + np.arange(span_w) - p.pad_w
    values, inside = read_at(bottom, rows, columns)
    return values, inside.astype(np.float32)


def values_at(blob: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the channels of a blob, (N, C, …), at places (N, P): (N·P, C)."""
    flat = blob.reshape(*blob.shape[:2], -1)
    return np.take_along_axis(flat, where[:, None, :], axis=2).transpose(0, 2, 1).reshape(-1, blob.shape[1])


def patches_at(layer: Layer, bottom: np.ndarray, where: np.ndarray, width: int) -> np.ndarray:
    """Return what a Convolution or InnerProduct reads for places (N, P) of its output: (N·P, inputs).

    width: the output's width. A convolution's inputs are in the order (channels, kernel_h, kernel_w), with 0 for
    padding; with groups, those of all groups.
    """
    if layer.type == "InnerProduct":
        return bottom.reshape(len(bottom), -1)
    return patches(bottom, where // width, where % width, layer.params)


def matrix_of(layer: Layer) -> np.ndarray:
    """Return the weights, float64, (inputs of a group, num_output), with the bias, if any, as the last row."""
    weight = weight_of(layer)
    matrix = weight.reshape(len(weight), -1).T.astype(np.float64)
    bias = bias_of(layer)
    return matrix if bias is None else np.vstack([matrix, bias.reshape(1, -1)])


def store(layer: Layer, matrix: np.ndarray) -> None:
    """Give the layer new float32 arrays of the same shapes, from a matrix as `matrix_of` returns it."""
    bias = bias_of(layer)
    weight = (matrix if bias is None else matrix[:-1]).T.reshape(weight_of(layer).shape)
    if layer.type == "InnerProduct" and layer.params.transpose:
        weight = weight.T
    layer.weights = [np.ascontiguousarray(weight, np.float32)]
    if bias is not None:
        layer.weights.append(np.ascontiguousarray(matrix[-1].reshape(bias.shape), np.float32))

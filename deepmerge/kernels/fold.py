"""Fold per-channel affine maps y = k·x + t into weights.

Arrays in, arrays out; float64 inside, float32 out. Convolution weights are (num_output, channels/group, kernel_h,
kernel_w), Deconvolution's (channels, num_output/group, kernel_h, kernel_w), InnerProduct's (num_output, inputs). A bias
may be None (all zero). k and t have one number for each channel.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def batchnorm_affine(mean: Array, variance: Array, factor: Array, eps: float) -> tuple[Array, Array]:
    """Return BatchNorm's stored statistics as (k, t), float64, shape (C,).

    s = 1/factor, or 0 if the factor is 0; k = 1/sqrt(s·variance + eps), t = −s·mean·k. They are not finite where
    s·variance + eps is 0, or below it: rounding may leave a sum negative. Source: Caffe, batch_norm_layer.cpp,
    Forward_cpu.
    """
    total = float(np.asarray(factor, np.float64).reshape(-1)[0])
    share = 0.0 if total == 0 else 1.0 / total
    spread = share * variance.astype(np.float64).reshape(-1) + eps
    with np.errstate(divide="ignore", invalid="ignore"):
        k = 1.0 / np.sqrt(spread)
        return k, -share * mean.astype(np.float64).reshape(-1) * k


def compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return the affine map that is `first` and then `second`: (k, t), as they are, all of one shape, float64."""
    return first[0] * second[0], first[1] * second[0] + second[1]


def _bias(bias: Array | None, size: int) -> Array:
    return np.zeros(size) if bias is None else bias.astype(np.float64).reshape(-1)


def scale_outputs(weight: Array, bias: Array | None, k: Array, t: Array) -> tuple[Array, Array]:
    """Fold the map after a Convolution or InnerProduct: W' = k·W, b' = k·b + t. k, t: (num_output,)."""
    shape = (-1,) + (1,) * (weight.ndim - 1)
    return _f32(weight * k.reshape(shape)), _f32(_bias(bias, len(k)) * k + t)


def scale_outputs_deconvolution(
    weight: Array, bias: Array | None, k: Array, t: Array, group: int
) -> tuple[Array, Array]:
    """Fold the map after a Deconvolution, whose outputs are on axis 1, group by group. Caffe: base_conv_layer.cpp."""
    channels, per_group = weight.shape[:2]
    rest = weight.shape[2:]
    blocks = weight.astype(np.float64).reshape(group, channels // group, per_group, *rest)
    scaled = blocks * k.reshape(group, 1, per_group, *(1,) * len(rest))
    return _f32(scaled.reshape(weight.shape)), _f32(_bias(bias, len(k)) * k + t)


def scale_inputs(weight: Array, bias: Array | None, k: Array, t: Array, group: int = 1) -> tuple[Array, Array]:
    """Fold the map before a Convolution: W' = W·diag(k), b' = b + ΣW·t. k, t: (channels,).

    Exact if no padding adds values that the map does not change: pad 0, or t = 0.
    """
    outputs, per_group = weight.shape[:2]
    rest = weight.shape[2:]
    blocks = weight.astype(np.float64).reshape(group, outputs // group, per_group, *rest)
    by_channel = (group, 1, per_group, *(1,) * len(rest))
    shift = (blocks * t.reshape(by_channel)).reshape(outputs, -1).sum(axis=1)
    return _f32((blocks * k.reshape(by_channel)).reshape(weight.shape)), _f32(_bias(bias, outputs) + shift)


def scale_inputs_inner_product(weight: Array, bias: Array | None, k: Array, t: Array) -> tuple[Array, Array]:
    """Fold the map before an InnerProduct of flattened (C, H, W): each channel's k and t cover its H·W columns."""
    outputs, inputs = weight.shape
    area = inputs // len(k)
    columns, shifts = np.repeat(k, area), np.repeat(t, area)
    wide = weight.astype(np.float64)
    return _f32(wide * columns), _f32(_bias(bias, outputs) + wide @ shifts)


def _f32(array: Array) -> Array:
    return np.ascontiguousarray(array, dtype=np.float32)

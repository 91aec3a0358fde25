"""Affine folds as formulas; their use on networks is judged by real Caffe in tests/passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.kernels import fold


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    return rng(seed).normal(0, 1, shape).astype(np.float32)


@pytest.mark.pitfall("fold", 2)
@pytest.mark.parametrize("factor", [1.0, 999.98, 0.0])
def test_batchnorm_is_caffes_formula(factor):
    mean, variance = f32(5) * np.float32(factor or 1), np.abs(f32(5, seed=1)) * np.float32(factor or 1)
    k, t = fold.batchnorm_affine(mean, variance, np.float32([factor]), 1e-3)
    s = 0 if factor == 0 else 1 / float(np.float32(factor))
    x = f32(7, 5, seed=2)
    wanted = (x - s * mean.astype(float)) / np.sqrt(s * variance.astype(float) + 1e-3)
    assert k.dtype == t.dtype == np.float64 and k.shape == t.shape == (5,)
    np.testing.assert_allclose(k * x + t, wanted, rtol=1e-12)


@pytest.mark.pitfall("fold", 15)
def test_batchnorm_with_no_variance():
    mean = np.float32([1, 1, 1])
    variance = np.float32([1e-45, 0, -1e-9])  # rounding took a sum below 0, and Caffe takes it as it is
    k, t = fold.batchnorm_affine(mean, variance, np.float32([1]), 1e-8)
    np.testing.assert_allclose(k, 1e4 / np.sqrt([1, 1, 0.9]), rtol=1e-7)
    np.testing.assert_allclose(t, -k)
    none = fold.batchnorm_affine(mean, variance, np.float32([1]), 0)[0]
    assert np.isinf(none[1]) and np.isnan(none[2])


def test_blobs_of_four_axes_as_old_files_have_them():
    blobs = f32(1, 1, 1, 5), np.abs(f32(1, 1, 1, 5)), np.float32([[[[2]]]])
    flat = fold.batchnorm_affine(*(b.reshape(-1) for b in blobs), 1e-5)
    np.testing.assert_array_equal(fold.batchnorm_affine(*blobs, 1e-5), flat)


@given(st.integers(0, 2**32 - 1))
def test_two_maps_are_one(seed):
    (k1, t1, k2, t2, x) = rng(seed).normal(0, 1, (5, 4))
    k, t = fold.compose((k1, t1), (k2, t2))
    np.testing.assert_allclose(k * x + t, k2 * (k1 * x + t1) + t2, atol=1e-12)


@pytest.mark.parametrize("with_bias", [True, False])
def test_behind_an_inner_product(with_bias):
    weight, bias, k, t, x = (
        f32(4, 6),
        f32(4, seed=1) if with_bias else None,
        f32(4, seed=2),
        f32(4, seed=3),
        f32(6, seed=4),
    )
    new, new_bias = fold.scale_outputs(weight, bias, k.astype(float), t.astype(float))
    assert new.dtype == new_bias.dtype == np.float32
    np.testing.assert_allclose(new @ x + new_bias, k * (weight @ x + (bias if with_bias else 0)) + t, atol=1e-5)


@pytest.mark.parametrize("with_bias", [True, False])
def test_before_an_inner_product_over_images(with_bias):
    weight, bias, k, t = f32(4, 3 * 2 * 5), f32(4, seed=1) if with_bias else None, f32(3, seed=2), f32(3, seed=3)
    x = f32(3, 2, 5, seed=4)
    new, new_bias = fold.scale_inputs_inner_product(weight, bias, k.astype(float), t.astype(float))
    mapped = (k[:, None, None] * x + t[:, None, None]).reshape(-1)
    np.testing.assert_allclose(new @ x.reshape(-1) + new_bias, weight @ mapped + (bias if with_bias else 0), atol=1e-5)


@pytest.mark.parametrize("group", [1, 2])
def test_before_a_convolution_by_group(group):
    """One place of the convolution: kernel_h x kernel_w windows of every channel."""
    outputs, channels = 6, 4
    weight, k, t = f32(outputs, channels // group, 3, 2), f32(channels, seed=2), f32(channels, seed=3)
    window = f32(channels, 3, 2, seed=4)

    def place(values, kernels):
        blocks = values.reshape(group, channels // group, 3, 2)
        return np.einsum("gochw,gchw->go", kernels.reshape(group, -1, channels // group, 3, 2), blocks).reshape(-1)

    new, bias = fold.scale_inputs(weight, None, k.astype(float), t.astype(float), group)
    wanted = place(k[:, None, None] * window + t[:, None, None], weight)
    np.testing.assert_allclose(place(window, new) + bias, wanted, atol=1e-5)


@pytest.mark.pitfall("fold", 6)
@pytest.mark.pitfall("row", 26)
@pytest.mark.parametrize("group", [1, 2, 4])
def test_behind_a_deconvolution_by_group(group):
    """Outputs lie on axis 1; output o of group g takes the channels of group g alone."""
    channels, outputs = 4, 8
    weight, k, t = f32(channels, outputs // group, 3, 2), f32(outputs, seed=2), f32(outputs, seed=3)
    new, bias = fold.scale_outputs_deconvolution(weight, f32(outputs, seed=4), k.astype(float), t.astype(float), group)
    for channel in range(channels):
        for index in range(outputs // group):
            output = channel // (channels // group) * (outputs // group) + index
            np.testing.assert_allclose(new[channel, index], k[output] * weight[channel, index], rtol=1e-6)
    np.testing.assert_allclose(bias, f32(outputs, seed=4) * k + t, atol=1e-6)


def test_arguments_are_not_changed():
    weight, bias, k, t = f32(4, 4, 1, 1), f32(4), np.ones(4) * 2, np.ones(4)
    before = [a.copy() for a in (weight, bias, k, t)]
    fold.scale_outputs(weight, bias, k, t)
    fold.scale_inputs(weight, bias, k, t, 1)
    fold.scale_outputs_deconvolution(weight, bias, k, t, 1)
    fold.scale_inputs_inner_product(weight.reshape(4, 4), bias, k, t)
    for now, was in zip((weight, bias, k, t), before, strict=True):
        np.testing.assert_array_equal(now, was)

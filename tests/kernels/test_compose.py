"""Composition of convolutions on one window."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.kernels.compose import compose_convolutions


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def place(weight: np.ndarray, bias: np.ndarray | None, window: np.ndarray) -> np.ndarray:
    """The convolution at one place: the window is as large as the kernel."""
    return np.einsum("nchw,chw->n", weight.astype(float), window) + (0 if bias is None else bias)


@pytest.mark.parametrize("first_bias", [True, False])
@pytest.mark.parametrize("second_bias", [True, False])
def test_kxk_then_1x1(first_bias, second_bias):
    a, b = (
        (f32(5, 3, 3, 2), f32(5, seed=1) if first_bias else None),
        (f32(4, 5, 1, 1, seed=2), f32(4, seed=3) if second_bias else None),
    )
    weight, bias = compose_convolutions(a[0], a[1], b[0], b[1])
    window = f32(3, 3, 2, seed=4)
    wanted = place(*b, place(*a, window)[:, None, None])
    assert weight.shape == (4, 3, 3, 2) and weight.dtype == np.float32
    assert (bias is None) == (not first_bias and not second_bias)
    np.testing.assert_allclose(place(weight, bias, window), wanted, atol=1e-5)


@pytest.mark.parametrize("first_bias", [True, False])
def test_1x1_then_kxk(first_bias):
    a, b = (f32(5, 3, 1, 1), f32(5, seed=1) if first_bias else None), (f32(4, 5, 2, 3, seed=2), f32(4, seed=3))
    weight, bias = compose_convolutions(*a, *b)
    window = f32(3, 2, 3, seed=4)
    middle = np.einsum("mc,chw->mhw", a[0][:, :, 0, 0].astype(float), window)
    middle = middle + (0 if a[1] is None else a[1][:, None, None])
    assert weight.shape == (4, 3, 2, 3)
    np.testing.assert_allclose(place(weight, bias, window), place(*b, middle), atol=1e-5)

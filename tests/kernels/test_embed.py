"""Kernels inside larger ones."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.kernels.compose import embed_at, spread_average


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


def test_a_corner_and_zeros_around():
    weight = f32(2, 3, 1, 2)
    wide = embed_at(weight, 4, 5, 2, 1)
    assert wide.shape == (2, 3, 4, 5) and wide.dtype == np.float32
    np.testing.assert_array_equal(wide[:, :, 2:3, 1:3], weight)
    assert np.count_nonzero(wide) == np.count_nonzero(weight)


@pytest.mark.parametrize(("window", "step"), [((2, 3), (1, 1)), ((3, 1), (2, 2)), ((1, 1), (4, 4)), ((2, 2), (1, 3))])
def test_a_mean_over_windows_is_the_mean_of_places(window, step):
    weight = f32(4, 2, 3, 2)
    kernel = spread_average(weight, window, step)
    height, width = 3 + (window[0] - 1) * step[0], 2 + (window[1] - 1) * step[1]
    assert kernel.shape == (4, 2, height, width)
    image = np.random.default_rng(1).normal(0, 1, (2, height, width))
    places = [
        np.einsum("nchw,chw->n", weight, image[:, y * step[0] : y * step[0] + 3, x * step[1] : x * step[1] + 2])
        for y in range(window[0])
        for x in range(window[1])
    ]
    np.testing.assert_allclose(np.einsum("nchw,chw->n", kernel, image), np.mean(places, axis=0), atol=1e-5)

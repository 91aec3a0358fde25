"""The random start: Caffe's bounds (filler.hpp), and the same values every time."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.kernels.xavier import xavier


@pytest.mark.parametrize("shape", [(64, 3, 7, 5), (300, 40), (8, 1, 1, 1)])
def test_bounds_by_fan_in(shape):
    limit = np.sqrt(3 / np.prod(shape[1:]))
    weight = xavier(shape)
    assert weight.shape == shape and weight.dtype == np.float32
    assert np.abs(weight).max() <= limit * (1 + 1e-6)
    if weight.size > 1000:  # uniform: variance limit²/3 = 1/fan-in
        assert abs(weight.mean()) < 0.05 * limit and weight.max() > 0.95 * limit
        np.testing.assert_allclose(weight.var(), 1 / np.prod(shape[1:]), rtol=0.1)


def test_a_shape_gives_the_same_values_everywhere():
    np.testing.assert_allclose(xavier((5, 4, 3, 2)).ravel()[:3], [0.015149, -0.0403487, -0.2388126], atol=1e-7)
    assert xavier((5, 4, 3, 2)).tobytes() != xavier((5, 4, 2, 3)).tobytes()

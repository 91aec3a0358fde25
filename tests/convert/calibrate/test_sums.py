"""Running sums against numpy's covariance of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.convert.calibrate.sums import Sums


def rows(count=700, group=2, values=12):
    rng = np.random.default_rng(4)
    mix = rng.normal(0, 1, (group, values, values))
    return (rng.normal(0, 1, (group, count, values)) @ mix + 50).astype(np.float32)


def added(kind, x, pieces, taps=1):
    sums = Sums(kind, taps)
    for piece in np.array_split(x, pieces, axis=1):
        sums.add(piece)
    return sums.moments()


@pytest.mark.parametrize("pieces", [1, 7])
def test_mean_and_covariance(pieces):
    x = rows()
    made = added("patches", x, pieces)
    assert made.samples == 700 and made.kind == "patches"
    np.testing.assert_allclose(made.mean, x.mean(axis=1, dtype=np.float64), rtol=1e-6)
    for g in range(2):
        wanted = np.cov(x[g].astype(np.float64), rowvar=False, bias=True)
        np.testing.assert_allclose(made.covariance[g], wanted, atol=1e-5 * np.abs(wanted).max())


def test_separable_ones_are_the_covariance_summed_over_taps_and_over_channels():
    x = rows()
    whole, made = added("patches", x, 3), added("separable", x, 3, taps=4)
    blocks = whole.covariance.reshape(2, 3, 4, 3, 4)
    np.testing.assert_allclose(made.mean, whole.mean)
    np.testing.assert_allclose(made.covariance, np.einsum("gckdk->gcd", blocks), rtol=1e-4)
    np.testing.assert_allclose(made.taps, np.einsum("gckcl->gkl", blocks), rtol=1e-4)
    assert made.fits((10, 3, 2, 2), 2) and not made.fits((10, 3, 2, 3), 2) and whole.fits((10, 3, 2, 2), 2)

"""The rank above the noise, against planted ranks, published figures and the model's own free energy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.errors import PassError
from deepmerge.kernels import vbmf


def planted(rows, columns, rank, signal, seed):
    """A matrix of that rank, its entries' deviation signal * sqrt(rank), in noise of deviation 1."""
    rng = np.random.default_rng(seed)
    low = rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, columns))
    return signal * low + rng.standard_normal((rows, columns))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("rows", "columns", "rank", "signal"),
    [
        (50, 200, 5, 1.0), (200, 50, 5, 1.0), (100, 100, 10, 2.0),
        (64, 576, 10, 0.3), (20, 400, 3, 0.5), (3, 576, 1, 1.0),
    ],
)  # fmt: skip
def test_planted_rank_is_found(rows, columns, rank, signal, seed):
    assert vbmf.evbmf_rank(planted(rows, columns, rank, signal, seed)) == rank


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(60, 60), (40, 360), (360, 40), (5, 300)])
def test_pure_noise_has_no_rank(shape, seed):
    assert vbmf.evbmf_rank(np.random.default_rng(seed).standard_normal(shape)) == 0


def test_noise_variance_is_estimated():
    matrix = 0.3 * planted(80, 500, 6, 1.0, seed=1)
    variance = vbmf.evbmf_noise_variance(vbmf.singular_values(matrix), matrix.shape)
    assert variance == pytest.approx(0.09, rel=0.03)


def test_exactly_low_rank_without_noise():
    rng = np.random.default_rng(3)
    matrix = (rng.standard_normal((40, 4)) @ rng.standard_normal((4, 90))).astype(np.float32)
    assert vbmf.evbmf_rank(matrix) == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (4, 9), (0, 3), (3, 0)])
def test_zero_matrix(shape):
    assert vbmf.evbmf_rank(np.zeros(shape, np.float32)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 100), (100, 1)])
def test_one_row_or_column_has_nothing_to_tell_noise_by(shape):
    assert vbmf.evbmf_rank(np.full(shape, 3.0)) == 0


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 24),
    rank=st.integers(0, 3),
    exponent=st.integers(-30, 30),
    seed=st.integers(0, 1000),
)
def test_scale_and_transposition_change_nothing(rows, columns, rank, exponent, seed):
    matrix = planted(rows, columns, rank, 1.0, seed)
    found = vbmf.evbmf_rank(matrix)
    assert 0 <= found < min(rows, columns)
    assert vbmf.evbmf_rank(matrix.T) == found
    assert vbmf.evbmf_rank(matrix * 10.0**exponent) == found


def test_values_and_shape_are_enough():
    matrix = planted(30, 70, 4, 1.0, seed=5)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert vbmf.evbmf_rank_of_values(values, (30, 70)) == vbmf.evbmf_rank_of_values(values[::-1], (70, 30)) == 4


def test_threshold_of_a_square_matrix_is_the_published_one():
    # JMLR 16 (2015), section 3: tau is 2.5129 at alpha = 1, so x = (1 + tau)(1 + 1/tau).
    assert vbmf.threshold(1.0) == pytest.approx(3.5129 * (1 + 1 / 2.5129), rel=1e-4)


def component_free_energy(value, short, long, variance):
    """Minimise a single component's free energy by coordinate descent on its Gaussians and priors.

    The model's own equations (JMLR 14 (2013), section 2), not its closed-form solution. 0 is the energy
    of the component switched off.
    """
    a = b = math.sqrt(value)
    var_a = var_b = prior_a = prior_b = variance / value
    for _ in range(5000):
        second_b = b * b + short * var_b
        var_a = variance / (second_b + variance / prior_a)
        a = var_a * value * b / variance
        second_a = a * a + long * var_a
        var_b = variance / (second_a + variance / prior_b)
        b = var_b * value * a / variance
        second_b = b * b + short * var_b
        prior_a, prior_b = second_a / long, second_b / short
    return (
        long * math.log(prior_a / var_a) + short * math.log(prior_b / var_b)
        + second_a / prior_a + second_b / prior_b - (short + long)
        + (second_a * second_b - 2 * a * b * value) / variance
    )  # fmt: skip


@pytest.mark.parametrize(("short", "long"), [(20, 20), (20, 35), (12, 96), (4, 100)])
@pytest.mark.parametrize("factor", [0.97, 1.03])
def test_threshold_is_where_keeping_a_value_begins_to_pay(short, long, factor):
    variance = 0.7
    value = math.sqrt(factor * long * variance * vbmf.threshold(short / long))
    pays = component_free_energy(value, short, long, variance) < 0.0
    assert pays == (factor > 1.0)
    values = np.zeros(short)
    values[0] = value
    assert vbmf.evbmf_rank_of_values(values, (short, long), variance) == int(pays)


def test_noise_variance_is_the_global_minimum():
    # 78 x 79 of rank 27, weak: the free energy has several minima here.
    for seed in range(5):
        matrix = planted(78, 79, 27, 0.3, seed)
        squares = np.linalg.svd(matrix, compute_uv=False) ** 2
        found = vbmf.evbmf_noise_variance(np.sqrt(squares), matrix.shape)
        highest = math.log(squares.mean() / 79)
        logs = np.append(np.linspace(highest - 4, highest, 4000), math.log(found))
        energies = vbmf._free_energy(logs, squares, 79, 78 / 79)
        assert energies[-1] <= energies.min() + 1e-6
        if seed == 0:
            assert energy(squares, found) < min(energy(squares, found * 1.05), energy(squares, found / 1.05))


def energy(squares: np.ndarray, variance: float) -> float:
    """The free energy of 78 x 79 values at a noise variance, of the components that are kept, one by one."""
    kept = [value for value in squares if value > 79 * variance * vbmf.threshold(78 / 79)]
    parts = (min(0.0, component_free_energy(math.sqrt(value), 78, 79, variance)) for value in kept)
    return 78 * 79 * math.log(variance) + squares.sum() / variance + sum(parts)


def test_singular_values():
    matrix = np.random.default_rng(0).standard_normal((7, 31))
    expected = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(vbmf.singular_values(matrix), expected, rtol=1e-12)
    np.testing.assert_allclose(vbmf.singular_values(matrix.T), expected, rtol=1e-12)


def test_what_cannot_be_decomposed_is_refused():
    with pytest.raises(ValueError, match="2 axes"):
        vbmf.evbmf_rank(np.zeros((2, 3, 4)))
    with pytest.raises(PassError, match="NaN"):
        vbmf.evbmf_rank(np.array([[1.0, np.nan], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="expected 3"):
        vbmf.evbmf_rank_of_values(np.ones(2), (3, 5))

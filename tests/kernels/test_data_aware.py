"""Decompositions that are near on the data, against samples of it and against the plain ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.errors import PassError
from deepmerge.kernels import data_aware, svd, tucker
from deepmerge.kernels.moments import RIDGE, Moments


def samples(group, values, count=400, seed=0, rank=None):
    """(group, count, values): values that hang together, none of mean 0; rank: how many directions they vary in."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(0, 1, (group, rank or values, values)) * np.geomspace(1, 0.02, values)
    return rng.normal(0, 1, (group, count, rank or values)) @ mix + rng.normal(0, 1, (group, 1, values))


def moments(x, taps=0):
    """Those of samples (group, count, values); taps: as separable ones."""
    mean = x.mean(axis=1)
    rest = x - mean[:, None]
    covariance = rest.transpose(0, 2, 1) @ rest / x.shape[1]
    if not taps:
        return Moments("patches", mean, covariance, samples=x.shape[1])
    blocks = covariance.reshape(len(x), -1, taps, covariance.shape[1] // taps, taps)
    return Moments("separable", mean, np.einsum("gckdk->gcd", blocks), np.einsum("gckcl->gkl", blocks), x.shape[1])


def apart(weight, approx, x, shift):
    """The mean square difference of two layers' outputs on samples, the second one's bias being greater by `shift`."""
    group = len(x)
    one, other = (np.asarray(w, np.float64).reshape(group, len(w) // group, -1) for w in (weight, approx))
    made = x @ (other - one).transpose(0, 2, 1) + np.reshape(shift, (group, 1, -1))
    return float(np.mean(np.sum(made**2, axis=2)))


def variance(weight, x):
    """How much a layer's outputs vary on samples."""
    made = x @ np.asarray(weight, np.float64).reshape(len(x), len(weight) // len(x), -1).transpose(0, 2, 1)
    return float(np.mean(np.sum((made - made.mean(axis=1, keepdims=True)) ** 2, axis=2)))


def matrix_of(factors, group):
    first, last = (np.asarray(f, np.float64).reshape(group, len(f) // group, -1) for f in factors)
    return (last @ first).reshape(-1, first.shape[2])


def outputs_of(m, weight):
    """The moments of a matrix's outputs, for one group."""
    return Moments("outputs", m.mean @ weight.T.astype(np.float64), weight.astype(np.float64) @ m.covariance @ weight.T)


def weights(*shape, seed=5):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


# -- matrices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "group"), [((12, 20), 1), ((20, 12), 1), ((12, 5, 1, 1), 2)])
def test_a_matrix_is_as_near_on_the_data_as_one_can_be(shape, group):
    """Eckart and Young on the outputs: what is lost is what their principal components behind the rank vary."""
    weight, x = weights(*shape), samples(group, shape[1])
    made = x @ weight.reshape(group, -1, shape[1]).transpose(0, 2, 1)
    values = np.linalg.svd(made - made.mean(axis=1, keepdims=True), compute_uv=False) ** 2 / x.shape[1]
    m = moments(x)
    for rank in (1, 3, 5):
        factors = data_aware.aware_svd(weight, rank, group, m)
        assert all(f.dtype == np.float32 and f.flags.c_contiguous and f.ndim == len(shape) for f in factors)
        assert factors[0].shape[:2] == (rank * group, shape[1]) and factors[1].shape[:2] == (shape[0], rank)
        error = apart(weight, matrix_of(factors, group), x, data_aware.bias_shift(weight, factors, group, m))
        least = values[:, rank:].sum() / group
        assert least * (1 - 1e-5) <= error <= least + 2 * RIDGE * variance(weight, x)


def test_a_matrix_by_its_outputs_is_the_matrix_by_its_inputs():
    """The outputs' moments are all that it takes, but for the ridge, which is other."""
    weight, x = weights(12, 20), samples(1, 20)
    m = moments(x)
    one = data_aware.aware_svd(weight, 4, 1, m)
    other = data_aware.aware_svd(weight, 4, 1, outputs_of(m, weight))
    errors = [
        apart(weight, matrix_of(f, 1), x, data_aware.bias_shift(weight, f, 1, mm))
        for f, mm in ((one, m), (other, outputs_of(m, weight)))
    ]
    assert errors[1] == pytest.approx(errors[0], rel=1e-2)
    assert data_aware.aware_spectra(weight, 1, m)[0] == pytest.approx(
        data_aware.aware_spectra(weight, 1, outputs_of(m, weight))[0], rel=0.05, abs=1e-3 * variance(weight, x)
    )


def test_matrix_factors_are_balanced():
    first, last = data_aware.aware_svd(weights(12, 20), 4, 1, moments(samples(1, 20)))
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), np.linalg.norm(last, axis=0), rtol=1e-5)
    assert np.all(last[np.argmax(np.abs(last), axis=0), range(4)] > 0)


# -- Tucker-2 --------------------------------------------------------------------------------------


def planted(group, seed=1):
    """Weights (12*group, 6, 2, 3) that are of ranks 4 and 3 on data (group, 500, 36) which never leaves a half of the channels' mixtures.

    What the weights do with the other half is noise that nobody sees.
    """
    rng = np.random.default_rng(seed)
    basis = np.stack([np.linalg.qr(rng.normal(0, 1, (6, 6)))[0] for _ in range(group)])
    seen = np.einsum("gna,gabyx->gnbyx", rng.normal(0, 1, (group, 12, 4)), rng.normal(0, 1, (group, 4, 3, 2, 3)))
    weight = np.concatenate([seen, rng.normal(0, 4, (group, 12, 3, 2, 3))], axis=2)
    x = np.zeros((group, 500, 6, 6))
    x[:, :, :3] = rng.normal(1, 1, (group, 500, 3, 6))
    x = np.einsum("gsbk,gbc->gsck", x, basis).reshape(group, 500, 36)
    return np.einsum("gnbyx,gbc->gncyx", weight, basis).reshape(-1, 6, 2, 3).astype(np.float32), x


@pytest.mark.parametrize("taps", [0, 6])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("ranks", [(4, 3), (4, 6), (12, 3)])
def test_weights_of_low_rank_on_the_data_alone_are_recovered(ranks, group, taps):
    weight, x = planted(group)
    m = moments(x, taps)
    factors = data_aware.aware_tucker2(weight, *ranks, group, m)
    assert (factors[0] is None, factors[2] is None) == (ranks[1] == 6, ranks[0] == 12)
    approx = tucker.reconstruct(*factors, group)
    assert apart(weight, approx, x, data_aware.bias_shift(weight, factors, group, m)) < 1e-6 * variance(weight, x)
    plain = tucker.reconstruct(*tucker.tucker2(weight, *ranks, group), group)
    assert apart(weight, plain, x, m.shift(weight, plain, group)) > 0.1 * variance(weight, x)


SIZES = st.tuples(*(st.integers(1, most) for most in (9, 7, 3, 4)))


@settings(deadline=None, max_examples=60)
@given(SIZES, st.integers(1, 2), st.floats(0.1, 1), st.floats(0.1, 1), st.integers(0, 99), st.integers(1, 5))
def test_never_further_on_the_data_than_plain_tucker(sizes, group, share_out, share_in, seed, directions):
    """At the same ranks, whatever the data; plain Tucker may have the best bias, too."""
    outputs, channels, kernel_h, kernel_w = sizes
    weight = weights(outputs * group, channels, kernel_h, kernel_w, seed=seed)
    values = channels * kernel_h * kernel_w
    x = samples(group, values, 60, seed, min(directions, values))
    m = moments(x)
    ranks = max(1, round(share_out * outputs)), max(1, round(share_in * channels))
    factors = data_aware.aware_tucker2(weight, *ranks, group, m)
    plain = tucker.tucker2(weight, *ranks, group)
    assert [None if f is None else f.shape for f in factors] == [None if f is None else f.shape for f in plain]
    approx, old = (tucker.reconstruct(*f, group) for f in (factors, plain))
    error = apart(weight, approx, x, data_aware.bias_shift(weight, factors, group, m))
    bound = apart(weight, old, x, m.shift(weight, old, group))
    ridge = RIDGE * np.trace(m.covariance, axis1=1, axis2=2).max() / values * np.sum((weight - old) ** 2.0)
    assert error <= bound + ridge + 1e-9 * (1 + variance(weight, x))


def test_sweeps_bring_it_nearer_than_the_whitened_start():
    weight, x = weights(16, 8, 3, 3), samples(1, 72, 2000)
    m = moments(x)
    errors = []
    for sweeps in (0, data_aware.SWEEPS):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(data_aware, "SWEEPS", sweeps)
            approx = tucker.reconstruct(*data_aware.aware_tucker2(weight, 6, 3, 1, m))
        errors.append(apart(weight, approx, x, m.shift(weight, approx, 1)))
    assert errors[1] < 0.998 * errors[0]


def test_separable_moments_give_what_the_covariance_they_are_gives():
    rng = np.random.default_rng(2)
    channels, taps = (a @ a.T for a in (rng.normal(0, 1, (5, 5)), rng.normal(0, 1, (6, 6))))
    weight, mean = weights(10, 5, 2, 3), rng.normal(0, 1, (1, 30))
    whole = Moments("patches", mean, np.kron(channels, taps)[None])
    parts = Moments("separable", mean, channels[None] * np.trace(taps), taps[None] * np.trace(channels))
    errors = []
    for m in (whole, parts):
        rest = (weight - tucker.reconstruct(*data_aware.aware_tucker2(weight, 4, 3, 1, m))).reshape(10, -1)
        errors.append(np.trace(rest @ whole.covariance[0] @ rest.T))
    assert errors[1] == pytest.approx(errors[0], rel=1e-2)
    for a, b in zip(
        data_aware.aware_spectra(weight, 1, whole), data_aware.aware_spectra(weight, 1, parts), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3 * a.max())


@pytest.mark.parametrize("group", [1, 3])
def test_shapes_dtypes_and_orthonormal_factors(group):
    weight, m = weights(8 * group, 7, 3, 5), moments(samples(group, 105, 300))
    first, core, last = data_aware.aware_tucker2(weight, 4, 3, group, m)
    assert (first.shape, core.shape, last.shape) == ((3 * group, 7, 1, 1), (4 * group, 3, 3, 5), (8 * group, 4, 1, 1))
    for g in range(group):
        rows, columns = first[3 * g : 3 * g + 3, :, 0, 0], last[8 * g : 8 * g + 8, :, 0, 0]
        np.testing.assert_allclose(rows @ rows.T, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(columns.T @ columns, np.eye(4), atol=1e-6)
    again = data_aware.aware_tucker2(np.asfortranarray(weight), 4, 3, group, m)
    for a, b in zip((first, core, last), again, strict=True):
        assert a.dtype == np.float32 and a.flags.c_contiguous and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("kind", ["patches", "separable", "outputs"])
def test_the_mean_of_every_output_is_what_it_was(kind):
    weight, x = weights(10, 6, *(() if kind == "outputs" else (2, 3))), samples(1, 6 if kind == "outputs" else 36)
    m = moments(x, taps=6 if kind == "separable" else 0)
    if kind == "outputs":
        m = outputs_of(m, weight)
        factors = data_aware.aware_svd(weight, 2, 1, m)
        approx = matrix_of(factors, 1)
    else:
        factors = data_aware.aware_tucker2(weight, 3, 2, 1, m)
        approx = tucker.reconstruct(*factors)
    shift = data_aware.bias_shift(weight, factors, 1, m)
    gone = x[0] @ (weight - approx).reshape(10, -1).T
    np.testing.assert_allclose(gone.mean(axis=0), shift, atol=1e-5)
    assert np.abs(shift).max() > 0.1


def test_energies_are_how_much_the_outputs_vary():
    weight, x = weights(8, 5, 2, 3), samples(2, 30)
    out, inside = data_aware.aware_spectra(weight, 2, moments(x))
    assert out.shape == (2, 4) and inside.shape == (2, 5)
    assert np.all(np.diff(out) <= 0) and np.all(np.diff(inside) <= 1e-12)
    made = x @ weight.reshape(2, 4, 30).astype(np.float64).transpose(0, 2, 1)
    np.testing.assert_allclose(out.sum(axis=1), made.var(axis=1).sum(axis=1), rtol=1e-2)
    plain = tucker.spectra(weight, 2)
    identity = Moments("patches", np.zeros((2, 30)), np.stack([np.eye(30)] * 2))
    for a, b in zip(data_aware.aware_spectra(weight, 2, identity), plain, strict=True):
        np.testing.assert_allclose(a / a.sum(), b / b.sum(), rtol=1e-6, atol=1e-9)


def test_data_that_never_varies_leaves_the_plain_decomposition():
    weight, nothing = weights(10, 6, 3, 3), Moments("patches", np.ones((1, 54)), np.zeros((1, 54, 54)))
    one, other = (
        tucker.reconstruct(*f)
        for f in (data_aware.aware_tucker2(weight, 4, 3, 1, nothing), tucker.tucker2(weight, 4, 3))
    )
    norm = np.linalg.norm(weight)
    assert np.linalg.norm(weight - one) <= np.linalg.norm(weight - other) + 1e-4 * norm
    flat = weight[:, :, 0, 0]
    empty = Moments("outputs", np.zeros((1, 10)), np.zeros((1, 10, 10)))
    pairs = data_aware.aware_svd(flat, 3, 1, empty), svd.truncated_svd(flat, 3)
    np.testing.assert_allclose(*(last @ first for first, last in pairs), atol=1e-5)


def test_zero_weights():
    m = moments(samples(1, 54))
    for part in data_aware.aware_tucker2(np.zeros((8, 6, 3, 3), np.float32), 3, 2, 1, m):
        assert np.all(np.isfinite(part))
    first, last = data_aware.aware_svd(np.zeros((8, 54), np.float32), 3, 1, m)
    assert not np.any(last @ first) and np.all(np.isfinite(first)) and np.all(np.isfinite(last))


def test_misuse_is_refused():
    m, bad = moments(samples(1, 54)), weights(8, 6, 3, 3)
    with pytest.raises(ValueError, match="not those of weights"):
        data_aware.aware_tucker2(weights(8, 6, 3, 5), 3, 2, 1, m)
    with pytest.raises(ValueError, match="not those of weights"):
        data_aware.aware_tucker2(bad, 3, 2, 2, m)
    with pytest.raises(ValueError, match="rank 9 is out of"):
        data_aware.aware_svd(weights(8, 54), 9, 1, m)
    with pytest.raises(ValueError, match="rank_in 7"):
        data_aware.aware_tucker2(bad, 3, 7, 1, m)
    bad[0, 0, 0, 0] = np.nan
    with pytest.raises(PassError, match="NaN"):
        data_aware.aware_tucker2(bad, 3, 2, 1, m)

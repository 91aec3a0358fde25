"""Ridge least squares against numpy's lstsq, and against the conditions that a convex problem's only solution meets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.kernels.ridge import Aim, Normal, activated, damping, fit, gram, predict


def problem(seed, rows, inputs, outputs, bias=True):
    """Inputs on very different scales, weights that bring them together again."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.uniform(-3, 5, inputs))
    x = rng.normal(size=(rows, inputs)) * scale
    weight = rng.normal(size=(inputs, outputs)) / scale[:, None]
    if bias:
        x, weight = np.hstack([x, np.ones((rows, 1))]), np.vstack([weight, rng.normal(size=(1, outputs))])
    return x, weight, rng


def lstsq(x, target, start, damp):
    """The same by an augmented system: rows √λ(w − w₀) = 0 below the others."""
    root = np.sqrt(damp)[:, None]
    return np.linalg.lstsq(np.vstack([x, np.diag(root[:, 0])]), np.vstack([target, root * start]), rcond=None)[0]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12), st.integers(1, 4), st.booleans(),
    st.sampled_from([1e-3, 0.1, 3.0]),
)  # fmt: skip
def test_plain_ridge_is_lstsq_of_the_augmented_system(seed, rows, inputs, outputs, bias, strength):
    x, start, rng = problem(seed, rows, inputs, outputs, bias)
    target = rng.normal(size=(rows, outputs))
    found = fit(Normal(x, strength, bias), target, start)
    wanted = lstsq(x, target, start, damping(np.diag(x.T @ x), strength, bias))
    scale = np.abs(x).max(axis=0)[:, None]
    np.testing.assert_allclose(found * scale, wanted * scale, atol=1e-6 * max(1, np.abs(wanted * scale).max()))


def test_without_shrinking_it_is_lstsq():
    x, _, rng = problem(1, 300, 20, 5)
    target = rng.normal(size=(300, 5))
    found = fit(Normal(x, 0.0, True), target, np.zeros((21, 5)))
    wanted = np.linalg.lstsq(x, target, rcond=None)[0]
    np.testing.assert_allclose(x @ found, x @ wanted, atol=1e-6)


@pytest.mark.parametrize("rows", [15, 400])
def test_much_shrinking_leaves_the_weights(rows):
    x, start, rng = problem(2, rows, 30, 4)
    found = fit(Normal(x, 1e9, True), rng.normal(size=(rows, 4)), start)
    np.testing.assert_allclose(found, start, rtol=1e-5)


@pytest.mark.parametrize("rows", [25, 300])
@pytest.mark.parametrize("below", [0.0, 0.25, 1.0])
def test_a_rectified_fit_meets_the_conditions_of_its_minimum(rows, below):
    """The gradient Xᵀ·residual − Λ(W − W₀) is 0. Few rows, and many; float64."""
    x, start, rng = problem(3, rows, 30, 6)
    slope = np.full(6, below)
    target = activated(rng.normal(size=(rows, 6)) * 3, slope)
    normal = Normal(x, 1e-2, True)
    found = fit(normal, target, start, slope, 3000, 0.0)
    left, _ = Aim(target, slope).residual(x @ found)
    right = normal.damp[:, None] * (found - start)
    scale = np.sqrt(np.diag(x.T @ x))[:, None]
    assert np.abs((x.T @ left - right) / scale).max() < 1e-5 * np.abs(target).max() * rows**0.5


@pytest.mark.parametrize("below", [None, 0.0, 0.1])
def test_planted_weights_are_found(below):
    x, weight, _ = problem(4, 4000, 40, 8)
    x = x.astype(np.float32)
    slope = None if below is None else np.full(8, below, np.float32)
    target = activated(predict(x, weight), slope)
    found = fit(Normal(x, 0.0, True), target, np.zeros_like(weight), slope, 400, 0.0)
    scale = np.sqrt(np.diag(gram(x)) / len(x))[:, None]
    np.testing.assert_allclose(found * scale, weight * scale, atol=1e-4 * np.abs(weight * scale).max())


def test_a_value_below_zero_is_no_error_where_zero_is_wanted():
    aim = Aim(np.array([[0.0, 0.0, 2.0, 2.0]]), np.zeros(4))
    left, error = aim.residual(np.array([[-5.0, 3.0, -1.0, 2.5]]))
    np.testing.assert_allclose(left, [[0, -3, 3, -0.5]])
    assert error == pytest.approx((9 + 9 + 0.25) / 4)


def test_a_leaky_error_counts_as_it_is_seen():
    aim = Aim(np.array([[-1.0, -1.0, 3.0]]), np.array([0.5, 0.0, 0.5]))
    left, error = aim.residual(np.array([[-4.0, 1.0, 1.0]]))
    np.testing.assert_allclose(left, [[0.5 * (-1 + 2), -2, 2]])  # a·(y − a·xw); min(0, y − xw); y − xw
    assert error == pytest.approx((1 + 4 + 4) / 3)


def test_the_error_never_grows():
    x, start, rng = problem(6, 200, 30, 5)
    target = activated(rng.normal(size=(200, 5)), np.zeros(5))
    normal, aim = Normal(x, 1e-6, True), Aim(target, np.zeros(5))
    errors = []
    for iterations in range(30):
        found = fit(normal, target, start, np.zeros(5), iterations, 0.0)
        errors.append(aim.residual(x @ found)[1] * target.size + normal.price(found - start))
    assert all(b <= a * (1 + 1e-9) for a, b in zip(errors, errors[1:], strict=False)) and errors[-1] < errors[0] / 2


def test_inputs_that_are_always_zero_keep_their_weights():
    x, start, rng = problem(7, 100, 6, 2)
    x[:, 3] = 0
    found = fit(Normal(x, 1e-4, True), rng.normal(size=(100, 2)), start)
    np.testing.assert_allclose(found[3], start[3])
    assert np.isfinite(found).all()


def test_gram_sums_in_float64():
    x = np.full((100_001, 1), 0.1, np.float32)
    assert gram(x)[0, 0] == pytest.approx(100_001 * float(np.float32(0.1)) ** 2, rel=1e-12)

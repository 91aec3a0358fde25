"""A narrower reducer: moments against samples, exactness, and what it gains over choosing by magnitude."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.kernels.shrink import activation_gram, order, shrink


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def white(channels: int, count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (channels, count))


@pytest.mark.parametrize("rectified", [True, False])
def test_moments_are_those_of_samples(rectified):
    """400,000 samples: standard errors are below 0.5 % of the largest moment."""
    reducer = f32(4, 6, 1, 1)
    reducer[3] = -reducer[0]  # the angle that has cosine −1
    h = reducer[:, :, 0, 0] @ white(6, 400_000)
    h = np.maximum(h, 0) if rectified else h
    found = activation_gram(reducer, rectified)
    np.testing.assert_allclose(found, h @ h.T / h.shape[1], atol=0.015 * found.max())


def test_all_of_the_width_is_unchanged():
    arrays = f32(5, 6, 1, 1), f32(5, seed=1), f32(3, 5, 3, 2, seed=2)
    for width in (5, 9):
        for found, was in zip(shrink(*arrays, width), arrays, strict=True):
            np.testing.assert_array_equal(found, was)


def test_filters_without_use_go_first():
    """Filters that the convolution does not read cost nothing; the rest is what it was."""
    reducer, bias, conv = f32(6, 8, 1, 1), f32(6, seed=1), f32(4, 6, 3, 2, seed=2)
    conv[:, [1, 4]] = 0
    small, small_bias, fitted = shrink(reducer, bias, conv, 4)
    kept = [0, 2, 3, 5]
    np.testing.assert_array_equal(small, reducer[kept])
    np.testing.assert_array_equal(small_bias, bias[kept])
    np.testing.assert_allclose(fitted, conv[:, kept], atol=1e-4)


def test_a_copy_is_made_up_for():
    """Of two filters in proportion one is enough: relu(2u) = 2 relu(u)."""
    reducer, conv = f32(5, 8, 1, 1), f32(4, 5, 3, 2, seed=2)
    reducer[3] = 2 * reducer[1]
    small, _, fitted = shrink(reducer, np.zeros(5, np.float32), conv, 4)
    x = np.maximum(reducer[:, :, 0, 0] @ white(8, 50), 0)
    y = np.maximum(small[:, :, 0, 0] @ white(8, 50), 0)
    wanted, found = (np.einsum("nrhw,rp->nhwp", w, h) for w, h in ((conv, x), (fitted, y)))
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.abs(wanted).max())


def output_error(reducer, conv, small, fitted, count: int = 4000) -> float:
    """The mean square error of the convolution's output, in share of its power, on white noise."""
    x = white(reducer.shape[1], count)
    wanted = np.einsum("nrhw,rp->nhwp", conv, np.maximum(reducer[:, :, 0, 0] @ x, 0))
    found = np.einsum("nrhw,rp->nhwp", fitted, np.maximum(small[:, :, 0, 0] @ x, 0))
    return float(((wanted - found) ** 2).mean() / (wanted**2).mean())


def by_magnitude(reducer, conv, width: int):
    """The usual choice: the filters with the greatest norm times the norm of what reads them."""
    norm = np.linalg.norm(reducer.reshape(len(reducer), -1), axis=1)
    use = np.linalg.norm(conv.transpose(1, 0, 2, 3).reshape(len(reducer), -1), axis=1)
    kept = np.sort(np.argsort(-norm * use, kind="stable")[:width])
    return reducer[kept], conv[:, kept]


def test_better_than_choosing_by_magnitude():
    ours, theirs = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        base = rng.normal(0, 1, (6, 10))  # filters that are alike, as trained ones are
        reducer = (rng.normal(0, 1, (12, 6)) @ base + 0.5 * rng.normal(0, 1, (12, 10))).astype(np.float32)[
            :, :, None, None
        ]
        conv = rng.normal(0, 1, (5, 12, 3, 2)).astype(np.float32)
        small, _, fitted = shrink(reducer, np.zeros(12, np.float32), conv, 6)
        ours.append(output_error(reducer, conv, small, fitted))
        theirs.append(output_error(reducer, conv, *by_magnitude(reducer, conv, 6)))
    assert np.mean(ours) < 0.5 * np.mean(theirs)
    assert sum(a < b for a, b in zip(ours, theirs, strict=True)) >= 11


def test_wider_is_never_much_worse():
    reducer, bias, conv = f32(10, 12, 1, 1), np.zeros(10, np.float32), f32(4, 10, 3, 3, seed=2)
    errors = []
    for width in range(1, 11):
        small, _, fitted = shrink(reducer, bias, conv, width)
        errors.append(output_error(reducer, conv, small, fitted))
    assert all(b <= a * 1.02 + 1e-6 for a, b in zip(errors, errors[1:], strict=False)) and errors[-1] < 1e-9


@pytest.mark.parametrize("width", [1, 3])
def test_dead_filters(width):
    """All-zero filters, even where they are all there are, give finite weights."""
    reducer, conv = np.zeros((4, 5, 1, 1), np.float32), f32(3, 4, 3, 3)
    small, bias, fitted = shrink(reducer, np.ones(4, np.float32), conv, width)
    assert small.shape == (width, 5, 1, 1) and fitted.shape == (3, width, 3, 3) and np.isfinite(fitted).all()


def test_the_same_bytes_every_time():
    arrays = f32(20, 9, 1, 1), f32(20, seed=1), f32(6, 20, 3, 2, seed=2)
    first, second = (b"".join(a.tobytes() for a in shrink(*arrays, 7)) for _ in range(2))
    assert first == second


def test_the_order_for_a_small_width_begins_that_for_a_larger_one():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(200, 12))
    conv = rng.normal(size=(5, 12, 3, 3)).astype(np.float32)

    assert order(rows.T @ rows, conv, 4) == order(rows.T @ rows, conv, 9)[:4]


def test_filters_that_are_kept_as_asked():
    rng = np.random.default_rng(4)
    reducer, bias = rng.normal(size=(6, 8, 1, 1)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    conv = rng.normal(size=(5, 6, 3, 3)).astype(np.float32)

    small, small_bias, _ = shrink(reducer, bias, conv, 3, keep=[5, 0, 2])

    np.testing.assert_array_equal(small, reducer[[0, 2, 5]])
    np.testing.assert_array_equal(small_bias, bias[[0, 2, 5]])

"""Branches joined: the joined arrays compute what the branches computed, channel by channel."""

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.kernels.branches import join, widen


def f32(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def point(pair, image):
    return np.einsum("nc,chw->nhw", pair[0][:, :, 0, 0].astype(float), image) + pair[1][:, None, None]


def window(pair, image):
    """One place, in the middle of an image as large as the kernel."""
    return np.einsum("nchw,chw->n", pair[0].astype(float), image) + pair[1]


REDUCER = f32(4, 5, 1, 1), f32(4, seed=1)
CONV = f32(3, 4, 3, 5, seed=2), f32(3, seed=3)
GUESTS = [(f32(2, 5, 1, 1, seed=4), f32(2, seed=5)), (f32(1, 5, 1, 1, seed=6), f32(1, seed=7))]
IMAGE = f32(5, 3, 5, seed=8)


@pytest.mark.parametrize(("before", "order"), [(0, "cgG"), (2, "gcG"), (3, "gGc")])
def test_guests_through_a_reducer(before, order):
    reducer, conv = widen(REDUCER, CONV, GUESTS, before)
    assert reducer[0].shape == (7, 5, 1, 1) and conv[0].shape == (6, 7, 3, 5) and conv[1].shape == (6,)
    own = relu(window(CONV, relu(point(REDUCER, IMAGE))))
    parts = {"c": own} | {key: relu(point(g, IMAGE))[:, 1, 2] for key, g in zip("gG", GUESTS, strict=True)}
    found = relu(window(conv, relu(point(reducer, IMAGE))))
    np.testing.assert_allclose(found, np.concatenate([parts[key] for key in order]), atol=1e-6)


@pytest.mark.parametrize(("before", "order"), [(0, "cgG"), (2, "gcG"), (3, "gGc")])
def test_guests_beside_a_convolution(before, order):
    conv = f32(3, 5, 3, 5, seed=2), CONV[1]
    joined = join(conv, GUESTS, before)
    assert joined[0].shape == (6, 5, 3, 5) and joined[0].dtype == joined[1].dtype == np.float32
    parts = {"c": window(conv, IMAGE)} | {key: point(g, IMAGE)[:, 1, 2] for key, g in zip("gG", GUESTS, strict=True)}
    np.testing.assert_allclose(window(joined, IMAGE), np.concatenate([parts[key] for key in order]), atol=1e-6)


def test_carried_exactly():
    """An identity tap is exactly 1: guests come out with the bits that they went in with."""
    _, conv = widen(REDUCER, CONV, GUESTS, 0)
    taps = conv[0][3:]
    assert sorted(np.unique(taps)) == [0, 1] and (taps.sum(axis=(1, 2, 3)) == 1).all()
    assert (taps[:, 4:, 1, 2] == np.eye(3)).all() and not conv[1][3:].any()

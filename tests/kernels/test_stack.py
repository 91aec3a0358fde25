"""Layers one behind the other: what they compute against a plain loop, derivatives against differences, planted weights found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepmerge.kernels.ridge import Aim, activated
from deepmerge.kernels.stack import Linear, Stack, TileWindow, fit_stack

WINDOW = TileWindow(kernel=(3, 2), stride=(2, 1), dilation=(1, 2), out=(3, 4))
SIZE = (7, 6)  # (3 − 1)·2 + 3, (4 − 1)·1 + (2 − 1)·2 + 1


def stack(seed=0, count=8, slopes=(0.1, None, 0.0), widths=(5, 4, 6, 3), bias=(True, False, True)):
    """A 1x1, the window and a 1x1; padding on two sides of the first tile."""
    rng = np.random.default_rng(seed)
    layers = []
    for number, (slope, has_bias) in enumerate(zip(slopes, bias, strict=True)):
        inputs = widths[number] * (6 if number == 1 else 1)
        weight = rng.normal(size=(inputs + has_bias, widths[number + 1])) / inputs**0.5
        below = None if slope is None else np.full(widths[number + 1], slope)
        layers.append(Linear(weight, has_bias, below, WINDOW if number == 1 else None))
    x, valid = rng.normal(size=(count, *SIZE, widths[0])), np.ones((count, *SIZE))
    valid[0, :1], valid[0, :, -2:] = 0, 0
    return Stack(layers, x, valid)


def plain(made: Stack) -> np.ndarray:
    """The same, place by place."""
    first, second, third = made.layers
    x = made.x.reshape(made.count, *SIZE, -1)
    hidden = activated(x @ first.weight[:-1] + first.weight[-1], first.slope) * made.valid[..., None]
    rows = []
    for n in range(made.count):
        for y in range(WINDOW.out[0]):
            for z in range(WINDOW.out[1]):
                patch = [hidden[n, 2 * y + i, z + 2 * j] for i in range(3) for j in range(2)]
                rows.append(np.stack(patch, axis=1).reshape(-1) @ second.weight)
    return np.array(rows) @ third.weight[:-1] + third.weight[-1]


def weights(made):
    return [layer.weight for layer in made.layers]


def test_forward():
    made = stack()
    inputs, values = made.forward(weights(made))
    np.testing.assert_allclose(values[-1], plain(made), rtol=1e-10)
    np.testing.assert_array_equal(made.features(weights(made), tiles=3), inputs[-1])


def test_tangent_is_the_derivative():
    made, rng = stack(), np.random.default_rng(1)
    at, way = weights(made), [rng.normal(size=w.shape) for w in weights(made)]
    found = made.tangent(at, *made.forward(at), way)
    ends = [made.forward([w + e * s for w, s in zip(at, way, strict=True)])[1][-1] for e in (-1e-6, 1e-6)]
    np.testing.assert_allclose(found, (ends[1] - ends[0]) / 2e-6, atol=1e-5)


def test_backward_is_the_transpose_of_tangent():
    made, rng = stack(), np.random.default_rng(2)
    at = weights(made)
    inputs, values = made.forward(at)
    error = rng.normal(size=values[-1].shape)
    errors = made.backward(at, values, error)
    way = [rng.normal(size=w.shape) for w in at]
    gradient = sum(np.vdot(rows.T @ back, step) for rows, back, step in zip(inputs, errors, way, strict=True))
    assert gradient == pytest.approx(np.vdot(error, made.tangent(at, inputs, values, way)), rel=1e-9)


@pytest.mark.parametrize("slopes", [(0.0, None, 0.0), (None, None, None), (0.1, 0.0, 0.2)])
def test_planted_weights_are_come_near(slopes):
    """Begun somewhat beside them, what is left of the error is next to nothing."""
    true, rng = stack(3, 200, slopes), np.random.default_rng(4)
    target = activated(true.forward(weights(true))[1][-1], true.layers[-1].slope)
    beside = [
        replace(x, weight=x.weight + 0.2 * np.std(x.weight) * rng.normal(size=x.weight.shape)) for x in true.layers
    ]
    start = true.having(beside)
    found = fit_stack(start, target, rounds=60, tolerance=0.0)
    aim = Aim(target, true.layers[-1].slope)
    before, after = (aim.residual(true.forward(w)[1][-1])[1] for w in (weights(start), found))
    assert after < 1e-4 * before


def test_the_error_falls_round_by_round_and_runs_are_alike():
    made = stack(5, 60)
    target = activated(np.random.default_rng(6).normal(size=(60 * 12, 3)), np.zeros(3))
    aim = Aim(target, np.zeros(3))
    errors = [aim.residual(made.forward(fit_stack(made, target, n, seed=1, tolerance=0.0))[1][-1])[1] for n in range(6)]
    assert errors == sorted(errors, reverse=True) and errors[5] < errors[0]
    one, other = (fit_stack(made, target, 4, seed=1) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def test_nothing_to_gain_leaves_the_weights():
    made = stack(7, 20, (0.0, None, None))
    target = made.forward(weights(made))[1][-1]
    assert all(a is b for a, b in zip(fit_stack(made, target), weights(made), strict=True))

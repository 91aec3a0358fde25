"""Fit linear layers, one after the other with activations between, to the target after the last one.

Each is a matrix on the channels of every place; at most one of them has a window (a kxk convolution among 1x1 ones, as
in a reducer and its 3x3, or in a Tucker decomposition). The error is that of kernels/ridge.py: for a target of 0 after
a ReLU, any value below 0 is right.

One round turns the gradient ∇ₗ of each layer into a step, by that layer's second moments:
    Dₗ = (Aₗ + λI)⁻¹ ∇ₗ (Sₗ + μI)⁻¹,    A = E[x xᵀ] of its inputs,
    S = E[b bᵀ] of random errors at the end, carried back to its outputs.
Then it takes the best combination of D and the last round's step, found in the linearised network (a 2x2 system), and
halves it as long as the error does not fall. Deterministic: all rows in every round, random errors seeded.
Source: Martens and Grosse, Optimizing Neural Networks with Kronecker-factored Approximate Curvature (ICML 2015),
sections 3, 6.4 and 7.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from itertools import product

import numpy as np

from deepmerge.kernels.ridge import Aim, activated

_DAMPING = 1e-2  # as a share of the diagonals' mean
_REFRESH = 4  # rounds until the moments are computed again


@dataclass(frozen=True)
class TileWindow:
    """A convolution's window on tiles, as (height, width); `out` counts its outputs. No padding: see Stack."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    out: tuple[int, int]

    def taps(self) -> list[tuple[slice, slice]]:
        """Return the rows and columns of a tile that each tap reads, tap by tap along the rows of the kernel."""
        rows, columns = (self._places(axis) for axis in (0, 1))
        return list(product(rows, columns))

    def _places(self, axis: int) -> list[slice]:
        """Return what each tap reads along one axis."""
        stride, length = self.stride[axis], (self.out[axis] - 1) * self.stride[axis] + 1
        starts = [tap * self.dilation[axis] for tap in range(self.kernel[axis])]
        return [slice(start, start + length, stride) for start in starts]


@dataclass
class Linear:
    """One linear layer.

    weight: (inputs, outputs), float32. The inputs are (channels, kernel_h, kernel_w), and then the constant 1 if `bias`
    is set. slope: (outputs,), of the activation after it; None without one.
    """

    weight: np.ndarray
    bias: bool
    slope: np.ndarray | None = None
    window: TileWindow | None = None


class Stack:
    """Layers on tiles x (N, height, width, C), float32.

    valid: (N, height, width), 0 for places in the padding. There the layer with the window reads 0, even if the layers
    before it make something else of 0.
    """

    def __init__(self, layers: list[Linear], x: np.ndarray, valid: np.ndarray):
        self.layers, self.valid = layers, valid
        self.count, self.size = len(x), x.shape[1:3]
        self.x = x.reshape(-1, x.shape[3])

    def having(self, layers: list[Linear]) -> Stack:
        """Return a stack of other layers on the same tiles."""
        other = copy(self)
        other.layers = layers
        return other

    def features(self, weights: list[np.ndarray], tiles: int = 100) -> np.ndarray:
        """Return the last layer's inputs as `forward` does, (rows, inputs), computed for `tiles` tiles at a time."""
        found = []
        height, width = self.size
        for start in range(0, self.count, tiles):
            part = slice(start * height * width, (start + tiles) * height * width)
            few = Stack(
                self.layers, self.x[part].reshape(-1, height, width, self.x.shape[1]), self.valid[start : start + tiles]
            )
            found.append(few.forward(weights, last=False)[0][-1])
        return np.concatenate(found)

    def forward(self, weights: list[np.ndarray], last: bool = True) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return each layer's inputs, (rows, inputs), and its values before the activation, (rows, outputs).

        There is a row for each place of the layer's output; all are in the tiles' type. weights: as in Linear, a matrix
        for each layer. last: whether the last layer's values are computed.
        """
        rows, inputs, values = self.x, [], []
        for layer, weight in zip(self.layers, weights, strict=True):
            rows = self._read(layer, rows, True)
            inputs.append(rows)
            if layer is self.layers[-1] and not last:
                break
            values.append(rows @ weight)
            rows = activated(values[-1], layer.slope)
        return inputs, values

    def tangent(
        self, weights: list[np.ndarray], inputs: list[np.ndarray], values: list[np.ndarray], steps: list[np.ndarray]
    ) -> np.ndarray:
        """Return how fast the last values (before the activation) change along `steps`, (rows, outputs).

        inputs, values: what `forward` returns for the weights. steps: of the weights' shapes. All are of one type.
        """
        moved = None
        for layer, weight, rows, value, step in zip(self.layers, weights, inputs, values, steps, strict=True):
            change = rows @ step
            if moved is not None:
                change += self._read(layer, moved, False) @ (weight[:-1] if layer.bias else weight)
            moved = _through(change, value, layer.slope)
        return change

    def backward(self, weights: list[np.ndarray], values: list[np.ndarray], error: np.ndarray) -> list[np.ndarray]:
        """Carry an error in the last values (before the activation) back to each layer's values.

        values: what `forward` returns for the weights. error and the results: (rows, outputs). All are of one type.
        """
        found = [error]
        for number in range(len(self.layers) - 1, 0, -1):
            layer, weight, before = self.layers[number], weights[number], self.layers[number - 1]
            error = self._unread(layer, error @ (weight[:-1] if layer.bias else weight).T)
            error = _through(error, values[number - 1], before.slope)
            found.insert(0, error)
        return found

    def _read(self, layer: Linear, rows: np.ndarray, constant: bool) -> np.ndarray:
        """Return the layer's inputs: its window's taps side by side, and then the constant 1."""
        if layer.window is not None:
            tiles = (rows * self.valid.reshape(-1, 1)).reshape(self.count, *self.size, -1)
            taps = [tiles[:, i, j].reshape(-1, rows.shape[1]) for i, j in layer.window.taps()]
            rows = np.stack(taps, axis=2).reshape(len(taps[0]), -1)
        if layer.bias and constant:
            rows = np.hstack([rows, np.ones((len(rows), 1), rows.dtype)])
        return rows

    def _unread(self, layer: Linear, rows: np.ndarray) -> np.ndarray:
        """Return the transpose of `_read`, without the constant."""
        if layer.window is None:
            return rows
        window, taps = layer.window, layer.window.taps()
        parts = rows.reshape(self.count, *window.out, -1, len(taps))
        tiles = np.zeros((self.count, *self.size, parts.shape[3]), rows.dtype)
        for number, (i, j) in enumerate(taps):
            tiles[:, i, j] += parts[..., number]
        return tiles.reshape(-1, tiles.shape[3]) * self.valid.reshape(-1, 1)


def _through(change: np.ndarray, values: np.ndarray, slope: np.ndarray | None) -> np.ndarray:
    """Return a change times the activation's derivative at the values (n, m). slope: see ridge.activated."""
    if slope is None:
        return change
    return np.where(values > 0, change, change * slope if slope.any() else np.float32(0))


def fit_stack(
    stack: Stack, target: np.ndarray, rounds: int = 20, seed: int = 0, tolerance: float = 1e-3
) -> list[np.ndarray]:
    """Return the layers' weights, float32, whose output after the last activation is nearest to `target`.

    target: (rows, outputs). rounds: the limit; they end when the error falls by less than `tolerance` of itself.
    """
    rng, aim = np.random.default_rng(seed), Aim(target, stack.layers[-1].slope)
    weights = [layer.weight for layer in stack.layers]
    inputs, values = stack.forward(weights)
    left, now = aim.residual(values[-1])
    before: tuple[list[np.ndarray], np.ndarray] | None = None
    for number in range(rounds):
        if number % _REFRESH == 0:
            scales = _scales(stack, weights, inputs, values, left, rng)
        errors = stack.backward(weights, values, left)
        steps = [_step(*scale, rows, error) for scale, rows, error in zip(scales, inputs, errors, strict=True)]
        ways = [(steps, stack.tangent(weights, inputs, values, steps)), *([] if before is None else [before])]
        step = _combined(ways, left)
        found = _descend(stack, aim, weights, step, now)
        if found is None:
            break
        new, inputs, new_values, left, after = found
        before = [a - b for a, b in zip(new, weights, strict=True)], new_values[-1] - values[-1]
        weights, values, last, now = new, new_values, now, after
        if last - now < tolerance * last:
            break
    return weights


def _descend(stack: Stack, aim: Aim, weights, step, now: float):
    """Return the first weights a step, half of it, a quarter, … on that lower the error, and their results, or None."""
    for _ in range(6):
        new = [w + s for w, s in zip(weights, step, strict=True)]
        inputs, values = stack.forward(new)
        left, after = aim.residual(values[-1])
        if after < now:
            return new, inputs, values, left, after
        step = [s / 2 for s in step]
    return None


def _scales(stack: Stack, weights, inputs, values, left, rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the inverses of each layer's A and S."""
    noise = rng.choice(np.array([-1, 1], np.float32), left.shape) * (left != 0)
    noises = stack.backward(weights, values, noise)
    return [(_inverse_moments(rows), _inverse_moments(back)) for rows, back in zip(inputs, noises, strict=True)]


def _step(a: np.ndarray, s: np.ndarray, rows: np.ndarray, error: np.ndarray) -> np.ndarray:
    return (a @ ((rows.T @ error) / np.float32(len(rows))) @ s).astype(np.float32)


def _inverse_moments(rows: np.ndarray) -> np.ndarray:
    """Return (E[x xᵀ] + damping)⁻¹, float64."""
    moments = (rows.T @ rows).astype(np.float64) / len(rows)
    return np.linalg.inv(moments + _DAMPING * max(np.trace(moments) / len(moments), 1e-30) * np.eye(len(moments)))


def _combined(ways, left: np.ndarray) -> list[np.ndarray]:
    """Return the best combination of steps, each given with the change of the last values that it causes."""
    moves = [move * (left != 0) for _, move in ways]
    system = np.array([[np.vdot(a, b) for b in moves] for a in moves], np.float64)
    right = np.array([np.vdot(move, left) for move in moves], np.float64)
    system += 1e-6 * np.diag(np.maximum(np.diag(system), 1e-30))
    shares = np.linalg.solve(system, right)
    layers = zip(*(steps for steps, _ in ways), strict=True)
    return [sum(np.float32(share) * part for share, part in zip(shares, parts, strict=True)) for parts in layers]

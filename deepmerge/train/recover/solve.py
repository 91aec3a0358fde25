"""Solving for the weights of a segment's last layers, from their inputs and the wanted outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from deepmerge.graph.graph import Blob
from deepmerge.kernels.ridge import Normal, activated, fit, predict
from deepmerge.kernels.stack import Linear, Stack, TileWindow, fit_stack
from deepmerge.passes.support.weights import group_of
from deepmerge.train.recover.layer_inputs import matrix_of, patches_at, store, tiles_at
from deepmerge.train.recover.linear import Last, Link

STRENGTHS = (1e-7, 1e-3, 1e-1, 10.0)  # of the ridge, to choose from if there are few rows
PLENTY = 20  # rows for each input; more are not few


@dataclass(frozen=True)
class Fitting:
    """How much work to do.

    points: about the most places of an image. memory: bytes, approximately: half for a segment's rows (if that is too
    little, fewer images are used), a quarter for each network's kept values (if that is too little, they are computed
    again). threads: of ONNX Runtime. iterations: for one layer with an activation. rounds: over several layers, 0 to
    solve only the last one. rows: the most that rounds work on, of fewer images if there are more: with a quarter of
    them, GoogLeNet's last module has 1.5 times the error. strength: of the ridge, if there are enough rows; strengths:
    those to choose from if there are not. over: whether the time ends within that number of seconds.
    """

    seed: int = 0
    points: int = 60
    memory: int = 4 << 30
    threads: int = 1
    iterations: int = 30
    rounds: int = 20
    rows: int = 60_000
    strength: float = STRENGTHS[0]
    strengths: tuple[float, ...] = STRENGTHS
    over: Callable[[float], bool] = lambda seconds: False


@dataclass(frozen=True)
class Outcome:
    """Sums of squared errors on the held-out images, with the old and the final weights; the changed layers."""

    before: float
    after: float
    changed: tuple[str, ...]


class Task(Protocol):
    """One of a segment's last layers, possibly with others before it, and the rows gathered for it.

    to: the channels of the segment's output that it makes. bottom: the blob that it reads. floats: how many numbers it
    gathers for an image.
    """

    to: tuple[int, int]
    bottom: Blob
    floats: int

    def gather(self, bottom: np.ndarray, where: np.ndarray) -> None:
        """Add what a batch's bottom, (N, C, …), holds for places (N, P) of the output."""
        ...

    def solve(self, target: np.ndarray, held: np.ndarray, options: Fitting) -> Outcome:
        """Give the layers new weights if they are better. target: (images·P, channels). held: images to judge by."""
        ...


def task_for(last: Last, chain: list[Link], shapes, points: int, size: tuple[int, int]) -> Task:
    """Return the task for a last layer and its chain.

    points: places of an image. size: height and width of the tile that has them, for a chain of several links.
    """
    width = (*shapes[last.layer.top], 1, 1)[3]
    if len(chain) > 1:
        return Several(last, chain, size, width, shapes)
    inputs = len(matrix_of(last.layer)) * group_of(last.layer)
    return Single(last, width, inputs * points)


@dataclass
class Single:
    """One layer by itself: ridge least squares, a group at a time."""

    last: Last
    width: int
    floats: int
    rows: list[np.ndarray] = field(default_factory=list)

    @property
    def to(self) -> tuple[int, int]:
        """See Task."""
        return self.last.to

    @property
    def bottom(self) -> Blob:
        """See Task."""
        return self.last.layer.bottom

    def gather(self, bottom: np.ndarray, where: np.ndarray) -> None:
        """See Task."""
        self.rows.append(patches_at(self.last.layer, bottom, where, self.width))

    def solve(self, target: np.ndarray, held: np.ndarray, options: Fitting) -> Outcome:
        """See Task."""
        x, layer, own = np.concatenate(self.rows), self.last.layer, self.last.own
        self.rows = []
        outside = np.repeat(held, len(x) // len(held))
        matrix, group = matrix_of(layer), group_of(layer)
        new, outputs, inputs = matrix.copy(), matrix.shape[1] // group, x.shape[1] // group
        has_bias, slope = len(matrix) > inputs, self.last.slope
        before = after = 0.0
        for g in range(group):
            columns = np.arange(max(own[0], g * outputs), min(own[1], (g + 1) * outputs))
            if not len(columns):
                continue
            rows = x[:, g * inputs : (g + 1) * inputs]
            if has_bias:
                rows = np.hstack([rows, np.ones((len(rows), 1), rows.dtype)])
            at = columns - own[0]
            problem = Problem(rows, target[:, at], None if slope is None else slope[at], has_bias, outside)
            before += problem.error(matrix[:, columns])
            new[:, columns], error = problem.best(matrix[:, columns], options)
            after += error
        if not after < before:  # nor if it is not a number
            return Outcome(before, before, ())
        store(layer, new)
        return Outcome(before, after, (layer.name,))


class Problem:
    """Rows x of one layer's inputs, their targets, and which of them are held out."""

    def __init__(self, x: np.ndarray, target: np.ndarray, slope: np.ndarray | None, bias: bool, held: np.ndarray):
        self.slope, self.bias = slope, bias
        self.inside, self.wanted = np.ascontiguousarray(x[~held]), np.ascontiguousarray(target[~held])
        self.outside, self.judge = x[held], target[held]

    def error(self, weight: np.ndarray) -> float:
        """Return the sum of squared errors after the activation, on the held-out rows."""
        outputs = activated(predict(self.outside, weight), self.slope)
        return float(np.square(outputs - self.judge, dtype=np.float64).sum())

    def best(self, start: np.ndarray, options: Fitting) -> tuple[np.ndarray, float]:
        """Return the weights of the ridge strength that is best on the held-out rows, and their error there."""
        plenty = len(self.inside) >= PLENTY * self.inside.shape[1]
        tried = []
        for strength in (options.strength,) if plenty else options.strengths:
            weight = fit(Normal(self.inside, strength, self.bias), self.wanted, start, self.slope, options.iterations)
            tried.append((self.error(weight), len(tried), weight))
        error, _, weight = min(tried, key=lambda one: (math.isnan(one[0]), *one[:2]))
        return weight, error


class Several:
    """A chain of convolutions: all together in rounds on some images, then the last one alone on all of them."""

    def __init__(self, last: Last, chain: list[Link], size: tuple[int, int], width: int, shapes):
        self.to, self.bottom = last.to, chain[0].layer.bottom
        self.chain, self.size, self.width = chain, size, width
        windowed = next((link.layer for link in chain if not link.is_point), last.layer)
        p = self.windowed = windowed.params
        self.layer = windowed
        span = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(size, p.stride, p.kernel, p.dilation, strict=True)]
        wide = matrix_of(last.layer).shape[0]
        self.floats = span[0] * span[1] * (shapes[self.bottom][1] + 1) + size[0] * size[1] * wide
        self.tiles: list[tuple[np.ndarray, np.ndarray]] = []

    def gather(self, bottom: np.ndarray, where: np.ndarray) -> None:
        """See Task."""
        self.tiles.append(tiles_at(self.layer, bottom, where, self.size, self.width))

    def solve(self, target: np.ndarray, held: np.ndarray, options: Fitting) -> Outcome:
        """See Task."""
        x, valid = (np.concatenate(part) for part in zip(*self.tiles, strict=True))
        self.tiles = []
        target = target.reshape(len(x), -1, target.shape[1])
        layers = self._layers()
        old = [layer.weight for layer in layers]
        everywhere, outside = Stack(layers, x, valid), Stack(layers, x[held], valid[held])
        judge = target[held].reshape(-1, target.shape[2])
        before = _error(outside, old, judge)
        few = np.flatnonzero(~held)
        few = few[:: max(1, len(few) * target.shape[1] // options.rows)]
        weights = self._rounds(
            Stack(layers, x[few], valid[few]), target[few].reshape(-1, target.shape[2]), old, options
        )
        if not _error(outside, weights, judge) < _error(outside, [*old[:-1], weights[-1]], judge):
            weights = [*old[:-1], weights[-1]]
        weights = _last_alone(everywhere, weights, target.reshape(-1, target.shape[2]), held, options)
        after = _error(outside, weights, judge)
        if not after < before:  # nor if it is not a number
            return Outcome(before, before, ())
        for link, weight in zip(self.chain, weights, strict=True):
            store(link.layer, weight.astype(np.float64))
        return Outcome(before, after, tuple(link.layer.name for link in self.chain))

    def _layers(self) -> list[Linear]:
        p = self.windowed
        window = TileWindow(p.kernel, p.stride, p.dilation, self.size)
        return [
            Linear(
                matrix_of(link.layer).astype(np.float32),
                link.layer.params.bias_term,
                link.slope,
                None if link.is_point else window,
            )
            for link in self.chain
        ]

    @staticmethod
    def _rounds(stack: Stack, target: np.ndarray, weights: list[np.ndarray], options: Fitting) -> list[np.ndarray]:
        last = stack.layers[-1]
        rows = stack.forward(weights)[0][-1]
        start = fit(Normal(rows, STRENGTHS[0], last.bias), target, weights[-1], last.slope, options.iterations // 2)
        weights = [*weights[:-1], start.astype(np.float32)]
        if not options.rounds:
            return weights
        layers = [replace(layer, weight=weight) for layer, weight in zip(stack.layers, weights, strict=True)]
        return fit_stack(stack.having(layers), target, options.rounds, options.seed)


def _last_alone(stack: Stack, weights, target, held, options: Fitting) -> list[np.ndarray]:
    last = stack.layers[-1]
    rows = stack.features(weights)
    problem = Problem(rows, target, last.slope, last.bias, np.repeat(held, len(rows) // len(held)))
    solved, _ = problem.best(weights[-1], options)
    return [*weights[:-1], solved.astype(np.float32)]


def _error(stack: Stack, weights: list[np.ndarray], target: np.ndarray) -> float:
    outputs = activated(stack.features(weights) @ weights[-1], stack.layers[-1].slope)
    return float(np.square(outputs - target, dtype=np.float64).sum())

"""The frontier: for each time, the plan with the least loss.

Some of its plans are measured whole, to correct the sums over regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from deepmerge.choose.knapsack import Knapsack, Price, total
from deepmerge.errors import PlanError

STEPS = 40  # budgets along the frontier, in equal ratios
WHOLE_PLANS = 6  # of its plans, how many are measured whole


@dataclass(frozen=True)
class Point:
    """A plan on the frontier. predicted: the sum over its regions, with the rest of the network."""

    chosen: Mapping[str, str]  # region → choice
    predicted: Price


@dataclass(frozen=True)
class Whole:
    """A plan that was measured as a whole. agreement: the share of images with the original's best class, or None."""

    point: Point
    ms: float
    loss: float
    agreement: float | None


def frontier(knapsack: Knapsack, rest: float) -> list[Point]:
    """Return the plans with the least loss, from the slowest on; rest: the milliseconds of what no choice changes."""
    slowest, fastest = (float(knapsack.ms[place]) + rest for place in (-1, 0))
    found: dict[tuple, Point] = {}
    for budget in np.geomspace(slowest, fastest, STEPS) - rest:
        point = plan_within(knapsack, float(budget) * (1 + 1e-9), rest)
        if point is not None:
            found.setdefault(tuple(point.chosen.items()), point)
    return list(found.values())


def plan_within(knapsack: Knapsack, budget: float, rest: float) -> Point | None:
    """Return the plan with the least loss whose regions take at most `budget` ms; None if none is that fast."""
    chosen = knapsack.within(budget)
    if chosen is None:
        return None
    sums = total(knapsack.prices, chosen)
    return Point(chosen, Price(sums.ms + rest, sums.loss))


def spread_out(points: Sequence[Point], count: int = WHOLE_PLANS) -> list[Point]:
    """Return up to `count` of the points, in about equal ratios of time, the fastest one among them."""
    times = np.log([point.predicted.ms for point in points])
    wanted = np.linspace(times.max(), times.min(), count + 1)[1:]
    return [points[i] for i in dict.fromkeys(int(np.abs(times - one).argmin()) for one in wanted)]


def require_scipy() -> None:
    """Raise PlanError if SciPy is not installed. Curves need it, after minutes of measuring."""
    if find_spec("scipy") is None:
        raise PlanError("choosing by measurement needs SciPy", remedy="pip install 'deepmerge-caffe[choose]'")


class Curves:
    """What sums over regions become in whole networks: two monotone curves through the plans measured whole.

    base: the milliseconds of the network that no choice has changed, as predicted and as measured. If no plan has a
    finite loss, the predicted losses stay, and the agreement is not known.
    """

    def __init__(self, wholes: Sequence[Whole], base: tuple[float, float]):
        times = sorted({base, *((w.point.predicted.ms, w.ms) for w in wholes)})
        self._ms = np.array([p for p, _ in times]), np.maximum.accumulate([m for _, m in times])
        finite = [whole for whole in wholes if np.isfinite(whole.loss)]
        self._judged = bool(finite)
        losses = [(0.0, 0.0, 1.0), *((w.point.predicted.loss, w.loss, w.agreement) for w in finite)]
        predicted, loss, agreement = (np.array(column) for column in zip(*sorted(losses), strict=True))
        self._loss = predicted, _rising(loss), -_rising(-agreement)

    def corrected(self, predicted: Price) -> Whole:
        """Return what a plan is expected to be when measured whole."""
        ms = self._through(*self._ms, predicted.ms)
        if not self._judged:
            return Whole(Point({}, predicted), ms, predicted.loss, None)
        loss = self._through(self._loss[0], self._loss[1], predicted.loss)
        agreement = float(np.interp(predicted.loss, self._loss[0], self._loss[2]))
        return Whole(Point({}, predicted), ms, loss, agreement)

    def budget(self, ms: float) -> float:
        """Return the predicted milliseconds of a plan that takes `ms` when measured."""
        return self._through(self._ms[1], self._ms[0], ms)

    @staticmethod
    def _through(x: np.ndarray, y: np.ndarray, at: float) -> float:
        """Interpolate; outside of the points, in proportion to the nearest one."""
        if at < x[0]:
            return float(y[0] * at / x[0]) if x[0] else float(y[0])
        if at > x[-1]:
            return float(y[-1] * at / x[-1]) if x[-1] else float(y[-1])
        return float(np.interp(at, x, y))


def _rising(values: np.ndarray) -> np.ndarray:
    """Return the nearest values that never fall, by least squares."""
    from scipy.optimize import isotonic_regression

    return isotonic_regression(values).x

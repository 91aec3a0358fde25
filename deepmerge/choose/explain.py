"""Why a plan is what it is: for each region its choice, and why the next best one was not taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deepmerge.choose.frontier import Point
from deepmerge.choose.knapsack import Price, Prices


@dataclass(frozen=True)
class Row:
    """One region. other: the next best choice, "" if there is none; why: why it was not taken."""

    region: str
    choice: str
    price: Price
    left: Price
    other: str
    why: str


def explained(point: Point, points: Sequence[Point], prices: Prices) -> list[Row]:
    """Return a row for each region. points: the frontier, which says what a millisecond is worth here."""
    worth = _worth(point, points)
    return [_row(region, point.chosen[region], choices, worth) for region, choices in prices.items()]


def _worth(point: Point, points: Sequence[Point]) -> float:
    """Return how much loss one more millisecond would avoid, on the frontier at this plan."""
    slower = [one for one in points if one.predicted.ms > point.predicted.ms]
    if not slower:
        return 0.0
    near = min(slower, key=lambda one: one.predicted.ms)
    return (point.predicted.loss - near.predicted.loss) / (near.predicted.ms - point.predicted.ms)


def _row(region: str, choice: str, choices: dict[str, Price], worth: float) -> Row:
    own, left = choices[choice], next(iter(choices.values()))
    others = {label: price for label, price in choices.items() if label != choice}
    if not others:
        return Row(region, choice, own, left, "", "")
    label, price = min(others.items(), key=lambda one: (one[1].loss + worth * one[1].ms, one[0]))
    return Row(region, choice, own, left, label, _why(own, price))


def _why(own: Price, other: Price) -> str:
    slower, worse = other.ms - own.ms, other.loss - own.loss
    if slower >= 0 and worse >= 0:
        return f"{slower:.2f} ms slower, {worse:.4f} more loss"
    if slower >= 0:
        return f"{slower:.2f} ms slower for {-worse:.4f} less loss: the time brings more elsewhere"
    return f"{-slower:.2f} ms faster for {worse:.4f} more loss: the time costs less elsewhere"

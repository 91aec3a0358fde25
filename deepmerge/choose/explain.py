"""Why a plan is what it is: for each region its choice, and why the next best one was not taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    return [_row(region, point.chosen, prices, worth) for region in prices]


def _worth(point: Point, points: Sequence[Point]) -> float:
    """Return how much loss one more millisecond would avoid, on the frontier at this plan."""
    slower = [one for one in points if one.predicted.ms > point.predicted.ms]
    if not slower:
        return 0.0
    near = min(slower, key=lambda one: one.predicted.ms)
    return (point.predicted.loss - near.predicted.loss) / (near.predicted.ms - point.predicted.ms)


def _row(region: str, chosen: Mapping[str, str], prices: Prices, worth: float) -> Row:
    choice, choices = chosen[region], prices[region]
    own, left = choices[choice], next(iter(choices.values()))
    others = {label: price for label, price in choices.items() if label != choice}
    if not others:
        return Row(region, choice, own, left, "", "")
    label, price = min(others.items(), key=lambda one: (one[1].loss + worth * one[1].ms, one[0]))
    changes = _changes(chosen, {name: one for name, one in prices.items() if name != region})
    return Row(region, choice, own, left, label, _why(price.ms - own.ms, price.loss - own.loss, changes))


def _changes(chosen: Mapping[str, str], prices: Prices) -> list[tuple[float, float, str]]:
    """Return what each other choice for a region would change: milliseconds, loss, and the region."""
    return [
        (price.ms - choices[chosen[region]].ms, price.loss - choices[chosen[region]].loss, region)
        for region, choices in prices.items()
        for price in choices.values()
    ]


def _why(slower: float, worse: float, changes: list[tuple[float, float, str]]) -> str:
    """Say why a choice that is slower, or loses more, was not taken. changes: what other regions could do instead."""
    if slower >= 0 and worse >= 0:
        return f"{slower:.2f} ms slower, {worse:.4f} more loss"
    if slower >= 0:
        gain = f"{slower:.2f} ms slower, {-worse:.4f} less loss"
        saving = [(loss, region) for ms, loss, region in changes if ms <= -slower]
        if not saving:
            return f"{gain}; no other region alone can save that time"
        loss, region = min(saving)
        return f"{gain}; saving that time in {region} would lose {loss:.4f}"
    price = f"{-slower:.2f} ms faster, {worse:.4f} more loss"
    using = [(-loss, region) for ms, loss, region in changes if ms <= -slower and loss < 0]
    if not using:
        return f"{price}; no other region alone can use that time"
    loss, region = max(using)
    return f"{price}; {region} would lose only {loss:.4f} less with that time"

"""One choice for each region, with the least loss within a budget of time: a multiple-choice knapsack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from deepmerge.errors import PlanError


class Price(NamedTuple):
    """What a choice costs. ms: time. loss: of the original's answers, in nats."""

    ms: float
    loss: float


Prices = Mapping[str, Mapping[str, Price]]  # region → choice → price


def cheapest(prices: Prices, budget: float) -> dict[str, str] | None:
    """Return the choice for each region, so that the sum of losses is least and that of times is at most `budget` ms.

    None where no plan is that fast. Raises PlanError if SciPy is not installed.
    """
    try:
        from scipy.optimize import Bounds, LinearConstraint, milp
    except ImportError:
        remedy = "pip install 'deepmerge-caffe[choose]'"
        raise PlanError("choosing by measurement needs SciPy", remedy=remedy) from None

    places = [(region, choice) for region, choices in prices.items() for choice in _worth_it(choices)]
    if not places:
        return {}
    times = np.array([prices[region][choice].ms for region, choice in places])
    losses = np.array([prices[region][choice].loss for region, choice in places])
    ones = np.array([[region == place[0] for place in places] for region in prices], float)
    scale = max(losses.max(), 1e-12)
    with _silent_stdout():
        found = milp(
            losses / scale,
            integrality=np.ones(len(places)),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(ones, 1, 1), LinearConstraint(times[None], -np.inf, budget)],
            options={"mip_rel_gap": 0.0},
        )
    if found.x is None:
        return None
    return {region: choice for (region, choice), taken in zip(places, found.x, strict=True) if taken > 0.5}


@contextmanager
def _silent_stdout() -> Iterator[None]:
    """Send what native code prints on stdout nowhere: HiGHS prints some lines whatever its options say."""
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _worth_it(choices: Mapping[str, Price]) -> list[str]:
    """Return the choices that no other one beats in time and loss, from the fastest on."""
    found: list[str] = []
    for choice in sorted(choices, key=lambda one: (choices[one], one)):
        if not found or choices[choice].loss < choices[found[-1]].loss:
            found.append(choice)
    return found


def total(prices: Prices, plan: Mapping[str, str]) -> Price:
    """Return the sums of a plan's times and losses."""
    chosen = [prices[region][choice] for region, choice in plan.items()]
    return Price(sum(one.ms for one in chosen), sum(one.loss for one in chosen))

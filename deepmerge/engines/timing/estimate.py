"""What times that a noisy machine gives can be trusted to say: a ratio with its interval, a median with its quartiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 1.96  # standard errors: 95 %


@dataclass(frozen=True)
class Ratio:
    """How many times as long one network takes as another. low, high: its 95 % interval; pairs: measured pairs behind it."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def half_width(self) -> float:
        """Half of the interval, as a share of the value (of logarithms, so that it is the same upside down)."""
        return math.log(self.high / self.low) / 2

    def inverse(self) -> Ratio:
        """How many times as fast."""
        return Ratio(1 / self.value, 1 / self.high, 1 / self.low, self.pairs)


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of times, in seconds; count: of how many."""

    median: float
    low: float
    high: float
    count: int


def spread(times: Sequence[float]) -> Spread:
    """Median and quartiles. ValueError where there are no times."""
    if not len(times):
        raise ValueError("no times")
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high), len(times))


def ratio_of_pairs(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """The ratio times / base, from times that were measured pair by pair, one right behind the other.

    The median of the pairs' ratios: what slows the machine down for longer than a pair slows both of the pair; what hits one
    of a pair spoils that pair alone, and as many as half of the pairs may be spoilt. The interval is the one between order
    statistics that holds the median in 95 % of cases whatever the distribution (normal approximation of the binomial; all of
    the pairs where there are fewer than six). The pairs must take both orders equally often, so that drift cancels.
    ValueError where there are no pairs.
    """
    logs = np.sort(np.log(np.asarray(times, float)) - np.log(np.asarray(base, float)))
    count = len(logs)
    if not count:
        raise ValueError("no pairs")
    outside = max(math.floor((count - CONFIDENCE * math.sqrt(count)) / 2), 0)
    low, high = logs[outside], logs[count - 1 - outside]
    return Ratio(*(float(np.exp(log)) for log in (np.median(logs), low, high)), count)

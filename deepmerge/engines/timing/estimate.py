"""What can be said from times on a noisy machine: a ratio with its interval, a median with its quartiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 1.96  # standard errors: 95 %


@dataclass(frozen=True)
class Ratio:
    """How many times as long one network takes as another. low, high: the 95 % interval. pairs: how many there were."""

    value: float
    low: float
    high: float
    pairs: int

    @property
    def half_width(self) -> float:
        """Half of the interval as a share of the value, in logarithms."""
        return math.log(self.high / self.low) / 2


@dataclass(frozen=True)
class Spread:
    """The median and the quartiles of times, in seconds. count: how many times there were."""

    median: float
    low: float
    high: float
    count: int


def spread(times: Sequence[float]) -> Spread:
    """Return the median and the quartiles. ValueError if there are no times."""
    if not len(times):
        raise ValueError("no times")
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return Spread(float(median), float(low), float(high), len(times))


def ratio_of_pairs(times: Sequence[float], base: Sequence[float]) -> Ratio:
    """Return the ratio times / base, from times that were measured in pairs, one right after the other.

    The value is the median of the pairs' ratios. What slows the machine down for longer than a pair slows both runs
    of the pair; what hits one run spoils that pair alone, and up to half of the pairs may be spoilt. Both orders must
    occur equally often in the pairs, so that drift cancels.

    The interval is the one between order statistics that holds the median in 95 % of cases, for any distribution
    (normal approximation of the binomial; all pairs if there are fewer than eight).

    Parameters
    ----------
    times, base : sequence of float
        Seconds, one for each pair.

    Raises
    ------
    ValueError
        There are no pairs.
    """
    logs = np.sort(np.log(np.asarray(times, float)) - np.log(np.asarray(base, float)))
    count = len(logs)
    if not count:
        raise ValueError("no pairs")
    outside = max(math.floor((count - CONFIDENCE * math.sqrt(count)) / 2), 0)
    low, high = logs[outside], logs[count - 1 - outside]
    return Ratio(*(float(np.exp(log)) for log in (np.median(logs), low, high)), count)

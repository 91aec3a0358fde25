"""Timing networks fairly: turn by turn, so that a machine that slows down slows all of them."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from deepmerge.engines.timing.estimate import Ratio, Spread, ratio_of_pairs, spread

QUIET = 0.02  # a run that waited for less than this share of its time counts as undisturbed
SHORT = 0.01  # seconds: a sample of shorter runs is of several


class Timed(Protocol):
    """A session that can be timed."""

    def time_once(self) -> float:
        """Return the seconds of one forward."""
        ...


class Sample(NamedTuple):
    """The times of one run. wall: wall-clock seconds.

    waited: the seconds of those in which it waited for a core (Linux: schedstat); None if unknown.
    """

    wall: float
    waited: float | None = None


@dataclass(frozen=True)
class Budget:
    """When to stop: once every ratio's interval is narrower than ±`narrow`.

    least, most: the limits of rounds. seconds: the limit of wall-clock time, after two rounds at least; None for none.
    """

    narrow: float = 0.01
    least: int = 10
    most: int = 200
    seconds: float | None = 60.0


@dataclass
class Timings:
    """Rounds of samples, with each network once in each round. The others are compared with the first network.

    threads: CPU threads of each run. With one thread, the time that it waited for a core is subtracted. With several,
    disturbed rounds are left out, if enough others remain.
    """

    threads: int = 1
    samples: dict[str, list[Sample]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """The number of complete rounds."""
        return min(map(len, self.samples.values()), default=0)

    def times(self, name: str) -> list[float]:
        """Return the seconds of each round that counts."""
        return [self._seconds(self.samples[name][turn]) for turn in self._turns([name])]

    def spread(self, name: str) -> Spread:
        """Return the median and the quartiles of the network's time."""
        return spread(self.times(name))

    def ratio(self, name: str) -> Ratio:
        """Return the ratio of the network's time to the first network's."""
        base = next(iter(self.samples))
        turns = self._turns([base, name])
        times = [self._seconds(self.samples[name][turn]) for turn in turns]
        return ratio_of_pairs(times, [self._seconds(self.samples[base][turn]) for turn in turns])

    def waited(self, name: str) -> float | None:
        """Return the share of time that the network's threads waited for a core; None if unknown."""
        samples = self.samples[name][: self.rounds]
        if any(one.waited is None for one in samples):
            return None
        return sum(one.waited for one in samples) / sum(one.wall for one in samples) / self.threads

    def _seconds(self, sample: Sample) -> float:
        if self.threads > 1 or sample.waited is None:
            return sample.wall
        return max(sample.wall - sample.waited, 1e-9)

    def _turns(self, names: list[str]) -> list[int]:
        """Return the rounds that count for these networks."""
        every = range(self.rounds)
        if self.threads == 1:
            return list(every)
        quiet = [t for t in every if all(_quiet(self.samples[name][t]) for name in names)]
        return quiet if len(quiet) >= max(8, self.rounds // 3) else list(every)


def _quiet(sample: Sample) -> bool:
    return sample.waited is None or sample.waited <= QUIET * sample.wall


def compare(
    runs: Mapping[str, Callable[[], Sample]],
    budget: Budget = Budget(),
    *,
    threads: int = 1,
    warmup: int = 2,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
    used: Callable[[float], None] = lambda share: None,
) -> Timings:
    """Time several networks against each other. runs: name → a function that runs that network once.

    In each round, every network runs once. A random order is drawn for every two rounds, and the second round reverses
    it, so that drift and the state of the caches affect all networks alike. Runs of less than 10 ms are repeated after
    one that is not timed, and the sample is their mean. used: called after every two rounds with the share of the
    budget that is used up, at most 1; the ratios may be known before that.
    """
    timings = Timings(threads, {name: [] for name in runs})
    repeats = {name: _repeats(run, warmup) for name, run in runs.items()}
    rng, start = random.Random(seed), clock()
    order = list(runs)
    while timings.rounds < budget.most:
        rng.shuffle(order)
        for turn in (order, order[::-1]):
            for name in turn:
                timings.samples[name].append(_sample(runs[name], repeats[name]))
        spent = clock() - start
        late = budget.seconds is not None and spent >= budget.seconds
        used(min(1.0, max(timings.rounds / budget.most, spent / budget.seconds if budget.seconds else 0.0)))
        if late or (timings.rounds >= budget.least and _narrow(timings, budget.narrow)):
            break
    return timings


def _repeats(run: Callable[[], Sample], warmup: int) -> int:
    """Warm up, and return how many runs make a sample."""
    fastest = min(run().wall for _ in range(max(warmup, 1)))
    return 1 if fastest >= SHORT else math.ceil(SHORT / max(fastest, 1e-6))


def _sample(run: Callable[[], Sample], repeats: int) -> Sample:
    if repeats == 1:
        return run()
    run()
    runs = [run() for _ in range(repeats)]
    waits = [one.waited for one in runs]
    waited = None if None in waits else sum(waits) / repeats
    return Sample(sum(one.wall for one in runs) / repeats, waited)


def _narrow(timings: Timings, narrow: float) -> bool:
    others = list(timings.samples)[1:]
    if not others:  # nothing to compare: the median's own interval is what counts
        times = timings.times(next(iter(timings.samples)))
        return ratio_of_pairs(times, [1.0] * len(times)).half_width <= narrow
    return all(timings.ratio(name).half_width <= narrow for name in others)

"""How many iterations each stage gets, and at which rate it learns."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter

SOLVED = ("lsq", "refit")
TRAINED = ("segments", "chain", "distill")
STAGES = (*SOLVED, *TRAINED)
USUAL = ("lsq", *TRAINED)  # refit takes a minute a layer, however little a merge has changed what the layer sees
SHARES = {"segments": 0.01, "chain": 0.04, "distill": 0.95}  # of the time that is given
IMAGES = 1_200_000  # that all stages see together, where no time is given; fewer, where they take more than
WORK = 1e14  # multiplications: about an hour of two CPU cores
RATE = 0.015  # the largest, as a share of the weights, see scales.py; for stages of FULL iterations or more
FULL = 4000
_RATES = 5  # to try, each a quarter of the one before
WARM_UP = 0.02  # share of a stage's iterations over which the rate grows to its full
_MOST_WARM_UP = 200  # iterations
_BATCH_WORK = 1e10  # multiplications of a batch, on a CPU
_MEASURED = 2.0  # seconds, at least 3 iterations
_SLOW = 0.5  # seconds of an eighth of a batch, from which on it stands for the whole
_SLACK = 0.92  # of the time given: the rest is for trying rates, and for what was not foreseen


class Objective(Protocol):
    """What a stage makes small; see distill.Distillation."""

    parts: tuple[str, ...]

    @property
    def parameters(self) -> list[Parameter]: ...

    def losses(self, images: Tensor) -> Tensor: ...


def rate(iteration: int, iterations: int, full: float) -> float:
    """The learning rate of one iteration: linear up to `full`, then half a cosine down to 0 at the stage's end."""
    warm = min(_MOST_WARM_UP, math.ceil(WARM_UP * iterations))
    if iteration < warm:
        return full * (iteration + 1) / (warm + 1)
    return full * 0.5 * (1 + math.cos(math.pi * (iteration - warm) / max(1, iterations - warm)))


def rates_for(iterations: int) -> tuple[float, ...]:
    """The rates that a stage of so many iterations tries, the largest first; see trials.py.

    They are smaller for a short stage, which has no time to make good what large steps spoil.
    """
    full = RATE * min(1.0, math.sqrt(iterations / FULL))
    return tuple(full / 4**power for power in range(_RATES))


def default_batch_size(macs: int, device: str) -> int:
    """Images of an iteration. macs: of the original on one image; what is slow had better learn from few images often."""
    return 128 if device != "cpu" or macs * 128 <= _BATCH_WORK else 64 if macs * 64 <= _BATCH_WORK else 32


def default_iterations(stages: Sequence[str], batch_size: int, macs: tuple[int, int]) -> dict[str, int]:
    """The same for the same networks. macs: of the original and the merged network on one image."""
    images = min(IMAGES, WORK / max(1, macs[0] + 3 * macs[1]))  # backward takes twice as long as forward
    return {stage: math.ceil(SHARES[stage] * images / batch_size) for stage in stages if stage in TRAINED}


def divided(seconds: float, costs: Mapping[str, Callable[[float], int]]) -> dict[str, int]:
    """Iterations of each stage, such that they take their shares of `seconds`. costs: seconds → how many fit into them."""
    whole = sum(SHARES[stage] for stage in costs)
    return {stage: max(1, fit(seconds * _SLACK * SHARES[stage] / whole)) for stage, fit in costs.items()}


def steady(cost: float) -> Callable[[float], int]:
    """For `divided`: every iteration takes `cost` seconds."""
    return lambda seconds: int(seconds / cost)


def sinking(asking: float, knowing: float, epoch: float, mirrored: bool, kept: float = 1.0) -> Callable[[float], int]:
    """For `divided`: iterations that ask the original about the images that they have not seen before.

    asking, knowing: seconds of an iteration that asks about all of its images, and about none. epoch: iterations until
    each image has come once. mirrored: half of them at random. kept: the share of the answers that there is memory for.
    """

    def fit(seconds: float) -> int:
        done, unknown = 0.0, 1.0
        while True:
            cost = knowing + (asking - knowing) * (1 - kept * (1 - unknown))
            if cost * epoch >= seconds or unknown < 1e-3:
                return int(done + seconds / cost)
            done, seconds = done + epoch, seconds - cost * epoch
            unknown = unknown / 2 if mirrored else 0.0

    return fit


def measure(step: Callable[[Tensor], object], images: Iterator[Tensor], device: torch.device) -> float:
    """Seconds that a batch takes: making it, and `step`."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def once(batches: Iterator[Tensor]) -> float:
        wait()
        start = time.perf_counter()
        step(next(batches))
        wait()
        return time.perf_counter() - start

    batch = next(images)
    small = batch[: max(1, len(batch) // 8)]
    parts = itertools.repeat(small)
    once(parts)  # makes ready
    if (seconds := once(parts)) > _SLOW:
        return min(seconds, once(parts)) * len(batch) / len(small)
    once(images)
    took: list[float] = []
    while len(took) < 3 or sum(took) < _MEASURED:
        took.append(once(images))
    return statistics.median(took)

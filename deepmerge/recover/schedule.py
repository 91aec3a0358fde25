"""How many iterations each stage gets, and at which rate it learns."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Parameter

TRAINED = ("segments", "chain", "distill")
STAGES = ("lsq", *TRAINED)
BATCH_SIZE = 128
IMAGES = {"segments": 50_000, "chain": 50_000, "distill": 1_000_000}  # images that a stage sees, where no time is given
SHARES = {"segments": 0.06, "chain": 0.09, "distill": 0.85}  # of the time that is given
RATE = 0.03  # Adam's, as a share of the weights, see scales.py
WARM_UP = 0.02  # share of a stage's iterations over which the rate grows to its full
_MOST_WARM_UP = 200  # iterations
_MEASURED = 2.0  # seconds of each stage, at least 3 iterations
_SLACK = 0.97  # of the time given: the rest is for what was not foreseen


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


def default_iterations(stages: Sequence[str], batch_size: int) -> dict[str, int]:
    return {stage: math.ceil(IMAGES[stage] / batch_size) for stage in stages if stage in TRAINED}


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
    """Seconds that `step` takes on a batch."""
    import torch

    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    took: list[float] = []
    while len(took) < 4 or sum(took) < _MEASURED:
        batch = next(images)
        wait()
        start = time.perf_counter()
        step(batch)
        wait()
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])  # the first one makes ready

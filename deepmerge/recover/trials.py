"""Which learning rate a stage begins with: the largest that does no harm when it is tried for a few iterations.

What suits a shallow network in a long stage wrecks a deep one in a short stage, which has no time to make it good. What does
best in a few iterations is far too small for many of them; so it is the largest, not the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from deepmerge.errors import TrainingError
from deepmerge.recover.train import Pace, Trainer

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 40  # a trial has so many times fewer iterations than its stage, and
FEWEST, MOST = 3, 100


def trial_length(iterations: int) -> int:
    """Iterations of a trial for a stage of so many."""
    return min(max(iterations // SHARE, FEWEST), MOST)


def largest_rate(
    trainer: Callable[[float], Trainer],
    rates: Sequence[float],
    images: Callable[[], Iterator[Tensor]],
    judge: Callable[[], float],
    before: float,
) -> float:
    """The first of `rates` whose trial brings the loss below `before`; the last where none does. The parameters stay as they are.

    trainer: for a trial at a rate. images: the batches to try on, the same each time. judge: the loss on images held out.
    """
    import torch

    for rate in rates[:-1]:
        trial = trainer(rate)
        start = [blob.detach().clone() for blob in trial.parameters]
        loss = _tried(trial, images(), judge)
        with torch.no_grad():
            for blob, value in zip(trial.parameters, start, strict=True):
                blob.copy_(value)
                blob.grad = None
        torch.clear_autocast_cache()
        if loss < before:
            return rate
    return rates[-1]


def _tried(trial: Trainer, batches: Iterator[Tensor], judge: Callable[[], float]) -> float:
    """The loss behind the trial; infinite where it is no number any more."""
    try:
        trial.run(batches, Pace(0.0, saved=math.inf), lambda: None, lambda iteration, loss: None)
    except TrainingError:
        return math.inf
    finally:
        batches.close()
    loss = judge()
    return loss if math.isfinite(loss) else math.inf

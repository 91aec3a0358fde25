"""Which learning rate a stage has: the largest that does no great harm when it is tried for a few iterations.

What suits a shallow network in a long stage wrecks a deep one in a short stage, which has no time to make it good. inception_mini
is as well off behind 6,000 iterations at 0.01 as at 0.02, and GoogLeNet behind 100 has 1.8 times the loss at 0.004, 1.04 times at
0.001 and 0.91 times at 0.0003. But some harm at first is made good, and what does best in a few iterations is too small for many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from deepmerge.errors import TrainingError
from deepmerge.train.recover.trainer import Pace, Trainer

if TYPE_CHECKING:
    from torch import Tensor

SHARE = 40  # a trial has so many times fewer iterations than its stage
FEWEST = 3
HARM = 2.0  # how many times the loss may grow


def trial_length(iterations: int) -> int:
    """Iterations of a trial for a stage of so many."""
    return max(iterations // SHARE, FEWEST)


def largest_rate(
    trainer: Callable[[float], Trainer],
    rates: Sequence[float],
    images: Callable[[], Iterator[Tensor]],
    judge: Callable[[], float],
    before: float,
) -> float:
    """The first of `rates` whose trial ends below HARM times the loss `before`; the last where none does. The parameters stay as they are.

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
        if loss < HARM * before:
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

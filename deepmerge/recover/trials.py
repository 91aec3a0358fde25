"""Which learning rate a stage does best with: each is tried for a few iterations.

A rate that suits a shallow network in a long stage wrecks a deep one in a short stage, which then has no time to make it
good; and one that wrecks nothing gets nowhere in the shallow one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from deepmerge.errors import TrainingError
from deepmerge.recover.train import Pace, Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

Images = Callable[[], "Iterator[Tensor]"]


def best_rate(
    trainer: Callable[[float], Trainer], rates: Sequence[float], images: Images, judge: Callable[[], float], before: float
) -> float:
    """The rate behind whose trial `judge` is the least; the parameters are as that trial left them.

    trainer: one for a trial at a rate. images: the batches to try on, the same each time. judge: the loss, which is
    `before` as it is. Where no rate does better than that, it is the last one, and the parameters are as they were.
    """
    import torch

    best, found = before, rates[-1]
    parameters = trainer(found).parameters
    start = kept = [blob.detach().clone() for blob in parameters]
    for rate in rates:
        loss = _tried(trainer(rate), images, judge)
        if loss < best:
            best, found, kept = loss, rate, [blob.detach().clone() for blob in parameters]
        _give(parameters, start)
    _give(parameters, kept)
    torch.clear_autocast_cache()
    return found


def _tried(trainer: Trainer, images: Images, judge: Callable[[], float]) -> float:
    batches = images()
    try:
        trainer.run(batches, Pace(0.0, saved=math.inf), lambda: None, lambda *_: None)
    except TrainingError:  # the loss is no number any more
        return math.inf
    finally:
        batches.close()
    loss = judge()
    return loss if math.isfinite(loss) else math.inf


def _give(parameters, values) -> None:
    import torch

    with torch.no_grad():
        for blob, value in zip(parameters, values, strict=True):
            blob.copy_(value)
            blob.grad = None

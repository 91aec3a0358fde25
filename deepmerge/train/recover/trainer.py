"""The training of one stage, iteration by iteration, and its learning rate."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.errors import TrainingError
from deepmerge.train.recover.distillation import Batch, Objective
from deepmerge.train.recover.optimizer import Optimizer
from deepmerge.train.recover.spec import StagePlan
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.guards import require_finite

if TYPE_CHECKING:
    from torch import Tensor

LOOKED_AT = 20  # iterations between two looks at the loss: a GPU has to be waited for
_STATE = "optimizer/"  # prefix of its arrays in a checkpoint

RATE = 0.015  # largest learning rate, as a share of the step size, for stages of `full` iterations or more
FULL = 4000
FRONT_FULL = 500  # front compares values at the cut, which bear larger steps than the scores
RATES = 5  # learning rates to try, each a quarter of the one before
WARM_UP = 0.02  # share of a stage's iterations in which the rate grows to its full value
_MOST_WARM_UP = 200  # iterations

SHARE = 40  # a trial has this many times fewer iterations than its stage
FEWEST = 3
HARM = 1.25  # the loss after a trial, as a share of the loss before it, must be below this


@dataclass
class Pace:
    """When a run saves and when it stops. All times are the clock's, in seconds.

    checkpoint_seconds: between two checkpoints, if `saving_factor` times the last one's duration is not longer.
    stop_at: when to pause, None for never. saved: when the last checkpoint was written. duration: how long that took.
    """

    clock: Callable[[], float] = time.monotonic
    checkpoint_seconds: float = math.inf
    saving_factor: float = 0.0
    stop_at: float | None = None
    saved: float = 0.0
    duration: float = 0.0

    def is_over(self) -> bool:
        """Return whether the run is to pause."""
        return self.stop_at is not None and self.clock() >= self.stop_at

    def is_due(self) -> bool:
        """Return whether to write a checkpoint."""
        return self.clock() - self.saved >= max(self.checkpoint_seconds, self.saving_factor * self.duration)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Measure how long a checkpoint takes."""
        start = self.clock()
        yield
        self.saved = self.clock()
        self.duration = self.saved - start


class Trainer:
    """Trains an objective's parameters as planned.

    iteration: how many are done. position: where the stage is, from 0 to plan.iterations: the iterations done, or, if
    the plan is timed, that share of its time. The learning rate follows it, and so is small at the end however fast
    iterations turn out to be.

    lr: the learning rate, as a share of `sizes`, one for each of the parameters; see optimizer.step_sizes. In bfloat16,
    weights stay in float32.
    """

    def __init__(self, objective: Objective, plan: StagePlan, lr: float, sizes: Sequence[float]):
        self.objective, self.plan, self.lr, self.sizes = objective, plan, lr, sizes
        self.iteration, self.position = 0, 0.0
        self.parameters = objective.parameters
        self.optimizer = Optimizer(self.parameters)

    def run(
        self,
        batches: Iterator[Batch],
        pace: Pace,
        save: Callable[[], None],
        report: Callable[[float], None],
        end: float = math.inf,
    ) -> None:
        """Train to the stage's end, or until `end` by the pace's clock.

        batches: from number `iteration` on. report: called with the loss.
        TrainingError where the loss is not finite; Paused, after a checkpoint, where the run's time is over.
        """
        start, first = pace.clock(), self.position
        while self.position < self.plan.iterations and pace.clock() < end:
            loss = self.step(next(batches))
            self.iteration += 1
            if self.plan.timed:
                self.position = first + (self.plan.iterations - first) * (pace.clock() - start) / (end - start)
            else:
                self.position = self.iteration
            due, over = pace.is_due(), pace.is_over()
            last = self.position >= self.plan.iterations
            if due or over or last or self.iteration % LOOKED_AT == 0:
                value = float(loss)
                self._require(value)
                report(value)
            if (due or over) and not last:
                self._require_weights()
                save()
                if over:
                    raise Paused
        self._require_weights()

    def step(self, batch: Batch) -> Tensor:
        """Run one iteration on a batch and return its loss."""
        rate = rate_at(self.position, self.plan.iterations, self.lr)
        self.optimizer.zero_grad()
        loss = backward(self.objective, batch, self.plan.bf16)
        self.optimizer.step([rate * size for size in self.sizes])
        return loss

    def _require_weights(self) -> None:
        """Raise a TrainingError if a step has spoilt the weights, after a loss that was still finite."""
        self._require(float(sum(blob.detach().sum() for blob in self.parameters)))

    def _require(self, value: float) -> None:
        require_finite(value, self.where, "resume with a smaller --lr")

    @property
    def where(self) -> str:
        """How far training is, in words."""
        of = "" if self.plan.timed else f" of {self.plan.iterations}"
        return f"stage {self.plan.name}, iteration {self.iteration}{of}"

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the optimizer's state, for a checkpoint."""
        return {f"{_STATE}{name}": value for name, value in self.optimizer.arrays().items()}

    def restore(self, iteration: int, position: float, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a checkpoint, whose weights the objective's networks already have."""
        self.iteration, self.position = iteration, position
        state = {name: value for name, value in arrays.items() if name.startswith(_STATE)}
        self.optimizer.restore({name.removeprefix(_STATE): value for name, value in state.items()})


def backward(objective: Objective, batch: Batch, bf16: bool) -> Tensor:
    """Compute the gradients of a batch and return its loss."""
    import torch

    with torch.autocast(objective.parameters[0].device.type, torch.bfloat16, enabled=bf16):
        loss = objective.losses(batch).sum()
    loss.backward()
    return loss.detach()


def mean_losses(objective: Objective, batches: Iterable[Batch], bf16: bool = False) -> list[float]:
    """Return the mean loss of each part over all images."""
    import torch

    sums, count, kind = np.zeros(len(objective.parts)), 0, objective.parameters[0].device.type
    with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=bf16):
        for batch in batches:
            sums += objective.losses(batch).double().cpu().numpy() * len(batch)
            count += len(batch)
    return [float(value) for value in sums / max(count, 1)]


# -- learning rates ------------------------------------------------------------------------------


def rate_at(position: float, iterations: int, full: float) -> float:
    """Return the learning rate after `position` iterations: it grows to `full`, then falls to 0 along half a cosine."""
    warm = min(_MOST_WARM_UP, math.ceil(WARM_UP * iterations))
    if position < warm:
        return full * (position + 1) / (warm + 1)
    return full * 0.5 * (1 + math.cos(math.pi * (position - warm) / max(1, iterations - warm)))


def rates_for(iterations: int, full: int = FULL) -> tuple[float, ...]:
    """Return the learning rates to try for a stage, the largest first.

    They are smaller for one of fewer than `full` iterations, which has no time to repair what large steps spoil.
    """
    largest = RATE * min(1.0, math.sqrt(iterations / full))
    return tuple(largest / 4**power for power in range(RATES))


def trial_length(iterations: int) -> int:
    """Return the iterations of a trial for a stage of `iterations`."""
    return max(iterations // SHARE, FEWEST)


def largest_rate(
    trainer: Callable[[float], Trainer],
    rates: Sequence[float],
    batches: Callable[[], Generator[Batch, None, None]],
    judge: Callable[[], float],
    before: float,
) -> float:
    """Return the first of `rates` whose trial ends below HARM times the loss `before`, the last if none does.

    A rate that suits a shallow network in a long stage ruins a deep one in a short stage. For example, inception_mini
    is as good after 6,000 iterations at 0.01 as at 0.02, but GoogLeNet after 100 has 1.8 times the loss at 0.004, 1.04
    times at 0.001 and 0.91 times at 0.0003. The rate that does best in a few iterations is too small for many.

    Parameters
    ----------
    trainer
        Returns a trial at a rate. Its parameters keep their values.
    rates
        The largest first.
    batches
        Returns the batches to try on, the same each time.
    judge
        Returns the loss on held-out images.
    before
        That loss before the trials.
    """
    import torch

    for rate in rates[:-1]:
        trial = trainer(rate)
        start = [blob.detach().clone() for blob in trial.parameters]
        loss = _trial_loss(trial, batches(), judge)
        with torch.no_grad():
            for blob, value in zip(trial.parameters, start, strict=True):
                blob.copy_(value)
                blob.grad = None
        torch.clear_autocast_cache()
        if loss < HARM * before:
            return rate
    return rates[-1]


def _trial_loss(trial: Trainer, batches: Generator[Batch, None, None], judge: Callable[[], float]) -> float:
    """Return the loss after the trial; infinity where it is not finite."""
    try:
        trial.run(batches, Pace(), lambda: None, lambda loss: None)
    except TrainingError:
        return math.inf
    finally:
        batches.close()
    loss = judge()
    return loss if math.isfinite(loss) else math.inf

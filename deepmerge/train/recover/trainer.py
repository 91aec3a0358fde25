"""One stage's training, iteration by iteration, with a checkpoint now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.train.recover.budget import Objective, rate
from deepmerge.train.recover.optimizer import Optimizer
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.guards import require_finite

if TYPE_CHECKING:
    from torch import Tensor

SAVED_EVERY = 30.0  # seconds, or
SAVING = 50  # times as long as the last checkpoint took to write, where that is more
_STATE = "optimizer/"  # its arrays in a checkpoint
LOOKED_AT = 20  # iterations between two looks at the loss, which a GPU has to be waited for


@dataclass
class Pace:
    """When to save and when to stop. saved, started: time.monotonic(); stop_after: seconds from `started`, None for never.
    took: seconds of the last saving.
    """

    started: float
    stop_after: float | None = None
    saved: float = 0.0
    took: float = 0.0

    def over(self) -> bool:
        return self.stop_after is not None and time.monotonic() - self.started >= self.stop_after

    def due(self) -> bool:
        return time.monotonic() - self.saved >= max(SAVED_EVERY, SAVING * self.took)


class Trainer:
    """Trains an objective's parameters for `iterations` iterations, from `iteration` on.

    lr: the rate, as a share of `sizes`, one for each of the parameters; see scales.py. halves: forward and backward in
    bfloat16, with the weights in float32.
    """

    def __init__(
        self, objective: Objective, name: str, iterations: int, lr: float, sizes: Sequence[float], halves: bool = False
    ):
        self.objective, self.name, self.iterations, self.lr, self.sizes = objective, name, iterations, lr, sizes
        self.halves = halves
        self.iteration = 0
        self.parameters = objective.parameters
        self.optimizer = Optimizer(self.parameters)

    def run(
        self, images: Iterator[Tensor], pace: Pace, save: Callable[[], None], tell: Callable[[int, float], None]
    ) -> None:
        """To the stage's end. images: from batch `iteration` on. save: makes a checkpoint. tell: iteration, loss.

        TrainingError where the loss is no number any more; Paused where the time is over, behind a checkpoint.
        """
        while self.iteration < self.iterations:
            loss = self.step(next(images))
            self.iteration += 1
            due, over = pace.due(), pace.over()
            if due or over or self.iteration % LOOKED_AT == 0 or self.iteration == self.iterations:
                self._look(loss, tell)
            if (due or over) and self.iteration < self.iterations:
                self._require_weights()
                save()
                if over:
                    raise Paused
        self._require_weights()

    def step(self, images: Tensor) -> Tensor:
        """One iteration on a batch; its loss."""
        now = rate(self.iteration, self.iterations, self.lr)
        self.optimizer.zero_grad()
        loss = backward(self.objective, images, self.halves)
        self.optimizer.step([now * size for size in self.sizes])
        return loss

    def _look(self, loss: Tensor, tell: Callable[[int, float], None]) -> None:
        value = float(loss)
        self._require(value)
        tell(self.iteration, value)

    def _require_weights(self) -> None:
        """A step may spoil the weights after a loss that was a number still."""
        self._require(float(sum(blob.detach().sum() for blob in self.parameters)))

    def _require(self, value: float) -> None:
        where = f"stage {self.name}, iteration {self.iteration} of {self.iterations}"
        require_finite(value, where, "go on with a smaller --lr")

    def arrays(self) -> dict[str, np.ndarray]:
        """The optimizer's state, for a checkpoint."""
        return {f"{_STATE}{name}": value for name, value in self.optimizer.arrays().items()}

    def restore(self, iteration: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from a checkpoint, whose weights the objective's networks have already."""
        self.iteration = iteration
        self.optimizer.restore(
            {name.removeprefix(_STATE): value for name, value in arrays.items() if name.startswith(_STATE)}
        )


def backward(objective: Objective, images: Tensor, halves: bool) -> Tensor:
    """The loss of a batch; the parameters have its gradients, too."""
    import torch

    with torch.autocast(images.device.type, torch.bfloat16, enabled=halves):
        loss = objective.losses(images).sum()
    loss.backward()
    return loss.detach()


def judged(objective: Objective, images: Iterator[Tensor], halves: bool = False) -> list[float]:
    """The mean loss of each part over all batches of `images`. halves: in bfloat16."""
    import torch

    sums, count = np.zeros(len(objective.parts)), 0
    with torch.no_grad():
        for batch in images:
            with torch.autocast(batch.device.type, torch.bfloat16, enabled=halves):
                sums += objective.losses(batch).double().cpu().numpy() * len(batch)
            count += len(batch)
    return [float(value) for value in sums / max(count, 1)]

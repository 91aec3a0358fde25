"""Caffe's solvers: what a gradient changes. Caffe: sgd_solver.cpp, nesterov_solver.cpp, adagrad_solver.cpp, rmsprop_solver.cpp,
adadelta_solver.cpp, adam_solver.cpp.

Works on tensors of PyTorch through their methods alone, in float32 as Caffe does, so that nothing heavy is imported here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepmerge.formats.read.solver import Solver

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 3.4e38  # of float32
HISTORIES = {"SGD": 1, "Nesterov": 1, "AdaGrad": 1, "RMSProp": 1, "AdaDelta": 2, "Adam": 2}


@dataclass
class Learned:
    """One blob that learns: its values, its gradient's place, and its multipliers of base_lr and weight_decay.

    history: momentum and the like, shaped as the blob; as many as HISTORIES says.
    """

    name: str
    values: Tensor
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    history: list[Tensor] = field(default_factory=list)


class Updates:
    """Applies gradients to blobs, one call an iteration, as `solver` says.

    Blobs whose lr_mult is 0 are not to be given: Caffe computes no gradient for them, and they count in no norm.
    """

    def __init__(self, solver: Solver, blobs: Sequence[Learned]):
        self.solver, self.blobs = solver, list(blobs)
        self._value = _VALUES[solver.type]
        for blob in self.blobs:
            blob.history = [blob.values.detach().clone().zero_() for _ in range(HISTORIES[solver.type])]

    def apply(self, gradients: Sequence[Tensor], rate: float, iteration: int) -> float:
        """Change each blob by its gradient (summed over iter_size batches; overwritten here). Returns the gradients' norm.

        rate: of policies.learning_rate. iteration: how many updates there were before this one.
        Caffe: SGDSolver::ApplyUpdate: clip, divide by iter_size, decay, update, in this order.
        """
        norm = clip(gradients, self.solver.clip_gradients)
        for blob, gradient in zip(self.blobs, gradients, strict=True):
            if self.solver.iter_size > 1:
                gradient.mul_(1 / self.solver.iter_size)
            decay(gradient, blob.values, self.solver.weight_decay * blob.decay_mult, self.solver.regularization_type)
            own = rate * blob.lr_mult
            own = own if own <= LARGEST else math.inf
            blob.values.sub_(self._value(self.solver, gradient, blob.history, own, iteration))
        return norm

    def state(self) -> dict[str, list[Tensor]]:
        """What a checkpoint has to hold beside the blobs themselves: each one's history, by its name."""
        return {blob.name: blob.history for blob in self.blobs}


def clip(gradients: Sequence[Tensor], limit: float) -> float:
    """Scale all gradients so that their common L2 norm is `limit` at most (below 0: none). Returns the norm as it was, or 0.0."""
    if limit < 0 or not gradients:
        return 0.0
    norm = math.sqrt(
        float(sum((g.double().square().sum() for g in gradients[1:]), gradients[0].double().square().sum()))
    )
    if norm > limit:
        for gradient in gradients:
            gradient.mul_(limit / norm)
    return norm


def decay(gradient: Tensor, values: Tensor, weight: float, kind: str) -> None:
    """Add the gradient of weight/2 · ‖values‖² (L2) or weight · |values| (L1) to `gradient`."""
    if weight:
        gradient.add_(values if kind == "L2" else values.sign(), alpha=weight)


def _sgd(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, _iteration: int) -> Tensor:
    """V = momentum · V + rate · g; w -= V."""
    return history[0].mul_(solver.momentum).add_(gradient, alpha=rate)


def _nesterov(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, _iteration: int) -> Tensor:
    """V' = momentum · V + rate · g; w -= (1 + momentum) · V' - momentum · V."""
    before = history[0].mul(-solver.momentum)
    return before.add_(history[0].mul_(solver.momentum).add_(gradient, alpha=rate), alpha=1 + solver.momentum)


def _adagrad(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, _iteration: int) -> Tensor:
    """H += g²; w -= rate · g / (√H + delta)."""
    history[0].addcmul_(gradient, gradient)
    return gradient.div(history[0].sqrt().add_(solver.delta)).mul_(rate)


def _rmsprop(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, _iteration: int) -> Tensor:
    """H = rms_decay · H + (1 - rms_decay) · g²; w -= rate · g / (√H + delta)."""
    history[0].mul_(solver.rms_decay).addcmul_(gradient, gradient, value=1 - solver.rms_decay)
    return gradient.div(history[0].sqrt().add_(solver.delta)).mul_(rate)


def _adadelta(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, _iteration: int) -> Tensor:
    """H = m · H + (1 - m) · g²; u = g · √((U + delta) / (H + delta)); U = m · U + (1 - m) · u²; w -= rate · u, m the momentum."""
    squares, updates = history
    squares.mul_(solver.momentum).addcmul_(gradient, gradient, value=1 - solver.momentum)
    update = updates.add(solver.delta).div_(squares.add(solver.delta)).sqrt_().mul_(gradient)
    updates.mul_(solver.momentum).addcmul_(update, update, value=1 - solver.momentum)
    return update.mul_(rate)


def _adam(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, iteration: int) -> Tensor:
    """M, V: running means of g and g²; w -= rate · √(1 - momentum2^t) / (1 - momentum^t) · M / (√V + delta), t from 1 on."""
    mean, squares = history
    mean.mul_(solver.momentum).add_(gradient, alpha=1 - solver.momentum)
    squares.mul_(solver.momentum2).addcmul_(gradient, gradient, value=1 - solver.momentum2)
    t = iteration + 1
    correction = math.sqrt(1 - solver.momentum2**t) / (1 - solver.momentum**t)
    return mean.div(squares.sqrt().add_(solver.delta)).mul_(rate * correction)


_VALUES: dict[str, Callable[[Solver, Tensor, list[Tensor], float, int], Tensor]] = {
    "SGD": _sgd,
    "Nesterov": _nesterov,
    "AdaGrad": _adagrad,
    "RMSProp": _rmsprop,
    "AdaDelta": _adadelta,
    "Adam": _adam,
}

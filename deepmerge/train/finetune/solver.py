"""What a solver does with gradients: the learning rate of each iteration, and the update of each blob.

Caffe: sgd_solver.cpp (SGDSolver::GetLearningRate, ApplyUpdate), nesterov_solver.cpp, adagrad_solver.cpp,
rmsprop_solver.cpp, adadelta_solver.cpp, adam_solver.cpp.

Tensors are used through their methods only, in float32 as in Caffe, so this file does not import PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepmerge.errors import DeepmergeError
from deepmerge.formats.read.solver import Solver

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 3.4e38  # of float32
HISTORIES = {"SGD": 1, "Nesterov": 1, "AdaGrad": 1, "RMSProp": 1, "AdaDelta": 2, "Adam": 2}


def learning_rate(solver: Solver, iteration: int) -> float:
    """Return the learning rate of an iteration, counted from 0. It depends on nothing else, so no state is saved.

    fixed      base_lr
    step       base_lr · gamma ^ floor(i / stepsize)
    exp        base_lr · gamma ^ i
    inv        base_lr · (1 + gamma · i) ^ -power
    multistep  base_lr · gamma ^ (number of stepvalues passed)
    poly       base_lr · (1 - i / max_iter) ^ power
    sigmoid    base_lr / (1 + exp(-gamma · (i - stepsize)))

    DeepmergeError where the rate is not finite.
    """
    try:
        rate = solver.base_lr * _FACTORS[solver.lr_policy](solver, iteration)
    except (OverflowError, ZeroDivisionError):
        rate = math.inf
    if isinstance(rate, complex) or not math.isfinite(rate):
        text = f"lr_policy {solver.lr_policy!r} gives no finite learning rate at iteration {iteration}"
        raise DeepmergeError(f"{solver.path}: {text}", remedy="check gamma and power")
    return rate


def _passed(solver: Solver, iteration: int) -> int:
    """Return how many stepvalues are passed. Caffe passes at most one in each iteration, in the file's order."""
    count, before = 0, -1
    for value in solver.stepvalue:
        before = max(value, before + 1)
        if before > iteration:
            break
        count += 1
    return count


def _sigmoid(solver: Solver, iteration: int) -> float:
    exponent = -solver.gamma * (iteration - solver.stepsize)
    return 0.0 if exponent > 700 else 1 / (1 + math.exp(exponent))


_FACTORS: dict[str, Callable[[Solver, int], float]] = {
    "fixed": lambda s, i: 1.0,
    "step": lambda s, i: s.gamma ** (i // s.stepsize),
    "exp": lambda s, i: s.gamma**i,
    "inv": lambda s, i: (1 + s.gamma * i) ** -s.power,
    "multistep": lambda s, i: s.gamma ** _passed(s, i),
    "poly": lambda s, i: (1 - min(i, s.max_iter) / max(s.max_iter, 1)) ** s.power,
    "sigmoid": _sigmoid,
}


@dataclass
class Learned:
    """A blob that learns: its values, and its multipliers of base_lr and weight_decay.

    history: HISTORIES says how many tensors, such as momentum, each shaped as the blob.
    """

    name: str
    values: Tensor
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    history: list[Tensor] = field(default_factory=list)


class Updates:
    """Update blobs as `solver` says, with one call for each iteration.

    Leave out blobs whose lr_mult is 0: Caffe computes no gradient for them, so they do not count in the norm.
    """

    def __init__(self, solver: Solver, blobs: Sequence[Learned]):
        self.solver, self.blobs = solver, list(blobs)
        self._value = _VALUES[solver.type]
        for blob in self.blobs:
            blob.history = [blob.values.detach().clone().zero_() for _ in range(HISTORIES[solver.type])]

    def apply(self, gradients: Sequence[Tensor], rate: float, iteration: int) -> float:
        """Update each blob in place and return the norm of the gradients before clipping.

        gradients: one for each blob, summed over iter_size batches; overwritten. rate: see `learning_rate`.
        iteration: the number of updates before this one.
        The order is Caffe's (SGDSolver::ApplyUpdate): clip, divide by iter_size, decay, update.
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
        """Return each blob's history by its name, for a checkpoint."""
        return {blob.name: blob.history for blob in self.blobs}


def clip(gradients: Sequence[Tensor], limit: float) -> float:
    """Scale the gradients so that their common L2 norm is at most `limit`, and return the norm before.

    A negative limit means no clipping; the norm is 0.0 then.
    """
    if limit < 0 or not gradients:
        return 0.0
    squares = [gradient.double().square().sum() for gradient in gradients]
    norm = math.sqrt(float(sum(squares[1:], squares[0])))
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
    """H = m·H + (1 - m)·g²; u = g·√((U + delta) / (H + delta)); U = m·U + (1 - m)·u²; w -= rate·u."""
    squares, updates = history
    squares.mul_(solver.momentum).addcmul_(gradient, gradient, value=1 - solver.momentum)
    update = updates.add(solver.delta).div_(squares.add(solver.delta)).sqrt_().mul_(gradient)
    updates.mul_(solver.momentum).addcmul_(update, update, value=1 - solver.momentum)
    return update.mul_(rate)


def _adam(solver: Solver, gradient: Tensor, history: list[Tensor], rate: float, iteration: int) -> Tensor:
    """M, V: running means of g and g²; w -= rate · √(1 - momentum2^t) / (1 - momentum^t) · M / (√V + delta)."""
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

"""The learning rate at an iteration. Caffe: sgd_solver.cpp, SGDSolver::GetLearningRate."""

from __future__ import annotations

import math
from collections.abc import Callable

from deepmerge.errors import DeepmergeError
from deepmerge.formats.read.solver import Solver


def learning_rate(solver: Solver, iteration: int) -> float:
    """The rate of the update that follows `iteration` others. A pure function, so that a resumed run needs no state.

    fixed      base_lr
    step       base_lr · gamma ^ floor(i / stepsize)
    exp        base_lr · gamma ^ i
    inv        base_lr · (1 + gamma · i) ^ -power
    multistep  base_lr · gamma ^ (how many stepvalues are passed)
    poly       base_lr · (1 - i / max_iter) ^ power
    sigmoid    base_lr / (1 + exp(-gamma · (i - stepsize)))
    DeepmergeError where the rate is no finite number.
    """
    try:
        rate = solver.base_lr * _FACTORS[solver.lr_policy](solver, iteration)
    except (OverflowError, ZeroDivisionError):
        rate = math.inf
    if isinstance(rate, complex) or not math.isfinite(rate):
        text = f"lr_policy {solver.lr_policy!r} gives no finite learning rate at iteration {iteration}; see to gamma and power"
        raise DeepmergeError(f"{solver.path}: {text}")
    return rate


def _passed(solver: Solver, iteration: int) -> int:
    """How many stepvalues are passed. Caffe passes one in each iteration at most, in the order in which they stand."""
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

"""Learning rates. tests/finetune/test_updates.py holds them against real Caffe; here are the numbers of its documentation."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from deepmerge.errors import DeepmergeError
from deepmerge.train.finetune.policies import learning_rate


def solver(policy: str, **fields):
    usual = {"base_lr": 0.1, "gamma": 0.5, "power": 2.0, "stepsize": 10, "stepvalue": (3, 3, 8), "max_iter": 20}
    return SimpleNamespace(lr_policy=policy, path=Path("solver.prototxt"), **usual | fields)


@pytest.mark.parametrize(
    "policy, iteration, rate",
    [
        ("fixed", 1234, 0.1),
        ("step", 9, 0.1),
        ("step", 10, 0.05),
        ("step", 29, 0.025),
        ("exp", 3, 0.0125),
        ("inv", 2, 0.1 / 4),
        ("multistep", 2, 0.1),
        ("multistep", 3, 0.05),
        ("multistep", 4, 0.025),  # Caffe passes one step value in an iteration
        ("multistep", 8, 0.0125),
        ("multistep", 10**6, 0.0125),
        ("poly", 0, 0.1),
        ("poly", 10, 0.025),
        ("poly", 20, 0.0),
        ("poly", 25, 0.0),
        ("sigmoid", 10, 0.05),
    ],
)
def test_rates(policy, iteration, rate):
    assert learning_rate(solver(policy), iteration) == pytest.approx(rate, rel=1e-12, abs=1e-300)


def test_sigmoids_end_without_overflow():
    assert learning_rate(solver("sigmoid", gamma=10.0, stepsize=1000), 0) == 0.0
    assert learning_rate(solver("sigmoid", gamma=-10.0, stepsize=1000), 0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    "policy, fields",
    [("exp", {"gamma": 1e30}), ("inv", {"gamma": -0.1, "power": 0.5}), ("inv", {"gamma": -0.05, "power": 1.0})],
)
def test_no_number(policy, fields):
    with pytest.raises(
        DeepmergeError, match=rf"solver.prototxt: lr_policy '{policy}' gives no finite learning rate at iteration 20"
    ):
        learning_rate(solver(policy, **fields), 20)

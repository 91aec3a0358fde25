"""Every solver type with every policy, ten iterations, against real Caffe's solver on the same files and images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from deepmerge.errors import DeepmergeError
from deepmerge.train.finetune.solver import Learned, Updates, clip, decay, learning_rate
from tests.train.finetune.judge import POLICIES, TYPES, judge

TOLERANCE = 1e-4  # of the largest weight, and of the largest change


@pytest.fixture(scope="module")
def worker(real_caffe):
    with real_caffe.start() as process:
        yield process


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", TYPES)
def test_ten_iterations_end_where_real_caffe_does(worker, torch, made, tmp_path, kind, policy):
    """With iter_size, clipped gradients, L1, and the rates and decays of new and old layers (10, 20, 1, 2; 1, 0)."""
    fields = {
        "type": kind,
        "lr_policy": policy,
        "iter_size": 2,
        "clip_gradients": 0.7,
        "weight_decay": 0.01,
        "base_lr": 0.01,
    }
    found = judge(
        worker, torch, made, tmp_path, **fields | {"regularization_type": "L1"} | TYPES[kind] | POLICIES[policy]
    )
    assert found.weights < TOLERANCE and found.changes < TOLERANCE and found.losses < TOLERANCE, found


@pytest.mark.parametrize("kind", TYPES)
def test_with_l2_and_no_clipping(worker, torch, made, tmp_path, kind):
    found = judge(
        worker, torch, made, tmp_path, type=kind, lr_policy="fixed", base_lr=0.005, weight_decay=0.05, **_others(kind)
    )
    assert found.weights < TOLERANCE and found.changes < TOLERANCE and found.losses < TOLERANCE, found


def _others(kind: str) -> dict[str, object]:
    return {key: value for key, value in TYPES[kind].items() if key != "base_lr"}


def test_clip_scales_all_gradients_by_their_common_norm(torch):
    gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    assert clip(gradients, 10.0) == 5.0 and gradients[1].item() == 4.0  # short enough
    assert clip(gradients, 1.0) == 5.0
    assert np.allclose([*gradients[0], gradients[1].item()], [0.6, 0.0, 0.8])
    assert clip(gradients, -1.0) == 0.0 and clip([], 1.0) == 0.0


def test_decay(torch):
    values, gradient = torch.tensor([2.0, -3.0, 0.0]), torch.zeros(3)
    decay(gradient, values, 0.5, "L2")
    assert gradient.tolist() == [1.0, -1.5, 0.0]
    decay(gradient, values, 1.0, "L1")
    assert gradient.tolist() == [2.0, -2.5, 0.0]


def test_histories_are_named_and_shaped_as_their_blobs(torch):
    solver = SimpleNamespace(type="Adam", clip_gradients=-1, iter_size=1, weight_decay=0.0, regularization_type="L2")
    made = Updates(solver, [Learned("conv/0", torch.ones(2, 3)), Learned("conv/1", torch.ones(2))])
    assert {name: [h.shape for h in histories] for name, histories in made.state().items()} == {
        "conv/0": [(2, 3)] * 2,
        "conv/1": [(2,)] * 2,
    }


# -- learning rates: the numbers of Caffe's documentation ---------------------------------------


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

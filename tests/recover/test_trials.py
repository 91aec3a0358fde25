"""Trying learning rates: the best one is found, and its trial's weights are kept; the others leave no trace."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.recover.train import Trainer  # noqa: E402
from deepmerge.recover.trials import best_rate  # noqa: E402


class Distance:
    """How far one number is from another."""

    parts = ("distance",)

    def __init__(self, wanted: float):
        self.wanted, self.number = wanted, torch.nn.Parameter(torch.ones(1))
        self.parameters = [self.number]

    def losses(self, images: torch.Tensor) -> torch.Tensor:
        return (self.number - self.wanted).square()

    @property
    def loss(self) -> float:
        return float(self.losses(None).detach())


def batches():
    while True:
        yield torch.zeros(1)


def tried(one: Distance, rates: tuple[float, ...]) -> float:
    return best_rate(lambda lr: Trainer(one, "test", 10, lr, [1.0]), rates, batches, lambda: one.loss, one.loss)


def test_a_rate_that_gets_there():
    one = Distance(1.4)
    assert tried(one, (10.0, 0.1, 1e-4)) == 0.1
    assert one.loss < 0.1 * 0.4**2 and one.number.grad is None


def test_where_none_does_better_it_is_the_smallest_and_nothing_moves():
    one = Distance(1.0)
    assert tried(one, (10.0, 1.0)) == 1.0 and float(one.number.detach()) == 1.0


def test_a_rate_that_ends_in_no_number_is_none():
    one = Distance(1.4)
    assert tried(one, (1e38, 0.1)) == 0.1


def test_the_same_trials_end_the_same():
    a, b = Distance(1.4), Distance(1.4)
    assert tried(a, (0.3, 0.1)) == tried(b, (0.3, 0.1)) and torch.equal(a.number, b.number)

"""Trying learning rates: the largest that does no harm is found, and no trial leaves a trace."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.train.recover.lr_search import FEWEST, largest_rate, trial_length  # noqa: E402
from deepmerge.train.recover.trainer import Trainer  # noqa: E402


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
    found = largest_rate(lambda lr: Trainer(one, "test", 10, lr, [1.0]), rates, batches, lambda: one.loss, one.loss)
    assert float(one.number.detach()) == 1.0 and one.number.grad is None
    return found


def test_the_largest_that_does_no_great_harm():
    """0.1 gets to 1.4 and would be the best; 0.2 goes beyond it, and its loss stays below twice what it was."""
    assert tried(Distance(1.4), (10.0, 0.2, 0.1, 1e-4)) == 0.2
    assert tried(Distance(1.4), (10.0, 0.1, 1e-4)) == 0.1


def test_where_all_do_harm_it_is_the_smallest():
    assert tried(Distance(1.0), (10.0, 1.0)) == 1.0


def test_a_rate_that_ends_in_no_number_is_none():
    assert tried(Distance(1.4), (1e38, 0.1, 0.01)) == 0.1


def test_a_trial_is_a_small_share_of_its_stage():
    assert [trial_length(n) for n in (1, 400, 40_000)] == [FEWEST, 10, 1000]

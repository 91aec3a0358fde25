"""Learning rates: how they rise and fall, and that the largest which does little harm is found without a trace."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.train.recover.trainer import (  # noqa: E402
    FEWEST,
    FULL,
    RATE,
    Trainer,
    largest_rate,
    rate_at,
    rates_for,
    trial_length,
)


class Distance:
    """How far one number is from another."""

    parts = ("distance",)

    def __init__(self, wanted: float):
        self.wanted, self.number = wanted, torch.nn.Parameter(torch.ones(1))
        self.parameters = [self.number]

    def losses(self, batch: object) -> torch.Tensor:
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


def test_the_largest_that_does_little_harm():
    """0.1 gets to 1.4 and would be the best; 0.2 goes beyond it, and its loss is still less than it was."""
    assert tried(Distance(1.4), (10.0, 0.2, 0.1, 1e-4)) == 0.2
    assert tried(Distance(1.4), (10.0, 0.1, 1e-4)) == 0.1


def test_where_all_do_harm_it_is_the_smallest():
    assert tried(Distance(1.0), (10.0, 1.0)) == 1.0


def test_a_rate_that_ends_in_no_number_is_none():
    assert tried(Distance(1.4), (1e38, 0.1, 0.01)) == 0.1


def test_a_trial_is_a_small_share_of_its_stage():
    assert [trial_length(n) for n in (1, 400, 40_000)] == [FEWEST, 10, 1000]


def test_the_rate_grows_and_sinks_to_nothing():
    rates = [rate_at(i, 1000, 0.1) for i in range(1000)]
    assert rates[0] < 0.01 and max(rates) == rates[20] == 0.1 and rates[999] < 1e-5
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_the_shortest_stages_have_rates(iterations):
    assert all(0 < rate_at(i, iterations, 0.1) <= 0.1 for i in range(iterations))


def test_short_stages_learn_slowly():
    assert rates_for(FULL) == rates_for(10 * FULL) == (RATE, RATE / 4, RATE / 16, RATE / 64, RATE / 256)
    assert rates_for(FULL // 4) == pytest.approx([rate / 2 for rate in rates_for(FULL)])

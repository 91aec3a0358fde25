"""Learning rates: how they rise and fall, and that the largest which does little harm is found without a trace."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="pip install 'deepmerge-caffe[torch]'")

from deepmerge.train.recover.spec import StagePlan  # noqa: E402
from deepmerge.train.recover.trainer import (  # noqa: E402
    FEWEST,
    FULL,
    RATE,
    Pace,
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
    plan = StagePlan("test", 10)
    found = largest_rate(lambda lr: Trainer(one, plan, lr, [1.0]), rates, batches, lambda: one.loss, one.loss)
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


class Clock:
    """A clock that only iterations move, each by `seconds`."""

    def __init__(self, trainer: Trainer, seconds: float):
        self.now, self.trainer, self.seconds, self.rates = 0.0, trainer, seconds, []
        trainer.optimizer.step = self.step

    def step(self, rates: list[float]) -> None:
        self.now += self.seconds
        self.rates += rates

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("seconds", "iterations"), [(0.5, 200), (1.0, 100), (2.0, 50)])
def test_the_rate_of_a_timed_stage_follows_the_clock(seconds, iterations):
    trainer = Trainer(Distance(1.4), StagePlan("test", 100, timed=True), 0.1, [1.0])
    clock = Clock(trainer, seconds)
    trainer.run(batches(), Pace(clock), lambda: None, lambda loss: None, end=100.0)
    assert trainer.iteration == iterations and clock.now == 100.0
    assert clock.rates[iterations // 2] == pytest.approx(0.05, rel=0.05) and clock.rates[-1] < 2e-4


def test_the_rate_of_a_counted_stage_does_not():
    trainer = Trainer(Distance(1.4), StagePlan("test", 100), 0.1, [1.0])
    clock = Clock(trainer, 2.0)
    trainer.run(batches(), Pace(clock), lambda: None, lambda loss: None, end=100.0)
    assert trainer.iteration == 50 and clock.rates[-1] == pytest.approx(0.05, rel=0.1)


def test_a_timed_stage_continues_where_it_was():
    trainer = Trainer(Distance(1.4), StagePlan("test", 100, timed=True), 0.1, [1.0])
    trainer.restore(150, 75.0, {})
    clock = Clock(trainer, 1.0)
    trainer.run(batches(), Pace(clock), lambda: None, lambda loss: None, end=10.0)
    assert trainer.iteration == 160 and clock.rates[0] == pytest.approx(rate_at(75, 100, 0.1))
    assert clock.rates[4] == pytest.approx(rate_at(85, 100, 0.1))


def test_short_stages_learn_slowly():
    assert rates_for(FULL) == rates_for(10 * FULL) == (RATE, RATE / 4, RATE / 16, RATE / 64, RATE / 256)
    assert rates_for(FULL // 4) == pytest.approx([rate / 2 for rate in rates_for(FULL)])
    assert rates_for(100, 400) == pytest.approx([rate / 2 for rate in rates_for(FULL)])

from __future__ import annotations

import numpy as np
import pytest

from deepmerge.engines.timing.timing import Budget, Sample, Timings, compare

DEFAULT = Budget()


class Machine:
    """A machine with a clock of its own: a network runs for its time times what the machine makes of it."""

    def __init__(self, noise=lambda: 1.0, waits=lambda: 0.0):
        self.now, self.log, self.noise, self.waits = 0.0, [], noise, waits

    def run(self, name, seconds):
        def once():
            waited = self.waits()
            wall = seconds * self.noise() + waited
            self.now += wall
            self.log.append(name)
            return Sample(wall, waited)

        return once

    def compare(self, networks, budget=DEFAULT, **options):
        return compare({n: self.run(n, s) for n, s in networks.items()}, budget, clock=lambda: self.now, **options)


def test_every_second_round_goes_backwards():
    machine = Machine()
    timings = machine.compare(dict.fromkeys("abc", 0.1), Budget(narrow=-1, least=2, most=8), warmup=1)
    rounds = ["".join(machine.log[i : i + 3]) for i in range(3, len(machine.log), 3)]
    assert timings.rounds == len(rounds) == 8
    assert all(second == first[::-1] for first, second in zip(rounds[::2], rounds[1::2], strict=True))
    assert len(set(rounds)) > 2 and {"".join(sorted(r)) for r in rounds} == {"abc"}


def test_it_stops_when_it_knows():
    assert Machine().compare({"a": 0.1, "b": 0.3}).rounds == Budget().least
    noise = np.random.default_rng(0)
    jumpy = Machine(lambda: float(np.exp(noise.normal(0, 0.1))))
    timings = jumpy.compare({"a": 0.1, "b": 0.3}, Budget(narrow=0.03, seconds=1e9, most=1000))
    assert 20 < timings.rounds < 1000 and timings.ratio("b").half_width <= 0.03
    assert timings.ratio("b").value == pytest.approx(3, rel=0.05)


def test_it_stops_at_its_time():
    noise = np.random.default_rng(0)
    machine = Machine(lambda: float(np.exp(noise.normal(0, 0.3))))
    timings = machine.compare({"a": 1.0, "b": 1.0}, Budget(narrow=1e-6, seconds=40))
    assert 40 <= machine.now < 60 and timings.rounds % 2 == 0
    assert Machine().compare({"a": 100.0}, Budget(seconds=1)).rounds == 2


def test_short_runs_are_taken_together():
    machine = Machine()
    timings = machine.compare({"a": 0.001, "b": 0.02}, Budget(least=2, most=2), warmup=2)
    assert machine.log.count("a") == 2 + 2 * (1 + 10) and machine.log.count("b") == 2 + 2
    assert timings.times("a") == pytest.approx([0.001] * 2)


def test_waiting_for_a_core_is_taken_off_a_single_thread():
    rng = np.random.default_rng(3)
    machine = Machine(lambda: float(np.exp(rng.normal(0, 0.005))), lambda: float(rng.exponential(0.1)))
    timings = machine.compare({"a": 0.1, "b": 0.05}, Budget(least=20, most=20))
    assert timings.ratio("b").value == pytest.approx(0.5, rel=0.01)
    assert timings.spread("a").median == pytest.approx(0.1, rel=0.01)
    assert 0.2 < timings.waited("a") < 0.8


def test_disturbed_rounds_of_several_threads_do_not_count():
    quiet, busy = Sample(1.0, 0.001), Sample(3.0, 1.0)
    timings = Timings(2, {"a": [quiet] * 20, "b": [quiet, busy] * 10})
    assert timings.ratio("b").value == pytest.approx(1) and timings.ratio("b").pairs == 10
    few = Timings(2, {"a": [quiet] * 20, "b": [busy] * 18 + [quiet] * 2})
    assert few.ratio("b").value == pytest.approx(3) and few.ratio("b").pairs == 20
    unknown = Timings(2, {"a": [Sample(1.0)] * 3})
    assert unknown.times("a") == [1.0] * 3 and unknown.waited("a") is None


def test_it_says_how_much_of_its_budget_is_used_up():
    noise = np.random.default_rng(0)
    machine, shares = Machine(lambda: float(np.exp(noise.normal(0, 0.3)))), []
    timings = machine.compare({"a": 1.0, "b": 1.0}, Budget(narrow=1e-6, seconds=40), used=shares.append)
    assert shares == sorted(shares) and len(shares) == timings.rounds / 2 and shares[0] < 0.2 and shares[-1] == 1.0
    counted = []
    Machine().compare({"a": 0.1}, Budget(narrow=-1, least=2, most=8), used=counted.append)
    assert counted == [0.25, 0.5, 0.75, 1.0]

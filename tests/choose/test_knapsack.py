from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from deepmerge.choose.knapsack import Knapsack, Price, total

PRICES = st.dictionaries(
    st.sampled_from("abcd"),
    st.dictionaries(
        st.sampled_from("uvwx"),
        st.builds(Price, st.integers(1, 20).map(float), st.integers(0, 50).map(lambda n: n / 16)),
        min_size=1,
    ),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(PRICES, st.integers(1, 60).map(float))
def test_no_plan_within_the_budget_loses_less(prices, budget):
    plans = [dict(zip(prices, labels, strict=True)) for labels in product(*prices.values())]
    sums = [total(prices, plan) for plan in plans]
    least = min((one.loss for one in sums if one.ms <= budget), default=None)

    found = Knapsack(prices).within(budget)

    assert (found is None) == (least is None)
    if found is not None:
        assert total(prices, found).ms <= budget + 1e-6
        assert abs(total(prices, found).loss - least) < 1e-6


def test_of_two_plans_with_the_same_loss_the_faster_one_is_taken():
    prices = {"a": {"slow": Price(3.0, 0.0), "fast": Price(2.0, 0.0)}, "b": {"leave": Price(1.0, 0.5)}}

    assert Knapsack(prices).within(10.0) == {"a": "fast", "b": "leave"}


def test_a_mixed_integer_program_finds_the_same():
    random = np.random.default_rng(3)
    prices = {
        str(region): {str(n): Price(*pair) for n, pair in enumerate(random.lognormal(size=(8, 2)))}
        for region in range(12)
    }
    places = [(region, choice) for region, choices in prices.items() for choice in choices]
    ms, loss = np.array([prices[region][choice] for region, choice in places]).T
    one_each = np.array([[place[0] == region for place in places] for region in prices], float)
    knapsack = Knapsack(prices)

    for budget in np.geomspace(knapsack.ms[0], knapsack.ms[-1], 8)[1:]:
        limits = [LinearConstraint(one_each, 1, 1), LinearConstraint(ms[None], -np.inf, budget)]
        how = {"integrality": np.ones(len(places)), "bounds": Bounds(0, 1), "options": {"mip_rel_gap": 0.0}}
        best = milp(loss, constraints=limits, **how)
        assert abs(total(prices, knapsack.within(budget)).loss - best.fun) < 1e-6


def test_sums_are_those_of_the_plans():
    prices = {name: {str(n): Price(n + 0.1, 1 / (n + 1)) for n in range(4)} for name in "abc"}
    knapsack = Knapsack(prices)
    assert list(knapsack.ms) == sorted(knapsack.ms) and list(knapsack.loss) == sorted(knapsack.loss, reverse=True)
    for ms, loss in zip(knapsack.ms, knapsack.loss, strict=True):
        assert total(prices, knapsack.within(ms)) == (ms, loss)
    assert knapsack.within(0.1) is None

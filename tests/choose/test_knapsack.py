from __future__ import annotations

from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from deepmerge.choose.knapsack import Price, cheapest, total

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

    found = cheapest(prices, budget)

    assert (found is None) == (least is None)
    if found is not None:
        assert total(prices, found).ms <= budget + 1e-6
        assert abs(total(prices, found).loss - least) < 1e-6


def test_of_two_plans_with_the_same_loss_the_faster_one_is_taken():
    prices = {"a": {"slow": Price(3.0, 0.0), "fast": Price(2.0, 0.0)}, "b": {"leave": Price(1.0, 0.5)}}

    assert cheapest(prices, 10.0) == {"a": "fast", "b": "leave"}


def test_nothing_is_printed(capfd):
    prices = {str(i): {str(j): Price(1.0 + j, 1 / (1 + j + i % 3)) for j in range(12)} for i in range(12)}
    for budget in range(12, 60, 3):
        cheapest(prices, float(budget) + 0.5)
    assert capfd.readouterr().out == ""

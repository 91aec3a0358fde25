from __future__ import annotations

import re

import pytest

from deepmerge.choose.explain import explained
from deepmerge.choose.frontier import frontier, plan_within
from deepmerge.choose.knapsack import Knapsack, Price

PRICES = {
    "a": {"leave": Price(10.0, 0.0), "fast": Price(4.0, 0.3)},
    "b": {"leave": Price(8.0, 0.0), "fast": Price(2.0, 0.2)},
    "c": {"leave": Price(1.0, 0.0), "worse": Price(2.0, 0.5)},
}


@pytest.mark.parametrize(
    "budget, why",
    [
        (20.0, "6.00 ms faster, 0.3000 more loss; no other region alone can use that time"),
        (14.0, "6.00 ms faster, 0.3000 more loss; b would lose only 0.2000 less with that time"),
        (7.0, "6.00 ms slower, 0.3000 less loss; no other region alone can save that time"),
    ],
)
def test_a_row_says_what_the_time_would_do_in_another_region(budget, why):
    rows = explained(plan_within(Knapsack(PRICES), budget, 0.0), frontier(Knapsack(PRICES), 0.0), PRICES)
    assert rows[0].region == "a" and rows[0].why == why


def test_a_slower_choice_names_the_region_that_would_have_to_pay():
    rows = {
        row.region: row
        for row in explained(plan_within(Knapsack(PRICES), 14.0, 0.0), frontier(Knapsack(PRICES), 0.0), PRICES)
    }
    assert rows["b"].why == "6.00 ms slower, 0.2000 less loss; saving that time in a would lose 0.3000"
    assert rows["c"].why == "1.00 ms slower, 0.5000 more loss"


def test_what_another_region_would_lose_is_never_less_than_what_is_gained():
    prices = {
        name: {"leave": Price(6.0, 0.0), "half": Price(4.0, 0.1 * n), "most": Price(1.0, 0.15 * n * n)}
        for n, name in enumerate("abc", 1)
    }
    knapsack, compared = Knapsack(prices), []
    for budget in range(4, 19):
        rows = explained(plan_within(knapsack, float(budget), 0.0), frontier(knapsack, 0.0), prices)
        compared += [row.why for row in rows if "would lose" in row.why]
    assert {why.split()[2] for why in compared} == {"slower,", "faster,"}
    for why in compared:
        here, there = map(float, re.findall(r"\d+\.\d{4}", why))
        assert there >= here if "saving" in why else there <= here

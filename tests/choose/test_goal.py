"""The search for the plan that keeps a goal; the choosing itself is tested by its commands (cli/test_choosing.py)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from deepmerge.choose import goal as module
from deepmerge.choose.frontier import frontier
from deepmerge.choose.goal import Goal, choose
from deepmerge.choose.knapsack import Knapsack
from tests.choose.test_frontier import PRICES


def plans_of(slower: float) -> SimpleNamespace:
    """Plans whose whole networks take `slower` times as long as the sums over their regions."""
    knapsack = Knapsack(PRICES)
    return SimpleNamespace(
        original_ms=40.0,
        rest=0.0,
        knapsack=knapsack,
        points=frontier(knapsack, 0.0),
        recipe_of=lambda point: point,
        curves=SimpleNamespace(budget=lambda ms: ms),
        whole_ms=lambda point, _: slower * point.predicted.ms,
    )


@pytest.fixture(autouse=True)
def chosen(monkeypatch):
    monkeypatch.setattr(module, "_chosen", lambda plans, goal, point, kept: (point, kept))


def test_a_plan_that_is_slower_than_its_regions_say_makes_the_next_one_faster():
    """The least loss within 26 / 1.3 = 20 ms of the regions' sum, not the fastest plan."""
    point, kept = choose(plans_of(1.3), Goal(budget_ms=26.0))
    assert kept and 10 < point.predicted.ms <= 20.2


def test_where_no_plan_is_fast_enough_it_is_the_fastest():
    point, kept = choose(plans_of(1.3), Goal(speedup=9.0))
    assert not kept and point.predicted.ms == pytest.approx(8.0)

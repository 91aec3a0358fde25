"""Ranks under a budget: against all the choices that there are."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepmerge.kernels.budget import Setting, allot, frontier, losses

SETTINGS = st.lists(st.builds(Setting, st.integers(1, 40), st.integers(0, 40).map(float)), min_size=1, max_size=6)
OFFERS = st.lists(SETTINGS, min_size=1, max_size=3).map(lambda offers: {str(i): one for i, one in enumerate(offers)})


def test_losses_are_logarithms_of_the_share_kept_by_all_groups():
    spectra = np.array([[6.0, 1.0, 1.0], [2.0, 1.0, 0.0]])  # 8, 2 and 1 of 11
    np.testing.assert_allclose(losses(spectra), [-np.log(8 / 11), -np.log(10 / 11), 0], atol=1e-12)
    assert losses(np.zeros((2, 3))).tolist() == [0, 0, 0]
    assert losses(np.array([[0.0, 1.0]])).tolist() == [np.inf, 0]


@given(SETTINGS)
def test_the_frontier_is_what_nothing_else_is_to_be_preferred_to(settings):
    macs, loss = np.array([s.macs for s in settings]), np.array([s.loss for s in settings])
    places = frontier(macs, loss)
    assert np.all(np.diff(macs[places]) > 0) and np.all(np.diff(loss[places]) < 0)
    for one in settings:
        assert any(macs[i] <= one.macs and loss[i] <= one.loss for i in places)


def test_a_setting_that_keeps_nothing_is_none():
    assert frontier(np.array([1, 2]), np.array([np.inf, 1.0])).tolist() == [1]


@given(OFFERS, st.integers(1, 120))
def test_the_budget_is_kept_where_it_can_be(offers, budget):
    chosen = allot(offers, budget)
    assert all(chosen[name] in offers[name] for name in offers)
    spent, least = sum(s.macs for s in chosen.values()), sum(min(s.macs for s in one) for one in offers.values())
    assert spent <= max(budget, least)


@given(SETTINGS, st.integers(1, 50))
def test_of_one_layer_the_choice_is_the_best(settings, budget):
    chosen = allot({"a": settings}, budget)["a"]
    within = [s for s in settings if s.macs <= budget]
    best = min(within, key=lambda s: (s.loss, s.macs)) if within else min(settings, key=lambda s: (s.macs, s.loss))
    assert (chosen.macs, chosen.loss) == (best.macs, best.loss)


@given(OFFERS, st.integers(1, 120))
def test_no_choice_within_the_budget_loses_much_less(offers, budget):
    """A greedy walk along convex hulls is optimal up to what the last step leaves of the budget: one layer's whole loss."""
    loss = sum(s.loss for s in allot(offers, budget).values())
    slack = max(max(s.loss for s in one) - min(s.loss for s in one) for one in offers.values())
    for others in product(*offers.values()):
        if sum(s.macs for s in others) <= budget:
            assert loss <= sum(s.loss for s in others) + slack + 1e-9


def test_where_a_mac_buys_most_it_goes_first():
    steep = [Setting(0, 10.0, (1,)), Setting(5, 1.0, (2,)), Setting(10, 0.0, (3,))]
    flat = [Setting(0, 1.0, (1,)), Setting(10, 0.0, (2,))]
    ranks = {
        budget: tuple(s.ranks[0] for s in allot({"a": steep, "b": flat}, budget).values())
        for budget in (0, 5, 10, 15, 20)
    }
    assert ranks == {0: (1, 1), 5: (2, 1), 10: (3, 1), 15: (3, 1), 20: (3, 2)}
    assert allot({}, 3) == {}


@pytest.mark.parametrize("budget", [7, 13])
def test_the_same_whatever_the_order_of_the_settings(budget):
    settings = [Setting(m, float(x)) for m, x in ((1, 9), (4, 4), (9, 1), (16, 0))]
    assert allot({"a": settings}, budget) == allot({"a": settings[::-1]}, budget)

"""The search for the plan that keeps a goal; the choosing itself is tested by its commands (cli/test_choosing.py)."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from deepmerge.choose import goal as module
from deepmerge.choose.frontier import frontier
from deepmerge.choose.goal import Chosen, Goal, choose
from deepmerge.choose.knapsack import Knapsack
from deepmerge.choose.measurements import Measurements
from deepmerge.errors import PlanError
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


@pytest.mark.parametrize(
    "start, last, found", [(30, 29, 29), (30, 26, 26), (30, 20, 20), (30, 9, 9), (30, -1, 0), (2, -1, 0)]
)
def test_where_the_plans_that_should_keep_a_loss_do_not_it_is_the_fastest_that_does(start, last, found):
    """Those up to number `last` keep it; the slowest one is taken if none does."""
    tried = []

    def keeps(place: int) -> bool:
        tried.append(place)
        return place <= last

    assert module._fastest(keeps, start) == found
    assert len(tried) == len(set(tried)) <= module.TRIES + module.HALVINGS


@pytest.fixture
def checked(monkeypatch):
    """Images and the agreement on them → the plan for --max-loss 30, and what was done; runs share measurements."""
    known, done = Measurements(None, "here"), []
    monkeypatch.setattr(
        module, "_chosen", lambda plans, goal, point, kept: Chosen(goal, point, [], None, True, True, kept)
    )

    def checked(images: str, agreement: float) -> tuple[Chosen, list[str]]:
        def images_key() -> list[str]:
            done.append("looked")
            return [images]

        def compare(graph) -> tuple[float, float]:
            done.append("compared")
            return 0.1, agreement

        done.clear()
        monkeypatch.setattr(module, "Answers", lambda *words: SimpleNamespace(compare=compare))
        plans, job = plans_of(1.0), SimpleNamespace(graph=None, images_key=images_key)
        plans.study = SimpleNamespace(job=job, sets=SimpleNamespace(input="data", check=[range(5)]))
        plans.curves.corrected = lambda predicted: SimpleNamespace(agreement=1.0)
        plans.recipe_of = lambda point: SimpleNamespace(to_toml=lambda: repr(point))
        plans.known, plans.fitted, plans.whole = known, lambda recipe: None, lambda point: None
        return choose(plans, Goal(max_loss=30)), list(done)

    return checked


def test_images_are_looked_at_once_for_all_plans_that_are_checked(checked):
    chosen, done = checked("these", 0.5)
    assert not chosen.kept and done.count("compared") > 1 and done.count("looked") == 1


def test_a_check_counts_for_its_own_images_alone(checked):
    assert checked("these", 0.5)[0].checked == (0.5, 5)
    chosen, done = checked("others", 0.9)
    assert chosen.kept and chosen.checked == (0.9, 5) and "compared" in done
    chosen, done = checked("these", 0.9)
    assert not chosen.kept and chosen.checked == (0.5, 5) and "compared" not in done


@pytest.mark.parametrize(
    "goal, says",
    [
        ({"speedup": 0}, "speedup is 0; give a number above 1"),
        ({"speedup": math.inf}, "speedup is inf; give a number above 1"),
        ({"budget_ms": 0.0}, "budget_ms is 0.0; give a number above 0"),
        ({"max_loss": math.nan}, "max_loss is nan; give a number from 0 to 100"),
    ],
)
def test_a_goal_is_a_number_that_can_be_kept(goal, says):
    with pytest.raises(PlanError, match=says):
        Goal(**goal)

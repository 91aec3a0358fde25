"""Choose the plan that keeps a goal: a time, or a loss of agreement with the original."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from deepmerge.choose.explain import Row, explained
from deepmerge.choose.frontier import Point, Whole, plan_within
from deepmerge.choose.loss import Answers
from deepmerge.choose.measurements import WHOLE, digest
from deepmerge.choose.plans import Plans, digest_of
from deepmerge.errors import PlanError
from deepmerge.machine import cores
from deepmerge.plan import Recipe

TRIES = 4  # plans that are measured whole until one keeps the goal; then the fastest, or slower ones by HALVINGS
HALVINGS = 5
SLACK = 0.01  # of the time: what measuring again may differ


@dataclass(frozen=True)
class Goal:
    """What is wanted: one of the three. max_loss: points of agreement with the original.

    PlanError for a number that is out of range.
    """

    speedup: float | None = None
    budget_ms: float | None = None
    max_loss: float | None = None

    def __post_init__(self):
        if self.speedup is not None and not 1 < self.speedup < math.inf:
            raise PlanError(f"speedup is {self.speedup}", remedy="give a number above 1")
        if self.budget_ms is not None and not 0 < self.budget_ms < math.inf:
            raise PlanError(f"budget_ms is {self.budget_ms}", remedy="give a number above 0")
        if self.max_loss is not None and not 0 <= self.max_loss <= 100:
            raise PlanError(f"max_loss is {self.max_loss}", remedy="give a number from 0 to 100")


@dataclass(frozen=True)
class Chosen:
    """The plan for a goal. whole: as measured; its loss and agreement are expected ones if `measured` is false.

    timed: whether its time was measured here; else it is a device's. kept: whether it keeps the goal. checked: the
    agreement on images that took no part in choosing, and how many they are; None if not asked.
    """

    goal: Goal
    recipe: Recipe
    rows: list[Row]
    whole: Whole
    measured: bool
    timed: bool
    kept: bool
    checked: tuple[float, int] | None = None


def choose(plans: Plans, goal: Goal) -> Chosen:
    """Return the plan with the least loss that keeps the goal; the nearest one, not kept, if none does."""
    return _within_loss(plans, goal) if goal.max_loss is not None else _within_time(plans, goal)


def _within_time(plans: Plans, goal: Goal) -> Chosen:
    wanted = goal.budget_ms if goal.speedup is None else plans.original_ms / goal.speedup
    budget, kept = plans.curves.budget(wanted * (1 - SLACK)), False  # so that the first one mostly keeps it
    fastest = plans.points[-1]
    for left in reversed(range(TRIES + 1)):
        point = plan_within(plans.knapsack, budget - plans.rest, plans.rest) if left else fastest
        point = point or fastest
        ms = plans.whole_ms(point, plans.recipe_of(point))
        kept = ms <= wanted * (1 + SLACK)
        if kept or point == fastest:
            break
        budget = min(budget, point.predicted.ms) * wanted / ms
    return _chosen(plans, goal, point, kept)


def _within_loss(plans: Plans, goal: Goal) -> Chosen:
    """Return the fastest plan that should keep the goal, and keeps it on images that took part in nothing before."""
    points, sets = plans.points, plans.study.sets
    answers = Answers(plans.study.job.graph, sets.input, sets.check, cores())
    key = plans.study.job.images_key()  # looks at every file of a folder

    def keeps(agreement: float | None) -> bool:
        return agreement is not None and 100 * (1 - agreement) <= goal.max_loss

    def found(place: int) -> float:
        return _checked(plans, answers, key, plans.recipe_of(points[place]))

    expected = [plans.curves.corrected(point.predicted).agreement for point in points]
    start = max((place for place, agreement in enumerate(expected) if keeps(agreement)), default=0)
    place = _fastest(lambda one: keeps(found(one)), start)
    plans.whole(points[place])
    chosen = _chosen(plans, goal, points[place], keeps(found(place)))
    return replace(chosen, checked=(found(place), sum(map(len, sets.check))))


def _checked(plans: Plans, answers: Answers, key: list[Any], recipe: Recipe) -> float:
    """Return a plan's agreement, fitted, on the images to check on. The file keeps it. key: what names the images."""
    name = f"check {digest(repr([digest_of(recipe), key]))}"
    if plans.known.get(WHOLE, name).agreement is None:
        _, agreement = answers.compare(plans.fitted(recipe))
        plans.known.add(WHOLE, name, agreement=agreement)
    return plans.known.get(WHOLE, name).agreement


def _fastest(keeps: Callable[[int], bool], start: int) -> int:
    """Return the place on the frontier of the fastest plan found to keep the goal; 0, the slowest one, if none is.

    start: where to begin. From there some neighbours are tried, then slower ones by bisection.
    """
    for place in range(start, max(start - TRIES, -1), -1):
        if keeps(place):
            return place
    kept, lost = 0, max(start - TRIES + 1, 0)
    for _ in range(HALVINGS):
        if lost - kept > 1:
            middle = (kept + lost) // 2
            kept, lost = (middle, lost) if keeps(middle) else (kept, middle)
    return kept


def _chosen(plans: Plans, goal: Goal, point: Point, kept: bool) -> Chosen:
    recipe, expected = plans.recipe_of(point), plans.curves.corrected(point.predicted)
    one = plans.known.get(WHOLE, digest_of(recipe))
    measured = one.loss is not None and one.agreement is not None
    loss, agreement = (one.loss, one.agreement) if measured else (expected.loss, expected.agreement)
    whole = Whole(point, plans.whole_ms(point, recipe), loss, agreement)
    rows = explained(point, plans.points, plans.prices)
    return Chosen(goal, _with_notes(recipe, rows), rows, whole, measured, plans.is_timed(recipe), kept)


def _with_notes(recipe: Recipe, rows: list[Row]) -> Recipe:
    """Return the recipe with a note at each approximate step: what it saves, and why the next best was not taken."""
    notes = {}
    for row in rows:
        found = f"{row.choice}: {row.price.ms:.2f} ms instead of {row.left.ms:.2f} ms, loss {row.price.loss:.4f}"
        notes[row.region] = f"{found}. Next best: {row.other}: {row.why}"
    steps = [step if step.exact else replace(step, note=notes.get(step.name, "")) for step in recipe.steps]
    return replace(recipe, steps=tuple(steps))

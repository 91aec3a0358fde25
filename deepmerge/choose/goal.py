"""Choose the plan that keeps a goal: a time, or a loss of agreement with the original."""

from __future__ import annotations

from dataclasses import dataclass, replace

from deepmerge.choose.explain import Row, explained
from deepmerge.choose.frontier import Point, Whole, plan_within
from deepmerge.choose.loss import Answers
from deepmerge.choose.measurements import WHOLE
from deepmerge.choose.plans import Plans, digest_of
from deepmerge.machine import cores
from deepmerge.plan import Recipe

TRIES = 4  # plans that are measured whole until one keeps the goal; then the fastest, or the one that loses least
SLACK = 0.01  # of the time: what measuring again may differ


@dataclass(frozen=True)
class Goal:
    """What is wanted: one of the three. max_loss: points of agreement with the original."""

    speedup: float | None = None
    budget_ms: float | None = None
    max_loss: float | None = None


@dataclass(frozen=True)
class Chosen:
    """The plan for a goal. whole: as measured; its loss and agreement are expected ones if `measured` is false.

    kept: whether it keeps the goal. checked: the agreement on images that took no part in choosing, and how many they
    are; None if not asked.
    """

    goal: Goal
    recipe: Recipe
    rows: list[Row]
    whole: Whole
    measured: bool
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
    points = plans.points
    expected = [100 * (1 - plans.curves.corrected(point.predicted).agreement) for point in points]
    start = max((i for i, loss in enumerate(expected) if loss <= goal.max_loss), default=0)
    study = plans.study
    answers = Answers(study.job.graph, study.sets.input, study.sets.check, cores())
    for place in dict.fromkeys([*range(start, max(start - TRIES, -1), -1), 0]):  # the last is the one that loses least
        point = points[place]
        _, agreement = answers.compare(plans.fitted(plans.recipe_of(point)))
        kept = 100 * (1 - agreement) <= goal.max_loss
        if kept:
            break
    plans.whole(point)
    return replace(_chosen(plans, goal, point, kept), checked=(agreement, sum(map(len, study.sets.check))))


def _chosen(plans: Plans, goal: Goal, point: Point, kept: bool) -> Chosen:
    recipe, expected = plans.recipe_of(point), plans.curves.corrected(point.predicted)
    one = plans.known.get(WHOLE, digest_of(recipe))
    measured = one.loss is not None and one.agreement is not None
    loss, agreement = (one.loss, one.agreement) if measured else (expected.loss, expected.agreement)
    whole = Whole(point, plans.whole_ms(point, recipe), loss, agreement)
    rows = explained(point, plans.points, plans.prices)
    return Chosen(goal, _with_notes(recipe, rows), rows, whole, measured, kept)


def _with_notes(recipe: Recipe, rows: list[Row]) -> Recipe:
    """Return the recipe with a note at each approximate step: what it saves, and why the next best was not taken."""
    notes = {}
    for row in rows:
        found = f"{row.choice}: {row.price.ms:.2f} ms instead of {row.left.ms:.2f} ms, loss {row.price.loss:.4f}"
        notes[row.region] = f"{found}. Next best: {row.other}: {row.why}"
    steps = [step if step.exact else replace(step, note=notes.get(step.name, "")) for step in recipe.steps]
    return replace(recipe, steps=tuple(steps))

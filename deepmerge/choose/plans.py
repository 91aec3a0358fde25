"""What plans cost: the sums over their regions, the frontier, and some plans measured whole."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cached_property

from deepmerge.choose.frontier import Curves, Point, Whole, frontier, require_scipy, spread_out
from deepmerge.choose.knapsack import Knapsack, Price
from deepmerge.choose.loss import entry_of, fit_segments
from deepmerge.choose.measurements import WHOLE, digest
from deepmerge.choose.standin import stand_in
from deepmerge.choose.study import EXACT, ORIGINAL, Study
from deepmerge.graph.graph import Graph
from deepmerge.machine import cores
from deepmerge.passes.merge_branches import MergeBranches
from deepmerge.plan import Recipe, Step, run_recipe
from deepmerge.plan.region_choices import LEAVE, Choice, Region
from deepmerge.train.recover.segments import find_segments

LEAST = 1e-6  # milliseconds of a choice: a device may say 0, and ratios are needed


class Plans:
    """The plans that a network's choices give. What the study's file does not have yet is measured."""

    def __init__(self, study: Study):
        require_scipy()
        self.study, self.known = study, study.known
        study.measure()

    @cached_property
    def prices(self) -> dict[str, dict[str, Price]]:
        """The measured price of each choice, region by region."""
        found: dict[str, dict[str, Price]] = {}
        for region in self.study.regions:
            own = {}
            for choice in region.choices:
                one = self.known.get(region.name, choice.label)
                loss = 0.0 if choice.label == LEAVE else one.loss
                if one.ms is not None and loss is not None and math.isfinite(one.ms) and math.isfinite(loss):
                    own[choice.label] = Price(max(one.ms * self.scale, LEAST), loss)
            found[region.name] = own
        return found

    @property
    def original_ms(self) -> float:
        """The time of the original; of a device that gave none, the sum of its regions, and of what it gave beside."""
        whole = self._whole_ms(ORIGINAL)
        return self.left_ms + self.rest if whole is None else whole

    @property
    def left_ms(self) -> float:
        """The sum of the regions' times as they are."""
        return sum(choices[LEAVE].ms for choices in self.prices.values())

    @cached_property
    def scale(self) -> float:
        """What brings the regions' times to scale: together, they may take longer alone than in the network."""
        whole = self._whole_ms(EXACT)
        alone = sum(self.known.get(region.name, LEAVE).ms or 0.0 for region in self.study.regions)
        return 1.0 if whole is None or alone <= whole else whole / alone

    @property
    def rest(self) -> float:
        """The time of what no choice changes."""
        whole = self._whole_ms(EXACT)
        return 0.0 if whole is None else max(whole - self.left_ms, 0.0)

    def _whole_ms(self, name: str) -> float | None:
        """Return the time of a whole network; of a device, what it gave, and not what was measured here."""
        return self.known.given_ms(WHOLE, name) if self.has_given_times else self.known.get(WHOLE, name).ms

    @cached_property
    def has_given_times(self) -> bool:
        """Whether regions have a device's times."""
        return any(self.known.has_given_times(region.name) for region in self.study.regions)

    @cached_property
    def knapsack(self) -> Knapsack:
        """The plans that no other one beats."""
        return Knapsack(self.prices)

    @cached_property
    def points(self) -> list[Point]:
        """The frontier."""
        return frontier(self.knapsack, self.rest)

    @cached_property
    def wholes(self) -> list[Whole]:
        """Some plans of the frontier, measured whole."""
        points, wholes = spread_out(self.points), []
        for number, point in enumerate(points):
            self.study.progress("measuring whole plans", number, len(points))
            wholes.append(self.whole(point))
        return wholes

    @cached_property
    def curves(self) -> Curves:
        """The curves that correct predictions, through the plans measured whole."""
        return Curves(self.wholes, (self.left_ms + self.rest, self.left_ms + self.rest))

    def whole(self, point: Point) -> Whole:
        """Measure a plan whole, fitted quickly on the images to fit on."""
        recipe = self.recipe_of(point)
        one = self.known.get(WHOLE, digest_of(recipe))
        loss, agreement = one.loss, one.agreement
        if loss is None or agreement is None:
            loss, agreement = self.study.answers.compare(self.fitted(recipe))
            self.known.add(WHOLE, digest_of(recipe), loss=loss, agreement=agreement)
        return Whole(point, self.whole_ms(point, recipe), loss, agreement)

    def whole_ms(self, point: Point, recipe: Recipe) -> float:
        """Return a plan's time, measured as a whole against the original; of a device, what it gave, or the sum."""
        key = digest_of(recipe)
        given = self.known.given_ms(WHOLE, key)
        if given is not None or self.has_given_times:
            return point.predicted.ms if given is None else given
        if self.known.get(WHOLE, key).ms is None:
            rough = [step for step in recipe.steps if not step.exact]
            graph = stand_in(self.study.exact, rough, recipe.options())
            pair = {(WHOLE, ORIGINAL): self.study.job.graph, (WHOLE, key): graph}
            found = self.study.timed(pair, self.study.job.seconds / 5)
            self.known.add(WHOLE, key, ms=self.original_ms * found[WHOLE, key] / found[WHOLE, ORIGINAL])
        return self.known.get(WHOLE, key).ms

    def is_timed(self, recipe: Recipe) -> bool:
        """Return whether `whole_ms` is measured here; else it is given, or a sum of given times."""
        return not self.has_given_times and self.known.given_ms(WHOLE, digest_of(recipe)) is None

    def recipe_of(self, point: Point) -> Recipe:
        """Return the plan as a recipe; the channels that reducers keep are chosen by the images."""
        steps: list[Step] = list(self.study.recipe.steps)
        for region in self.study.regions:
            choice = region.find(point.chosen[region.name])
            if choice.steps:
                steps += self._settled(region, choice).steps
        return replace(self.study.recipe, steps=tuple(steps))

    def _settled(self, region: Region, choice: Choice) -> Choice:
        """Return the choice with the channels that its reducers keep, as they were measured."""
        channels = self.known.get(region.name, choice.label).channels
        if not channels:
            return choice
        table = {name: tuple(found) for name, found in json.loads(channels).items()}
        steps = [
            replace(step, options=step.options | {"channels": table}) if MergeBranches.name in step.passes else step
            for step in choice.steps
        ]
        return replace(choice, steps=tuple(steps))

    def fitted(self, recipe: Recipe) -> Graph:
        """Return the network that a recipe makes, fitted quickly."""
        merged, entries = self.study.job.graph.copy(), []
        for index, result in run_recipe(merged, recipe):
            entries.append(entry_of(index, result))
        segments = find_segments(self.study.job.graph, merged, entries)
        sets = self.study.sets
        fit_segments(self.study.job.graph, merged, segments, lambda: ({sets.input: data} for data in sets.fit), cores())
        return merged


def digest_of(recipe: Recipe) -> str:
    """Return what names a whole plan in the measurements."""
    return digest(recipe.to_toml())

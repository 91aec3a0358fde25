"""Measure what each choice for each region costs, in time and in accuracy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import cached_property

from deepmerge.choose.images import FEWEST, ImageSets, image_sets
from deepmerge.choose.job import ChooseJob
from deepmerge.choose.loss import Answers, Regions, judged_outputs
from deepmerge.choose.measurements import WHOLE, Measurements, Name, digest
from deepmerge.choose.standin import stand_in
from deepmerge.choose.times import Stopwatch
from deepmerge.engines import engine
from deepmerge.errors import EngineError, PlanError
from deepmerge.graph.extract import layers_between
from deepmerge.graph.fingerprint import fingerprint
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.machine import cores
from deepmerge.measure.harness.setup import Passing
from deepmerge.passes.support.base import Options
from deepmerge.plan import Plan, Recipe, Wishes, make_plan, run_recipe
from deepmerge.plan.plan import split_step
from deepmerge.plan.region_choices import LEAVE, Choice, Region, ends_of, find_regions, part_of
from deepmerge.plan.select import select
from deepmerge.progress import Progress, silent
from deepmerge.text import listed

ORIGINAL, EXACT = "original", "exact"  # whole networks: as it was read, and after its exact steps


class Study:
    """A network's choices, measured: those that the file does not have yet, once they are needed.

    recipe: the exact steps, which are taken in any case. exact: the network after them. regions: what can be chosen.
    refusals: what the passes leave alone.
    """

    def __init__(self, job: ChooseJob, progress: Progress = silent):
        if job.images < FEWEST:
            raise PlanError(f"images is {job.images}", remedy=f"choosing takes {FEWEST} or more")
        self.job, self.progress = job, progress
        self._notes: list[str] = []
        self._stopwatch = Stopwatch(job.engine, job.threads)
        plan, self.recipe, self.exact = _planned(job.graph, job.options)
        self.refusals, self.shapes = plan.refusals, infer_shapes(self.exact)
        self.regions = self._judged(self._regions(plan))
        if all(len(region.choices) == 1 for region in self.regions):
            raise PlanError(f"the network {job.graph.name!r} has nothing to choose: no region can be merged")
        self.known = Measurements(job.file or job.cache(), job.on, fingerprint(job.graph), self._contents())
        self.known.check(self._every_choice)
        self._check_times()

    @property
    def notes(self) -> list[str]:
        """What the user should know, one line each; about images, once they have been read."""
        return [*self._notes, *(self.sets.notes if "sets" in vars(self) else ())]

    def _regions(self, plan: Plan) -> list[Region]:
        """Return the regions in which --steps leaves something to choose."""
        if self.job.steps == "all":
            return find_regions(self.exact, [c.step for c in plan.candidates], self.job.options)
        taken = select(plan.candidates, self.job.steps, [step.name for step in self.recipe.steps])
        wanted = {layer for step in taken for layer in step.layers}
        steps = [c.step for c in plan.candidates if set(c.step.layers) <= wanted]
        found = find_regions(self.exact, steps, self.job.options)
        return [one for one in found if any(wanted & set(s.layers) for c in one.choices for s in c.steps)]

    def _judged(self, regions: list[Region]) -> list[Region]:
        """Return the regions; those that lead to no output with classes can only be left, as no loss would show."""
        judged = judged_outputs(self.job.graph)
        for blob in self.job.graph.outputs:
            if blob.producer.type != "Input" and blob.name not in judged:
                why = "has no classes: nothing is judged by it, and what leads to it alone is left as it is"
                self._notes.append(f"the output {blob.name!r} {why}")
        finals = self.exact.finals
        needed = set(layers_between(self.exact, (), [finals[name] for name in judged]))
        alone = {one.name for one in regions if ends_of(self.exact, one)[1].producer not in needed}
        return [replace(one, choices=one.choices[:1]) if one.name in alone else one for one in regions]

    def _contents(self) -> dict[Name, str]:
        """Return a digest of what is measured by each name in the file."""
        found = {(WHOLE, EXACT): fingerprint(self.exact)}
        for region in self.regions:
            part = fingerprint(part_of(self.exact, region, self.shapes))
            own = {word for name in region.layers for word in (name, self.exact.layer(name).type)}
            kept = sorted(own & self.job.options.keep)  # a step of the same options merges less then
            for choice in region.choices:
                steps = [(step.passes, step.layers, step.options) for step in choice.steps]
                told = (part, steps, kept) if steps and kept else (part, steps)
                found[region.name, choice.label] = digest(repr(told))
        return found

    def _every_choice(self) -> list[Name]:
        """Return the names of all choices that the network has if nothing is left out."""
        plan, _, exact = _planned(self.job.graph, Options())
        regions = find_regions(exact, [c.step for c in plan.candidates], Options())
        return [(region.name, choice.label) for region in regions for choice in region.choices]

    def _check_times(self) -> None:
        """Note what the file has no times of. PlanError for a region that a device has timed, but not as it is."""
        file, known = self.known.file, self.known
        names = [(region.name, choice.label) for region in self.regions for choice in region.choices]
        if refused := [f"{region} {label!r}" for region, label in names if known.get(region, label).ms == math.inf]:
            self._notes.append(f"{file}: left out, since their time is inf (refused by the engine): {listed(refused)}")
        given = [region.name for region in self.regions if known.has_given_times(region.name)]
        for region in given:
            if known.get(region, LEAVE).ms in (None, math.inf):
                text = f"{file}: region {region!r} has no time for the candidate {LEAVE!r}"
                raise PlanError(text, remedy=f"add the line {region},{LEAVE},MILLISECONDS")
        own = [region.name for region in self.regions if region.name not in given]
        if given and own:
            self._notes.append(f"{file}: has no times of {listed(own)}; they are measured here ({self.job.on})")

    def _has_all_times(self) -> bool:
        """Return whether the file has the times of all that is timed here before any plan."""
        own = [region for region in self.regions if not self.known.has_given_times(region.name)]
        names = [(region.name, choice.label) for region in own for choice in region.choices]
        names += [(WHOLE, ORIGINAL), (WHOLE, EXACT)] if own else []
        return all(self.known.get(*name).ms is not None for name in names)

    @cached_property
    def sets(self) -> ImageSets:
        """The images; they are read only if something is left to measure."""
        job = self.job
        self.progress("reading images", 0, 1)
        return image_sets(job.data, job.graph, job.prototxt, job.wishes, job.images, job.strict)

    @cached_property
    def answers(self) -> Answers:
        """The original's answers to the images to judge by."""
        return Answers(self.job.graph, self.sets.input, self.sets.judge, cores())

    def close(self) -> None:
        """End the engine's process. It is started again if something is left to time."""
        self._stopwatch.close()

    def measure(self) -> None:
        """Measure the time and the loss of every choice that the file does not have."""
        if not self._has_all_times():
            engine(self.job.engine)  # if it is missing, this says so before the losses are measured
        self._settle()
        self._time_bases()
        for number, region in enumerate(self.regions):
            self.progress(f"timing {region.name}", number, len(self.regions))
            self._time_choices(region)

    def _settle(self) -> None:
        """Measure the losses, and settle which channels the choices keep."""
        missing = [(region, choices) for region in self.regions if (choices := self._without_loss(region))]
        if not missing:
            return
        walk = Regions(self.exact, self.sets, self.answers, self.job.options, cores())
        done, total = 0, sum(len(choices) for _, choices in missing)
        for region, choices in missing:
            with closing(walk.enter(region)) as inside:
                for choice in choices:
                    self.progress(f"{region.name}: {choice.label}", done, total)
                    choice = inside.settled(choice)
                    loss, agreement = inside.judge(choice)
                    kept = {name: ids for s in choice.steps for name, ids in s.options.get("channels", {}).items()}
                    channels = json.dumps(kept) if kept else ""
                    self.known.add(region.name, choice.label, loss=loss, agreement=agreement, channels=channels)
                    done += 1

    def _without_loss(self, region: Region) -> list[Choice]:
        """Return the choices whose loss is not known; a device's times leave out those that they do not have."""
        known = [(choice, self.known.get(region.name, choice.label)) for choice in region.choices[1:]]
        given = self.known.has_given_times(region.name)
        return [choice for choice, one in known if one.loss is None and not (given and one.ms is None)]

    def _time_bases(self) -> None:
        """Measure the original, the network after its exact steps, and each region as it is, against the original."""
        own = [region for region in self.regions if not self.known.has_given_times(region.name)]
        first = WHOLE, ORIGINAL
        graphs = {first: self.job.graph, (WHOLE, EXACT): self.exact}
        graphs |= {(region.name, LEAVE): part_of(self.exact, region, self.shapes) for region in own}
        missing = {place: graph for place, graph in graphs.items() if self.known.get(*place).ms is None}
        if not own or not missing:
            return
        self.progress("timing the network", 0, 1)
        found = self.timed({first: self.job.graph, **missing}, 4 * self.job.seconds)
        base = self.known.get(*first).ms or found[first]
        for place in missing:
            self.known.add(*place, ms=found[place] * base / found[first])

    def _time_choices(self, region: Region) -> None:
        known = self.known
        missing = [c for c in region.choices[1:] if known.get(region.name, c.label).ms is None]
        if not missing or known.has_given_times(region.name):
            return
        part = part_of(self.exact, region, self.shapes)
        graphs = {(region.name, LEAVE): part}
        for choice in missing:
            graphs[region.name, choice.label] = stand_in(part, choice.steps, self.job.options)
        found = self.timed(graphs, self.job.seconds)
        base = known.get(region.name, LEAVE).ms
        for place, ms in found.items():
            if place[1] != LEAVE:
                known.add(*place, ms=ms * base / found[region.name, LEAVE])

    def timed(self, graphs: Mapping[Name, Graph], seconds: float) -> dict[Name, float]:
        """Return the milliseconds of networks, measured in turns; those that the engine refuses are left out."""
        labels = {f"{region}, {choice}" if region else choice: (region, choice) for region, choice in graphs}
        networks = {label: graphs[place] for label, place in labels.items()}
        found, refused = self._stopwatch.times_of(networks, seconds)
        for label, reason in refused.items():
            region, choice = labels[label]
            if choice == LEAVE or region == WHOLE:
                text = f"{self.job.engine} does not take {region or 'the network'}: {reason}"
                raise EngineError(text, remedy="choose with another --engine")
            does = "could not load it" if isinstance(reason, Passing) else "refuses it"
            self._notes.append(f"{region}, {choice}: {self.job.engine} {does} ({reason})")
            if not isinstance(reason, Passing):
                self.known.add(region, choice, ms=math.inf)
        return {labels[label]: ms for label, ms in found.items()}


def _planned(graph: Graph, options: Options) -> tuple[Plan, Recipe, Graph]:
    """Return the plan with these options, its exact steps, and the network after them."""
    plan = make_plan(graph, Wishes(options=options))
    recipe = replace(plan.recipe, steps=tuple(step for step in plan.recipe.steps if step.exact))
    exact = made_by(graph, recipe)
    if split := split_step(exact, recipe, [c.step for c in plan.candidates], options):
        recipe = replace(recipe, steps=(*recipe.steps, *split))
        exact = made_by(graph, recipe)
    return plan, recipe, exact


def made_by(graph: Graph, recipe: Recipe) -> Graph:
    """Return what a recipe makes of the network."""
    copy = graph.copy()
    for _ in run_recipe(copy, recipe):
        pass
    return copy

"""Measure what each choice for each region costs, in time and in accuracy, and what whole plans do."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from deepmerge import __version__
from deepmerge.choose.frontier import Curves, Point, Whole, frontier, spread_out
from deepmerge.choose.images import ImageSets, image_sets
from deepmerge.choose.knapsack import Price
from deepmerge.choose.loss import Answers, Regions, entry_of, fit_segments
from deepmerge.choose.measurements import WHOLE, Measurements
from deepmerge.choose.times import times_of
from deepmerge.data import ImageWishes
from deepmerge.errors import EngineError, PlanError
from deepmerge.graph.fingerprint import fingerprint
from deepmerge.graph.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.machine import cores
from deepmerge.passes.merge_branches import MergeBranches
from deepmerge.passes.support.base import Options
from deepmerge.plan import Recipe, Step, Wishes, make_plan, run_recipe
from deepmerge.plan.execute import run_step
from deepmerge.plan.region_choices import LEAVE, Choice, Region, find_regions, part_of
from deepmerge.plan.select import select
from deepmerge.progress import Progress, silent
from deepmerge.text import count
from deepmerge.train.recover.segments import find_segments

ORIGINAL, EXACT = "original", "exact"  # whole networks: as it was read, and after its exact steps


@dataclass(frozen=True)
class Job:
    """What is measured, and how.

    graph: the network, with weights. prototxt: its file. data: the images' SPEC. images: how many are used.
    engine, threads: what times are measured on. file: the measurements, None for the user's cache. steps: --steps.
    seconds: the limit for the times of one region.
    """

    graph: Graph
    prototxt: Path
    data: str
    wishes: ImageWishes = field(default_factory=ImageWishes)
    images: int = 800
    engine: str = "ort"
    threads: int = 1
    file: Path | None = None
    steps: str = "all"
    options: Options = field(default_factory=Options)
    strict: bool = False
    seconds: float = 5.0


class Study:
    """A network's choices, measured: those that the file does not have yet, once they are needed."""

    def __init__(self, job: Job, progress: Progress = silent):
        self.job, self.progress = job, progress
        plan = make_plan(job.graph, Wishes(options=job.options))
        exact = tuple(step for step in plan.recipe.steps if step.exact)
        self.recipe = replace(plan.recipe, steps=exact)
        self.exact = _after(job.graph, self.recipe)
        self.shapes = infer_shapes(self.exact)
        taken = select(plan.candidates, job.steps, [step.name for step in exact])
        wanted = {layer for step in taken for layer in step.layers}
        every = job.steps == "all"
        steps = [c.step for c in plan.candidates if every or set(c.step.layers) <= wanted]
        self.regions = find_regions(self.exact, steps, job.options)
        if not every:
            self.regions = [
                one for one in self.regions if any(wanted & set(s.layers) for c in one.choices for s in c.steps)
            ]
        if not self.regions:
            raise PlanError(f"the network {job.graph.name!r} has nothing to choose: no region can be merged")
        self.known = Measurements(job.file or _cache(job), _on(job))
        self.known.check({(region.name, choice.label) for region in self.regions for choice in region.choices})
        self.notes: list[str] = []

    # -- what is measured ------------------------------------------------------------------------

    @cached_property
    def sets(self) -> ImageSets:
        """The images; they are read only if something is left to measure."""
        job = self.job
        self.progress("reading images", 0, 1)
        sets = image_sets(job.data, job.graph, job.prototxt, job.wishes, job.images, job.strict)
        self.notes += sets.notes
        return sets

    @cached_property
    def answers(self) -> Answers:
        """The original's answers to the images to judge by."""
        return Answers(self.job.graph, self.sets.input, self.sets.judge, cores())

    def measure(self) -> None:
        """Measure the time and the loss of every choice that the file does not have."""
        if "prices" in self.__dict__:  # it has been done
            return
        self._settle()
        self._time_bases()
        for number, region in enumerate(self.regions):
            self.progress(f"timing {region.name}", number, len(self.regions))
            self._time_choices(region)

    def _settle(self) -> None:
        """Measure the losses, and settle which channels the choices keep."""
        total = sum(len(region.choices) - 1 for region in self.regions)
        missing = [r for r in self.regions if any(self.known.get(r.name, c.label).loss is None for c in r.choices[1:])]
        if not missing:
            return
        walk, done = Regions(self.exact, self.sets, self.answers, self.job.options, cores()), 0
        for region in self.regions:
            if region in missing:
                inside = walk.enter(region)
                for choice in region.choices[1:]:
                    self.progress(f"{region.name}: {choice.label}", done, total)
                    if self.known.get(region.name, choice.label).loss is None:
                        choice = inside.settled(choice)
                        loss, agreement = inside.judge(choice)
                        kept = {
                            name: found for s in choice.steps for name, found in s.options.get("channels", {}).items()
                        }
                        channels = json.dumps(kept) if kept else ""
                        self.known.add(region.name, choice.label, loss=loss, agreement=agreement, channels=channels)
                    done += 1
                inside.close()
            else:
                done += len(region.choices) - 1

    def _time_bases(self) -> None:
        """Measure the original, the network after its exact steps, and each region as it is, against each other."""
        lacking = self.known.get(WHOLE, ORIGINAL).ms is None or self.known.get(WHOLE, EXACT).ms is None
        own = [region for region in self.regions if not self.known.has_given_times(region.name)]
        if not own or not (lacking or any(self.known.get(region.name, LEAVE).ms is None for region in own)):
            return
        self.progress("timing the network", 0, 1)
        graphs = {(WHOLE, ORIGINAL): self.job.graph, (WHOLE, EXACT): self.exact}
        graphs |= {(region.name, LEAVE): part_of(self.exact, region, self.shapes) for region in own}
        for place, ms in self._timed(graphs, 4 * self.job.seconds).items():
            self.known.add(*place, ms=ms)

    def _time_choices(self, region: Region) -> None:
        known = self.known
        missing = [c for c in region.choices[1:] if known.get(region.name, c.label).ms is None]
        if not missing or known.has_given_times(region.name):
            return
        part = part_of(self.exact, region, self.shapes)
        graphs = {(region.name, LEAVE): part}
        for choice in missing:
            graphs[region.name, choice.label] = _run(part, choice, self.job.options)
        found = self._timed(graphs, self.job.seconds)
        base = known.get(region.name, LEAVE).ms
        for place, ms in found.items():
            if place[1] != LEAVE:
                known.add(*place, ms=ms * base / found[region.name, LEAVE])

    def _timed(self, graphs: Mapping[tuple[str, str], Graph], seconds: float) -> dict[tuple[str, str], float]:
        labels = {f"{number}": place for number, place in enumerate(graphs)}
        networks = {label: graphs[place] for label, place in labels.items()}
        found, refused = times_of(networks, self.job.engine, self.job.threads, seconds)
        for label, reason in refused.items():
            region, choice = labels[label]
            if choice == LEAVE or region == WHOLE:
                raise EngineError(f"{self.job.engine} does not take {region or 'the network'}: {reason}")
            self.notes.append(f"{region}, {choice}: {self.job.engine} refuses it ({reason})")
        return {labels[label]: ms for label, ms in found.items()}

    # -- what is chosen --------------------------------------------------------------------------

    @cached_property
    def prices(self) -> dict[str, dict[str, Price]]:
        """The measured price of each choice, region by region."""
        found: dict[str, dict[str, Price]] = {}
        for region in self.regions:
            own = {}
            for choice in region.choices:
                one = self.known.get(region.name, choice.label)
                loss = 0.0 if choice.label == LEAVE else one.loss
                if one.ms is not None and loss is not None:
                    own[choice.label] = Price(one.ms * self.scale, loss)
            if LEAVE not in own:
                text = f"{self.known.file}: region {region.name!r} has no time for the candidate {LEAVE!r}"
                raise PlanError(text, remedy="add its line")
            found[region.name] = own
        return found

    @property
    def original_ms(self) -> float:
        """The time of the original; of a device that gave none, the sum of its regions."""
        given = self.known.get(WHOLE, ORIGINAL).ms
        return self.left_ms if given is None else given

    @property
    def left_ms(self) -> float:
        """The sum of the regions' times as they are."""
        return sum(choices[LEAVE].ms for choices in self.prices.values())

    @cached_property
    def scale(self) -> float:
        """What brings the regions' times to scale: together, they may take longer alone than in the network."""
        whole = self.known.get(WHOLE, EXACT).ms
        alone = sum(self.known.get(region.name, LEAVE).ms or 0.0 for region in self.regions)
        return 1.0 if whole is None or alone <= whole else whole / alone

    @property
    def rest(self) -> float:
        """The time of what no choice changes."""
        whole = self.known.get(WHOLE, EXACT).ms
        return 0.0 if whole is None else max(whole - self.left_ms, 0.0)

    @cached_property
    def points(self) -> list[Point]:
        """The frontier."""
        return frontier(self.prices, self.rest)

    @cached_property
    def curves(self) -> Curves:
        """The curves that correct predictions, through some plans of the frontier that are measured whole."""
        points = spread_out(self.points)
        wholes = []
        for number, point in enumerate(points):
            self.progress("measuring whole plans", number, len(points))
            wholes.append(self.whole(point))
        self.wholes = wholes
        return Curves(wholes, (self.left_ms + self.rest, self.left_ms + self.rest))

    def whole(self, point: Point) -> Whole:
        """Measure a plan whole, fitted quickly on the images to fit on."""
        recipe = self.recipe_of(point)
        key = digest_of(recipe)
        one = self.known.get(WHOLE, key)
        if one.loss is None or one.agreement is None:
            loss, agreement = self.answers.compare(self.fitted(recipe))
            self.known.add(WHOLE, key, loss=loss, agreement=agreement)
        self.whole_ms(point)
        one = self.known.get(WHOLE, key)
        return Whole(point, one.ms, one.loss, one.agreement)

    def whole_ms(self, point: Point) -> float:
        """Return a plan's time, measured as a whole against the original; the predicted one for a device's times."""
        recipe = self.recipe_of(point)
        key = digest_of(recipe)
        if self.known.get(WHOLE, key).ms is None:
            if any(self.known.has_given_times(region.name) for region in self.regions):
                self.known.add(WHOLE, key, ms=point.predicted.ms)
            else:
                graphs = {(WHOLE, ORIGINAL): self.job.graph, (WHOLE, key): _after(self.job.graph, recipe)}
                found = self._timed(graphs, 1.0)
                self.known.add(WHOLE, key, ms=self.original_ms * found[WHOLE, key] / found[WHOLE, ORIGINAL])
        return self.known.get(WHOLE, key).ms

    def recipe_of(self, point: Point) -> Recipe:
        """Return the plan as a recipe; the channels that reducers keep are chosen by the images."""
        steps: list[Step] = list(self.recipe.steps)
        for region in self.regions:
            choice = region.find(point.chosen[region.name])
            if choice.steps:
                steps += self._settled(region, choice).steps
        return replace(self.recipe, steps=tuple(steps))

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
        merged, entries = self.job.graph.copy(), []
        for index, result in run_recipe(merged, recipe):
            entries.append(entry_of(index, result))
        segments = find_segments(self.job.graph, merged, entries)
        sets = self.sets
        fit_segments(self.job.graph, merged, segments, lambda: ({sets.input: data} for data in sets.fit), cores())
        return merged


def _after(graph: Graph, recipe: Recipe) -> Graph:
    """Return what a recipe makes of the network."""
    copy = graph.copy()
    for _ in run_recipe(copy, recipe):
        pass
    return copy


def _run(part: Graph, choice: Choice, options: Options) -> Graph:
    """Return what a choice makes of a region."""
    copy = part.copy()
    for step in choice.steps:
        run_step(copy, step, options)
    return copy


def digest_of(recipe: Recipe) -> str:
    """Return what names a whole plan in the measurements."""
    return hashlib.sha256(recipe.to_toml().encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _on(job: Job) -> str:
    """Return what measures the times, as the file names it."""
    return f"{job.engine}, {count(job.threads, 'thread')}, {platform.node()}"


def _cache(job: Job) -> Path:
    """Return the file of the user's cache for this network, these images and these options."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    source = Path(job.data.partition(":")[2])
    changed = source.stat().st_mtime_ns if source.exists() else 0
    options = job.options
    offered = [job.steps, sorted(options.keep), options.absorb, options.target]  # other choices, another file
    told = [job.data, changed, job.images, asdict(job.wishes), *offered]
    key = hashlib.sha256(repr([__version__, fingerprint(job.graph), *told]).encode()).hexdigest()
    return base / "deepmerge" / "measurements" / f"{key[:32]}.csv"

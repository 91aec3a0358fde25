"""The loss of choices: each is fitted in closed form to the region's own output, and the network's answers compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from deepmerge.choose.images import ImageSets
from deepmerge.choose.replay import MEMORY, Replay, Room
from deepmerge.convert.report import step_entry
from deepmerge.engines import engine
from deepmerge.errors import PlanError
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.params import Input
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.shrink import order
from deepmerge.measure.accuracy.agreement import Agreement, class_outputs
from deepmerge.passes.merge_branches import MergeBranches, Reducer
from deepmerge.passes.support.base import Options
from deepmerge.plan.execute import StepResult, run_step
from deepmerge.plan.recipe import Step, options_for
from deepmerge.plan.region_choices import Choice, Region, ends_of, part_of
from deepmerge.train.recover.incremental import Part, Walk
from deepmerge.train.recover.lsq import lsq
from deepmerge.train.recover.segments import Segment, find_segments
from deepmerge.train.recover.solve import Fitting

# All choices get the same little work. Without any rounds, narrow reducers would look worse than they are.
QUICK = {"points": 30, "rounds": 2, "iterations": 6, "strengths": (1e-2,), "memory": 3 << 28}
_ROWS = 6000  # places at which the reducers' activations are sampled

Passes = Callable[[], Iterator[dict[Blob, np.ndarray]]]  # each call returns the same values, batch by batch


def judged_outputs(graph: Graph) -> list[str]:
    """Return the names of the outputs whose answers are compared. PlanError if there are none."""
    names = class_outputs(graph)
    if not names:
        raise PlanError(f"the network {graph.name!r} has no output with classes, so its answers cannot be compared")
    return names


class Answers:
    """The original's answers to some images, to compare other networks' with.

    input: the name of the blob that takes the images. batches: (N, …), float32, the same in each pass.
    """

    def __init__(self, graph: Graph, input: str, batches: Iterable[np.ndarray], threads: int):
        self.names = judged_outputs(graph)
        self.input, self.batches, self.threads = input, batches, threads
        self.wanted = Replay(lambda: self._run(graph))

    def compare(self, graph: Graph) -> tuple[float, float]:
        """Return the loss (KL, in nats) and the agreement of a network's answers to the same images."""
        return self.against(self._run(graph))

    def against(self, found: Iterator[Mapping[str, np.ndarray]]) -> tuple[float, float]:
        """Return the loss and the agreement of answers, batch by batch."""
        gathered = {name: Agreement() for name in self.names}
        for made, wanted in zip(found, self.wanted, strict=True):
            for name, agreement in gathered.items():
                agreement.add(_rows(made[name]), _rows(wanted[name]))
        reports = [agreement.report() for agreement in gathered.values()]
        loss = float(np.mean([np.inf if report["kl"] is None else report["kl"] for report in reports]))
        return loss if np.isfinite(loss) else float("inf"), float(np.mean([report["top1"] for report in reports]))

    def _run(self, graph: Graph) -> Iterator[dict[str, np.ndarray]]:
        with engine("ort").load(graph, self.threads) as session:
            for data in self.batches:
                yield session.forward({self.input: data}, self.names)


def _rows(scores: np.ndarray) -> np.ndarray:
    """Return scores, (N, classes, …), as (N · places, classes)."""
    return np.moveaxis(scores, 1, -1).reshape(-1, scores.shape[1])


class Regions:
    """Walks through the regions in the network's order; what lies before and after each is computed once.

    graph: the network after its exact steps. answers: the original's, to the images to judge by.
    """

    def __init__(self, graph: Graph, sets: ImageSets, answers: Answers, common: Options, threads: int):
        self.graph, self.answers, self.common, self.threads = graph, answers, common, threads
        self.shapes = infer_shapes(graph)
        self.images = sum(map(len, sets.fit))
        self._fit, self._judge = (self._walk(sets.input, batches) for batches in (sets.fit, sets.judge))
        self.outputs = [graph.finals[name] for name in answers.names]

    def _walk(self, input: str, batches: Iterable[np.ndarray]) -> Walk:
        feeds, images = lambda: ({input: data} for data in batches), sum(map(len, batches))
        return Walk(self.graph, feeds, images, engine("ort"), self.threads, MEMORY)

    def enter(self, region: Region) -> Inside:
        """Return what is needed to judge the region's choices; regions are entered in the network's order."""
        inputs, output = ends_of(self.graph, region)
        others = [blob for blob in self._fit.front_after(output, self.outputs) if blob is not output]
        wanted = list(dict.fromkeys([*inputs, *others]))
        for walk in (self._fit, self._judge):
            for _ in walk.through(wanted, wanted):  # later passes start from here, if the values can be kept
                pass
        fit, judge = (lambda walk=walk: walk.through(wanted, wanted) for walk in (self._fit, self._judge))
        return Inside(self, region, fit, judge, others)


class Inside:
    """One region: its values in the network as it is, and what its choices make of them.

    fit, judge: return, batch by batch, the values that the region and what lies after it read, for the images to fit on
    and to judge by. others: what only the layers after it read.
    """

    def __init__(self, regions: Regions, region: Region, fit: Passes, judge: Passes, others: list[Blob]):
        self.regions, self.region, self.others = regions, region, others
        self.fit, self.judge_by = fit, judge
        self.inputs, self.output = ends_of(regions.graph, region)
        self.theirs = part_of(regions.graph, region, regions.shapes)
        self._known: dict[str, Replay] = {}  # values of the region's blobs, for the images to fit on
        self._room = Room(MEMORY)
        self._orders: dict[tuple[str, int], list[int]] = {}
        self.after = Part(
            regions.graph,
            [self.output, *others],
            regions.outputs,
            regions.shapes,
            engine("ort"),
            regions.threads,
        )

    def close(self) -> None:
        """Free the session."""
        self.after.close()

    def settled(self, choice: Choice) -> Choice:
        """Return the choice with the channels that its reducers keep, chosen by their activations."""
        graph, steps = self.theirs.copy(), []
        for step in choice.steps:
            step = self._with_channels(graph, step)
            run_step(graph, step, self.regions.common)
            steps.append(step)
        return replace(choice, steps=tuple(steps))

    def judge(self, choice: Choice) -> tuple[float, float]:
        """Return the loss and the agreement of the network with this choice, fitted; the rest is as it was."""
        part = self._fitted(choice)

        def answers() -> Iterator[dict[str, np.ndarray]]:
            with engine("ort").load(part, self.regions.threads) as session:
                for values in self.judge_by():
                    feeds = {blob.name: values[blob] for blob in self.inputs if blob.name in session.inputs}
                    made = session.forward(feeds, [self.output.name])[self.output.name]
                    found = self.after.run({self.output: made, **{blob: values[blob] for blob in self.others}})
                    yield {blob.name: value for blob, value in found.items()}

        return self.regions.answers.against(answers())

    def _fitted(self, choice: Choice) -> Graph:
        """Return the region as this choice makes it, fitted to its output before."""
        part, entries = self.theirs.copy(), []
        for index, step in enumerate(choice.steps, 1):
            entries.append(entry_of(index, run_step(part, step, self.regions.common)))
        segments = find_segments(self.theirs, part, entries)
        known = {segment.output: self._values_of(segment.output) for segment in segments}
        stand_in = _inputs_alone(self.theirs, known)

        def feeds() -> Iterator[dict[str, np.ndarray]]:
            for values, *found in zip(self.fit(), *known.values(), strict=True):
                inputs = {blob.name: values[blob] for blob in self.inputs}
                yield inputs | {name: one[name] for name, one in zip(known, found, strict=True)}

        fit_segments(stand_in, part, segments, feeds, self.regions.threads)
        return part

    def _values_of(self, name: str) -> Replay:
        """Return the values of one of the region's blobs, batch by batch, for the images to fit on."""
        if name not in self._known:
            self._known[name] = Replay(lambda: self._run_on_fit(name), self._room)
        return self._known[name]

    def _run_on_fit(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        with engine("ort").load(self.theirs, self.regions.threads) as session:
            for values in self.fit():
                yield session.forward({b.name: values[b] for b in self.inputs if b.name in session.inputs}, [name])

    def _with_channels(self, graph: Graph, step: Step) -> Step:
        """Return the step with the filters that its reducers keep."""
        if MergeBranches.name not in step.passes or step.options.get("width") == "full":
            return step
        one, shapes, channels = MergeBranches(options_for(step, self.regions.common)), infer_shapes(graph), {}
        for name in step.layers:
            layer = graph.find(name)
            match = layer and one.look(graph, layer, shapes)
            for reducer in one.reducers(match) if match else ():
                if reducer.entry.name in {blob.name for blob in self.inputs}:
                    channels[reducer.layer.name] = tuple(sorted(self._order(reducer)[: reducer.width]))
        return replace(step, options=step.options | {"channels": channels}) if channels else step

    def _order(self, reducer: Reducer) -> list[int]:
        """Return the reducer's filters, the most useful first."""
        key = reducer.layer.name, len(reducer.weight)
        if key not in self._orders:
            entry = next(blob for blob in self.inputs if blob.name == reducer.entry.name)
            shape = self.regions.shapes[entry]
            rows = _sampled((values[entry] for values in self.fit()), self.regions.images * prod(shape[2:]))
            made = rows @ reducer.weight.reshape(len(reducer.weight), -1).T + reducer.bias
            made = np.maximum(made, 0) if reducer.rectified else made
            gram = (made.T @ made).astype(np.float64) / len(made)
            self._orders[key] = order(gram, reducer.conv, len(reducer.weight))
        return self._orders[key]


def entry_of(index: int, result: StepResult) -> dict[str, Any]:
    """Return what find_segments needs to know about a step. The index tells steps of one name apart."""
    return step_entry(index, result, {}, {}) | {"name": f"{result.step.name} {index}", "exact": result.exact}


def fit_segments(original: Graph, merged: Graph, segments: Sequence[Segment], feeds: Any, threads: int) -> None:
    """Fit the segments quickly, in place."""
    lsq(original, merged, segments, feeds, Fitting(threads=threads, **QUICK))


def _inputs_alone(part: Graph, known: Iterable[str]) -> Graph:
    """Return a network of inputs alone, whose values are fed: those of the part's inputs, and other blobs of it."""
    stand_in, shapes = Graph(part.name), infer_shapes(part)
    finals = part.finals
    for name in dict.fromkeys([*(blob.name for blob in part.inputs), *known]):
        shape = shapes[finals[name]]
        stand_in.insert(Layer(name, "Input", Input(shape=(shape,)), [], [Blob(name)]))
    return stand_in


def _sampled(batches: Iterable[np.ndarray], places: int) -> np.ndarray:
    """Return the channels of _ROWS to twice as many of the places in blobs (N, C, H, W), spread evenly: (rows, C)."""
    every, found = max(1, places // _ROWS), []
    for batch in batches:
        rows = batch.reshape(*batch.shape[:2], -1).transpose(0, 2, 1).reshape(-1, batch.shape[1])
        found.append(rows[::every])
    return np.concatenate(found)

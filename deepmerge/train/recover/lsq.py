"""The stages lsq and refit: each segment's linear layers are solved, by least squares, for the original's output.

    found = lsq(original, merged, find_segments(original, merged, entries), feeds, Fitting(seed=1))

The segments are solved in the network's order, each on the merged network's own inputs, so that it compensates the
errors of those before it. The targets are the original's values on the same images, at some places of each. A single
last layer has a closed form (kernels/ridge.py); with 1x1 reducers before it, the whole chain is fitted in rounds first
(kernels/stack.py). A part of the images is held out: layers keep their old weights if the new ones are no better there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepmerge.engines import engine
from deepmerge.graph.graph import Blob, Graph
from deepmerge.progress import Progress, silent
from deepmerge.train.recover.incremental import Feeds, Walk
from deepmerge.train.recover.layer_inputs import places, tile, tile_size, values_at
from deepmerge.train.recover.linear import chain_of, last_layers
from deepmerge.train.recover.segments import Segment
from deepmerge.train.recover.solve import Fitting, Task, task_for

HELD_OUT = 5  # one of this many images is held out
_NO_LAYER = "no linear layer makes its output with at most an activation between"
_TOO_FEW = "there are too few images"
_DEFAULTS = Fitting()


@dataclass(frozen=True)
class Solved:
    """A segment's result.

    error_before, error_after: ‖merged − original‖ / ‖original‖ at its output, in the channels solved for, on the
    held-out images, with the segments before it already solved. rows: places of all images, including held-out ones.
    layers: those with new weights. note: why there are none.
    """

    segment: str
    error_before: float
    error_after: float
    rows: int
    seconds: float
    layers: tuple[str, ...]
    note: str = ""

    def entry(self) -> dict[str, Any]:
        """Return the entry for report.json."""
        entry = asdict(self) | {"layers": list(self.layers)}
        return {key: value for key, value in entry.items() if value != ""}


def lsq(
    original: Graph,
    merged: Graph,
    segments: Sequence[Segment],
    feeds: Feeds,
    options: Fitting = _DEFAULTS,
    progress: Progress = silent,
) -> list[Solved]:
    """Solve the segments of `merged`, whose layers get new arrays, and return the results.

    feeds: returns the images batch by batch, the same each time: input blob → float32 (N, …). progress: called with the
    segment's name, the number of segments done, and of all. Once options.over(…) is true, the segments that are left
    keep their weights, and have no result.
    EngineError for a layer that the engine cannot run.
    """
    images = sum(len(next(iter(batch.values()))) for batch in feeds()) if segments else 0
    stage = _Stage(original, merged, segments, feeds, images, options)
    found = []
    for number, segment in enumerate(segments):
        progress(segment.name, number, len(segments))
        try:
            found.append(stage.solve(number))
        except _TimeIsUp:
            break
    return found


class _TimeIsUp(Exception):  # noqa: N818  # not an error
    """The segment under way is given up."""


class _Stage:
    """The two networks, both run from segment to segment."""

    def __init__(
        self, original: Graph, merged: Graph, segments: Sequence[Segment], feeds: Feeds, images: int, options: Fitting
    ):
        self.segments, self.options, self.images = segments, options, images
        kept = options.memory // 4
        self.theirs = Walk(original, feeds, images, engine("ort"), options.threads, kept)
        self.ours = Walk(merged, feeds, images, engine("ort"), options.threads, kept)
        self.shapes = self.ours.shapes
        self.longest = 0.0  # seconds of solving one segment, its rows gathered
        self.wanted, self.outputs = _outputs(original, segments), _outputs(merged, segments)

    def solve(self, number: int) -> Solved:
        """Solve one segment."""
        start = time.perf_counter()
        segment, output, options = self.segments[number], self.outputs[number], self.options
        tasks, tiled = self._tasks(segment, output)
        target, count = self._gather(number, tasks, self.shapes[output][1:], tiled)
        held = _held_out(count)
        rows = np.repeat(held, len(target) // max(count, 1))
        if options.over(self.longest):
            raise _TimeIsUp
        before, after, norm, changed = 0.0, 0.0, 0.0, []
        solving = time.perf_counter()
        for task in tasks if count > 1 else ():
            wanted = np.ascontiguousarray(target[:, task.to[0] : task.to[1]])
            outcome = task.solve(wanted, held, options)
            norm += float(np.square(wanted[rows], dtype=np.float64).sum())
            before, after = before + outcome.before, after + outcome.after
            changed += outcome.changed
        self.longest = max(self.longest, time.perf_counter() - solving)
        errors = [(error / max(norm, 1e-30)) ** 0.5 for error in (before, after)]
        note = ""
        if not tasks:
            note = _NO_LAYER
        elif count < 2:
            note = _TOO_FEW
        layers = tuple(dict.fromkeys(changed))  # a layer may have several ranges
        return Solved(segment.name, *errors, len(target), time.perf_counter() - start, layers, note)

    def _gather(self, number: int, tasks: list[Task], shape: tuple[int, ...], tiled: bool) -> tuple[np.ndarray, int]:
        """Fill the tasks; return the targets, (images·P, C), and the number of images."""
        every, targets = self._every(tasks, shape), []
        choose = tile if tiled else places
        for place, wanted, values in self._values(number, tasks):
            if tasks and place % every == 0:
                where = choose(shape, self.options.points, [self.options.seed, number, place])[None]
                targets.append(values_at(wanted, where))
                for task in tasks:
                    task.gather(values[task.bottom], where)
        return np.concatenate(targets) if targets else np.empty((0, 1), np.float32), len(targets)

    def _tasks(self, segment: Segment, output: Blob) -> tuple[list[Task], bool]:
        """Return what to solve, and whether the places must be in one tile."""
        merged = self.ours.graph
        free = {name for name in segment.trained if not merged.sharers(merged.layer(name))}
        lasts = last_layers(output, free, self.shapes)
        chains = [chain_of(last, free, self.shapes) if self.options.rounds else [] for last in lasts]
        tiled = any(len(chain) > 1 for chain in chains)
        shape = self.shapes[output][1:]
        size = tile_size(shape, self.options.points) if tiled else (1, 1)
        points = size[0] * size[1] if tiled else min(self.options.points, int(np.prod(shape[1:])))
        pairs = zip(lasts, chains, strict=True)
        return [task_for(last, chain, self.shapes, points, size) for last, chain in pairs], tiled

    def _every(self, tasks: list[Task], shape: tuple[int, ...]) -> int:
        """Return n so that every n-th image fits into memory, with the targets and what fitting needs."""
        floats = max((task.floats for task in tasks), default=0) + sum(task.floats for task in tasks)
        floats += 6 * shape[0] * self.options.points
        return max(1, -(-4 * floats * self.images // (self.options.memory // 2)))

    def _values(self, number: int, tasks: list[Task]) -> Iterator[tuple[int, np.ndarray, dict[Blob, np.ndarray]]]:
        """Yield image by image its number, the original's value at the segment's output, and what the tasks read."""
        wanted = self.wanted[number]
        bottoms = list(dict.fromkeys(task.bottom for task in tasks))
        changing = [self.ours.graph.layer(name) for later in self.segments[number:] for name in later.trained]
        theirs = self.theirs.through(self.theirs.front_after(wanted, self.wanted[number + 1 :]), [wanted])
        ours = self.ours.through(self.ours.front_before(changing, self.outputs[number:]), bottoms)
        place = 0
        for targets, values in zip(theirs, ours, strict=True):
            if self.options.over(0.0):
                raise _TimeIsUp
            for i in range(len(targets[wanted])):
                own = {blob: value[i : i + 1] for blob, value in values.items()}
                yield place + i, targets[wanted][i : i + 1], own
            place += len(targets[wanted])


def _outputs(graph: Graph, segments: Sequence[Segment]) -> list[Blob]:
    """Return the segments' output blobs in a graph."""
    finals = graph.finals
    return [finals[segment.output] for segment in segments]


def _held_out(count: int) -> np.ndarray:
    """Return which of the images are held out, bool (count,)."""
    if count < HELD_OUT:
        return np.arange(count) == count - 1
    return np.arange(count) % HELD_OUT == HELD_OUT - 1

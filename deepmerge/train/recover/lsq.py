"""The least-squares stage: the linear layers of each segment are solved for what the original has at its output.

    found = lsq(original, merged, find_segments(original, merged, entries), feeds, Options(seed=1))

Segment by segment, in the network's order, each on the merged network's own inputs, so that it makes up for what those
before it got wrong; the targets are the original's, on the same images, at some places of each. A last layer by itself has a
closed form (kernels/ridge.py); with 1x1 reducers and the like before it, all of the chain is fitted in rounds first
(kernels/stack.py). A part of the images is held out: layers keep their old weights where the new ones do no better there.
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
from deepmerge.train.recover.linear import chain_of, last_layers
from deepmerge.train.recover.patches import places, tile, tile_size, values_at
from deepmerge.train.recover.segments import Segment
from deepmerge.train.recover.solve import STRENGTHS, Effort, Task, task_for

HELD_OUT = 5  # of every so many images, the last one
_NO_LAYER = "no linear layer stands before its output, with at most an activation between"
_TOO_FEW = "there are too few images"


@dataclass(frozen=True)
class Options:
    """points: at most about so many places of each image. memory: bytes, about; half of it for a segment's rows (where that is
    too little, of fewer images), a quarter for what is kept of each network's values (where that is too little, they are
    computed anew). threads: of ONNX Runtime. iterations, rounds, strength: see solve.Effort.
    """

    seed: int = 0
    points: int = 60
    memory: int = 4 << 30
    threads: int = 1
    iterations: int = 30
    rounds: int = 20
    strength: float = STRENGTHS[0]


@dataclass(frozen=True)
class Solved:
    """What became of a segment.

    error_before, error_after: ‖merged − original‖ / ‖original‖ at its output, in the channels solved for, on the images held
    out, from inputs that the segments before it, solved, have made. rows: places of all images, those held out included.
    layers: those that have new weights. note: why there are none.
    """

    segment: str
    error_before: float
    error_after: float
    rows: int
    seconds: float
    layers: tuple[str, ...]
    note: str = ""

    def entry(self) -> dict[str, Any]:
        """For report.json."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value != ""
        }


def lsq(
    original: Graph, merged: Graph, segments: Sequence[Segment], feeds: Feeds, options: Options | None = None,
    progress: Progress = silent, images: int | None = None,
) -> list[Solved]:  # fmt: skip
    """Solve the segments of `merged`, whose layers get new arrays, and tell what it was worth.

    feeds: gives the images each time that it is called, batch by batch, the same ones: input blob → float32 (N, …).
    progress: called with what begins, how many segments are done, how many there are. images: how many feeds gives (they are
    counted, if it is not told). EngineError for a layer that the engine cannot run.
    """
    if images is None:
        images = sum(len(next(iter(batch.values()))) for batch in feeds()) if segments else 0
    stage = _Stage(original, merged, segments, feeds, images, options or Options())
    found = []
    for number, segment in enumerate(segments):
        progress(segment.name, number, len(segments))
        found.append(stage.solve(number))
    return found


class _Stage:
    """The two networks, both gone through from segment to segment."""

    def __init__(
        self, original: Graph, merged: Graph, segments: Sequence[Segment], feeds: Feeds, images: int, options: Options
    ):
        self.merged, self.segments, self.options, self.images = merged, segments, options, images
        run = engine("ort")
        self.walks = [
            Walk(graph, feeds, images, run, options.threads, options.memory // 4) for graph in (original, merged)
        ]
        self.shapes = self.walks[1].shapes
        finals = [{blob.name: blob for blob in graph.blobs} for graph in (original, merged)]
        self.wanted, self.outputs = ([blobs[segment.output] for segment in segments] for blobs in finals)

    def solve(self, number: int) -> Solved:
        start = time.perf_counter()
        segment, output = self.segments[number], self.outputs[number]
        tasks, tiled = self._tasks(segment, output)
        target, count = self._gather(number, tasks, self.shapes[output][1:], tiled)
        held = np.arange(count) % HELD_OUT == HELD_OUT - 1 if count >= HELD_OUT else np.arange(count) == count - 1
        rows = np.repeat(held, len(target) // max(count, 1))
        effort = Effort(self.options.iterations, self.options.rounds, self.options.seed, self.options.strength)
        before, after, norm, changed = 0.0, 0.0, 0.0, []
        for task in tasks if count > 1 else ():
            wanted = np.ascontiguousarray(target[:, task.to[0] : task.to[1]])
            outcome = task.solve(wanted, held, effort)
            norm += float(np.square(wanted[rows], dtype=np.float64).sum())
            before, after = before + outcome.before, after + outcome.after
            changed += outcome.changed
        note = _NO_LAYER if not tasks else _TOO_FEW if count < 2 else ""
        errors = [(error / max(norm, 1e-30)) ** 0.5 for error in (before, after)]
        return Solved(segment.name, *errors, len(target), time.perf_counter() - start, tuple(changed), note)

    def _gather(self, number: int, tasks: list[Task], shape: tuple[int, ...], tiled: bool) -> tuple[np.ndarray, int]:
        """Fills the tasks, and gives the targets (images·P, C), and of how many images they are."""
        every, targets = self._every(tasks, shape), []
        for place, wanted, values in self._values(number, tasks):
            if tasks and place % every == 0:
                where = (tile if tiled else places)(shape, self.options.points, [self.options.seed, number, place])[
                    None
                ]
                targets.append(values_at(wanted, where))
                for task in tasks:
                    task.gather(values[task.bottom], where)
        return np.concatenate(targets) if targets else np.empty((0, 1), np.float32), len(targets)

    def _tasks(self, segment: Segment, output: Blob) -> tuple[list[Task], bool]:
        """What is to be solved, and whether the places are to lie in a tile."""
        free = {name for name in segment.trained if not self.merged.sharers(self.merged.layer(name))}
        lasts = last_layers(output, free, self.shapes)
        chains = [chain_of(last, free, self.shapes) if self.options.rounds else [] for last in lasts]
        tiled = any(len(chain) > 1 for chain in chains)
        shape = self.shapes[output][1:]
        size = tile_size(shape, self.options.points) if tiled else (1, 1)
        points = size[0] * size[1] if tiled else min(self.options.points, int(np.prod(shape[1:])))
        return [
            task_for(last, chain, self.shapes, points, size) for last, chain in zip(lasts, chains, strict=True)
        ], tiled

    def _every(self, tasks: list[Task], shape: tuple[int, ...]) -> int:
        """Of every so many images one is used: as many as the memory holds, with the targets and what fitting needs."""
        floats = max((task.floats for task in tasks), default=0) + sum(task.floats for task in tasks)
        floats += 6 * shape[0] * self.options.points
        return max(1, -(-4 * floats * self.images // (self.options.memory // 2)))

    def _values(self, number: int, tasks: list[Task]) -> Iterator[tuple[int, np.ndarray, dict[Blob, np.ndarray]]]:
        """Image by image: the original's value at the segment's output, and the merged network's where the tasks read."""
        bottoms = list(dict.fromkeys(task.bottom for task in tasks))
        changing = [self.merged.layer(name) for later in self.segments[number:] for name in later.trained]
        front = self.walks[0].front_behind(self.wanted[number], self.wanted[number + 1 :])
        ours = self.walks[1].front_before(changing, self.outputs[number:])
        place = 0
        both = zip(
            self.walks[0].through(front, [self.wanted[number]]), self.walks[1].through(ours, bottoms), strict=True
        )
        for theirs, values in both:
            (wanted,) = theirs.values()
            for i in range(len(wanted)):
                yield place + i, wanted[i : i + 1], {blob: value[i : i + 1] for blob, value in values.items()}
            place += len(wanted)

"""The least-squares stage: each segment's last linear layers are solved for what the original has at its output.

    figures = lsq(original, merged, find_segments(original, merged, entries), feeds, seed=1)

Segment by segment, in the network's order, each on the merged network's own inputs, so that it makes up for what those
before it got wrong; the targets are the original's, on the same images, at some places of each. See kernels/ridge.py for the
formulas. A part of the images is held out: a layer keeps its old weights where the new ones do no better there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.engines import engine
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.ridge import Normal, activated, fit, loss, predict
from deepmerge.recover.linear import Last, last_layers
from deepmerge.recover.partial import Part
from deepmerge.recover.patches import group_of, matrix_of, patches_at, places, store, values_at
from deepmerge.recover.segments import Segment
from deepmerge.recover.walk import Feeds, Walk

if TYPE_CHECKING:
    from deepmerge.engines.base import Engine

POINTS = 60  # places of an image
HELD_OUT = 5  # of every so many images, the last one
MEMORY = 2 << 30  # bytes, for the rows of a segment, and for what is kept of the networks' values
STRENGTHS = (1e-5, 1e-3, 1e-1)  # of the ridge; the first alone, where rows are plenty
PLENTY = 20  # rows for each input


@dataclass(frozen=True)
class Options:
    """points: at most so many places of each image. memory: bytes, about. threads: of the engine (ONNX Runtime)."""

    seed: int = 0
    points: int = POINTS
    memory: int = MEMORY
    threads: int = 1
    iterations: int = 30


@dataclass(frozen=True)
class Solved:
    """What became of a segment.

    error_before, error_after: ‖merged − original‖ / ‖original‖ at its output, in the channels solved for, on the images held out.
    rows: how many places there were. layers: those that have new weights. note: why there are none.
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
        return {key: value for key, value in asdict(self).items() if value != ""}


Progress = Callable[[str, int, int], None]


def lsq(
    original: Graph, merged: Graph, segments: Sequence[Segment], feeds: Feeds, options: Options | None = None,
    progress: Progress = lambda what, done, total: None,
) -> list[Solved]:  # fmt: skip
    """Solve the segments of `merged`, whose layers get new arrays, and tell what it was worth.

    feeds: gives the images each time that it is called, batch by batch, the same ones: input blob → float32 (N, …).
    progress: called with what begins, how much is done, how much there is.
    """
    options = options or Options()
    return _Stage(original, merged, segments, feeds, options).run(progress)


class _Stage:
    def __init__(self, original: Graph, merged: Graph, segments: Sequence[Segment], feeds: Feeds, options: Options):
        self.original, self.merged, self.segments, self.options = original, merged, segments, options
        self.feeds, self.engine = feeds, engine("ort")
        self.shapes = infer_shapes(merged)
        finals = {blob.name: blob for blob in merged.blobs}
        self.outputs = [finals[segment.output] for segment in segments]
        self.lasts = [self._last(segment, blob) for segment, blob in zip(segments, self.outputs, strict=True)]

    def _last(self, segment: Segment, output: Blob) -> list[Last]:
        free = {name for name in segment.trained if not self.merged.sharers(self.merged.layer(name))}
        return last_layers(output, free, self.shapes)

    def run(self, progress: Progress) -> list[Solved]:
        progress("the original's values", 0, len(self.segments))
        start = time.perf_counter()
        where, targets = self._targets()
        first = time.perf_counter() - start
        images = len(where[0]) if where else 0
        walk = Walk(self.merged, self.feeds, images, self.engine, self.options.threads, self.options.memory)
        found = []
        for number, segment in enumerate(self.segments):
            progress(segment.name, number, len(self.segments))
            begun = time.perf_counter() - first / len(self.segments)
            found.append(self._solve(number, walk, where[number], targets[number], begun))
            targets[number] = np.empty(0)
        return found


    def _targets(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """For each segment the places (images, P), and the original's values there (images·P, C)."""
        finals, shapes = {blob.name: blob for blob in self.original.blobs}, infer_shapes(self.original)
        blobs = [finals[segment.output] for segment in self.segments]
        where: list[list[np.ndarray]] = [[] for _ in blobs]
        values: list[list[np.ndarray]] = [[] for _ in blobs]
        image = 0
        with Part(self.original, self.original.inputs, dict.fromkeys(blobs), shapes, self.engine, self.options.threads) as part:
            for batch in self.feeds():
                made = part.run({blob: batch[blob.name] for blob in self.original.inputs})
                count = len(made[blobs[0]]) if blobs else 0
                for number, blob in enumerate(blobs):
                    chosen = [
                        places(shapes[blob][1:], self.options.points, [self.options.seed, number, image + i])
                        for i in range(count)
                    ]
                    where[number].append(np.array(chosen))
                    values[number].append(values_at(made[blob], where[number][-1]))
                image += count
        return [np.concatenate(w) for w in where], [np.concatenate(v) for v in values]

    def _solve(self, number: int, walk: Walk, where: np.ndarray, target: np.ndarray, begun: float) -> Solved:
        segment, lasts = self.segments[number], self.lasts[number]
        changing = [self.merged.layer(name) for later in self.segments[number:] for name in later.trained]
        bottoms = list(dict.fromkeys(last.layer.bottom for last in lasts))
        rows: dict[Layer, list[np.ndarray]] = {last.layer: [] for last in lasts}
        image = 0
        for values in walk.through(changing, self.outputs[number:], bottoms):
            if bottoms:
                here = where[image : image + len(values[bottoms[0]])]
                image += len(here)
                for last in lasts:
                    width = (self.shapes[last.layer.top] + (1, 1))[3]
                    rows[last.layer].append(patches_at(last.layer, values[last.layer.bottom], here, width))
        held = np.repeat(np.arange(len(where)) % HELD_OUT == HELD_OUT - 1, where.shape[1])
        before = after = norm = 0.0
        changed = []
        for last in lasts:
            x = np.concatenate(rows.pop(last.layer))
            y = target[:, last.to[0] : last.to[1]]
            old, new = solve_layer(last, x, y, held, self.options)
            norm += float(np.square(y[held], dtype=np.float64).sum())
            before += old
            after += min(old, new)
            if new < old:
                changed.append(last.layer.name)
        done = time.perf_counter() - begun
        share = max(norm, 1e-30)
        note = "" if lasts else "no linear layer stands before its output, with at most an activation between"
        return Solved(segment.name, (before / share) ** 0.5, (after / share) ** 0.5, len(target), done, tuple(changed), note)


def solve_layer(last: Last, x: np.ndarray, y: np.ndarray, held: np.ndarray, options: Options) -> tuple[float, float]:
    """Solve one layer from rows x of what it reads and y of what is wanted, and give it the new weights if they are better.

    held: the rows to judge by. Returns the sums of squared errors there before and with the new weights.
    """
    layer, group = last.layer, group_of(last.layer)
    matrix = matrix_of(layer)
    new = matrix.copy()
    bias = len(matrix) > x.shape[1] // group
    outputs = matrix.shape[1] // group
    before = after = 0.0
    for g in range(group):
        columns = np.arange(max(last.own[0], g * outputs), min(last.own[1], (g + 1) * outputs))
        if not len(columns):
            continue
        part = x[:, g * (x.shape[1] // group) : (g + 1) * (x.shape[1] // group)]
        if bias:
            part = np.hstack([part, np.ones((len(part), 1), part.dtype)])
        at = columns - last.own[0]
        slope = None if last.slope is None else last.slope[at]
        made, old_error, error = _best(part, y[:, at], matrix[:, columns], slope, held, bias, options)
        new[:, columns] = made
        before += old_error
        after += error
    if after < before:
        store(layer, new)
    return before, after


def _best(x, y, start, slope, held, bias: bool, options: Options) -> tuple[np.ndarray, float, float]:
    """The weights of the strength that does best on the rows held out, and the errors there before and with them."""
    inside, outside = np.ascontiguousarray(x[~held]), x[held]
    wanted, judge = np.ascontiguousarray(y[~held]), y[held]

    def error(weight: np.ndarray) -> float:
        return float(np.square(activated(predict(outside, weight), slope) - judge, dtype=np.float64).sum())

    strengths = STRENGTHS[:1] if len(inside) >= PLENTY * x.shape[1] else STRENGTHS
    made = [fit(Normal(inside, strength, bias), wanted, start, slope, options.iterations) for strength in strengths]
    errors = [error(weight) for weight in made]
    best = int(np.argmin(errors))
    return made[best], error(start), errors[best]

"""A graph's moments: images go through it, and what its layers are fed is summed up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from deepmerge.convert.calibrate.patches import patches, places
from deepmerge.convert.calibrate.sums import Sums
from deepmerge.engines.base import Engine
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.moments import Moments

PLACES = 32  # looked at in each image
MOST_VALUES = 4608  # of a patch whose covariance is held: a 3x3 kernel over 512 channels
MOST_BYTES = 1 << 31  # of all covariances together


@dataclass
class _Probe:
    """One bottom, seen through one window, and the layers that look at it so. values: of a patch, in each group."""

    layers: list[Layer]
    group: int
    values: int
    taps: int
    kind: str
    sums: Sums = field(init=False)

    @property
    def bytes(self) -> int:
        return 8 * self.group * self.values**2

    def add(self, bottom: np.ndarray, sizes: tuple[int, ...], images: Iterable[int]) -> None:
        """bottom: (N, …). sizes: the top's height and width. images: their numbers, by which places are drawn."""
        first = self.layers[0]
        if first.type == "InnerProduct":
            rows = bottom.reshape(len(bottom), -1)
            weight = first.weights[0] if first.params.transpose else first.weights[0].T
            self.sums.add((rows @ weight)[None])
        else:
            where = np.stack([places(image, sizes[-2:], PLACES) for image in images])
            self.sums.add(patches(bottom, where, first.params))


def collect(
    graph: Graph, names: Collection[str], batches: Iterable[np.ndarray], engine: Engine,
    progress: Callable[[int], None] = lambda images: None,
) -> tuple[dict[str, Moments], list[str]]:  # fmt: skip
    """The moments of the Convolution and InnerProduct layers among `names`, and the names of those that are separable.

    batches: float32 (N, …) for the graph's only input. progress: called with how many images are done.
    Layers that look at the same bottom through the same window share theirs. A patch of too many values, or of too many
    with those of the others, has no covariance of its own: it is separable.
    """
    twin = graph.copy()
    for number, blob in enumerate(twin.blobs):  # in place or not, a bottom is to be had under its own name
        if blob.producer.type != "Input":
            blob.name = f"{blob.name}@{number}"
    probes = _probes(twin, names)
    if not probes:
        return {}, []
    bottoms = list(dict.fromkeys(probe.layers[0].bottom.name for probe in probes))
    shapes, done = infer_shapes(twin), 0
    with engine.load(twin) as session:
        (feed,) = session.inputs
        for batch in _fixed(batches, twin):
            values = session.forward({feed: batch.fed}, bottoms)
            for probe in probes:
                first = probe.layers[0]
                probe.add(
                    values[first.bottom.name][: batch.images], shapes[first.top], range(done, done + batch.images)
                )
            done += batch.images
            progress(done)
    found: dict[str, Moments] = {}
    for probe in probes:
        found |= dict.fromkeys([layer.name for layer in probe.layers], probe.sums.moments())
    separable = [layer.name for probe in probes if probe.kind == "separable" for layer in probe.layers]
    return found, [name for name in (layer.name for layer in graph.layers) if name in set(separable)]


def _probes(graph: Graph, names: Collection[str]) -> list[_Probe]:
    wanted = set(names)
    probes: dict[tuple, _Probe] = {}
    for layer in graph.layers:
        if layer.name not in wanted or layer.type not in ("Convolution", "InnerProduct") or not layer.weights:
            continue
        p, weight = layer.params, layer.weights[0]
        if layer.type == "InnerProduct":
            probes[(layer.name,)] = _Probe([layer], 1, p.num_output, 1, "outputs")
        elif weight.ndim == 4:
            key = layer.bottom.name, p.kernel, p.stride, p.pad, p.dilation, p.group
            new = _Probe([], p.group, int(np.prod(weight.shape[1:])), p.kernel_h * p.kernel_w, "patches")
            probes.setdefault(key, new).layers.append(layer)
    _bound(list(probes.values()))
    for probe in probes.values():
        probe.sums = Sums(probe.kind, probe.taps)
    return list(probes.values())


def _bound(probes: list[_Probe]) -> None:
    """Let the largest be separable, until the rest fits."""
    total = 0
    for probe in sorted(probes, key=lambda probe: probe.values):
        total += probe.bytes if probe.values <= MOST_VALUES else 0
        if probe.kind == "patches" and probe.taps > 1 and (probe.values > MOST_VALUES or total > MOST_BYTES):
            probe.kind = "separable"


@dataclass(frozen=True)
class _Fed:
    fed: np.ndarray
    images: int  # how many of the first count; the others fill up a batch of fixed size


def _fixed(batches: Iterable[np.ndarray], graph: Graph) -> Iterable[_Fed]:
    """The batches, of the declared size where the network holds at no other."""
    size = fixed_batch(graph)
    for batch in batches:
        for start in range(0, len(batch), size or len(batch)):
            part = batch[start : start + (size or len(batch))]
            images = len(part)
            if size and images < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - images, axis=0)])
            yield _Fed(part, images)


def fixed_batch(graph: Graph) -> int | None:
    """The batch that the network was declared with, where it holds at no other (a Reshape to a fixed size, say)."""
    from deepmerge.errors import ShapeError

    shapes = infer_shapes(graph)
    first = shapes[graph.inputs[0]][0]
    try:
        larger = infer_shapes(graph, batch=first + 1)
    except ShapeError:
        return first
    outputs = [(shapes[blob], larger[blob]) for blob in graph.outputs]
    alike = all(a is None or b is None or (b[0] != a[0] and b[1:] == a[1:]) for a, b in outputs if a or b)
    return None if alike else first

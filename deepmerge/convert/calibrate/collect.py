"""The moments of layers' inputs: images run through the graph, and running sums collect what the layers read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from deepmerge.engines.base import Engine
from deepmerge.graph.batching import declared_batch, runs_at_any_batch
from deepmerge.graph.graph import Graph, Layer
from deepmerge.graph.shapes import infer_shapes
from deepmerge.kernels.moments import Moments
from deepmerge.kernels.patches import patches
from deepmerge.passes.support.weights import weight_of

PLACES = 32  # looked at in each image
MOST_VALUES = 4608  # of a patch whose covariance is kept: a 3x3 kernel over 512 channels
MOST_BYTES = 1 << 31  # of one layer's covariances; if all layers need more, the largest patches become separable


def collect(
    graph: Graph,
    names: Collection[str],
    batches: Iterable[np.ndarray],
    engine: Engine,
    progress: Callable[[int], None] = lambda images: None,
) -> tuple[dict[str, Moments], list[str]]:
    """Return the moments of the Convolution and InnerProduct layers among `names`, and which of them are separable.

    Layers that read the same bottom through the same windows share their moments. Patches of several taps with too many
    values, or with too many together with the smaller ones, have no covariance of their own: they are separable (see
    Moments). A layer has no moments if its covariances alone are too large, or if its bottom does not have one row for
    each image (after a Slice of the batch, or a Reshape that gives an image several rows).

    Parameters
    ----------
    batches : iterable of ndarray, float32, (N, …)
        For the graph's only input.
    progress : callable
        Called with the number of images that are done.
    """
    twin = graph.copy()
    for number, blob in enumerate(twin.blobs):  # each bottom needs its own name, also where layers run in place
        if blob.producer.type != "Input":
            twin.rename(blob, f"{blob.name}@{number}")
    probes = _probes(twin, names)
    if not probes:
        return {}, []
    bottoms = list(dict.fromkeys(probe.layers[0].bottom.name for probe in probes))
    shapes, done = infer_shapes(twin), 0
    with engine.load(twin) as session:
        (feed,) = session.inputs
        for batch, count in filled(batches, twin):
            values = session.forward({feed: batch}, bottoms)
            probes = [probe for probe in probes if len(values[probe.layers[0].bottom.name]) == len(batch)]
            if not probes:
                return {}, []
            for probe in probes:
                first = probe.layers[0]
                probe.add(values[first.bottom.name][:count], shapes[first.top], range(done, done + count))
            done += count
            progress(done)
    found: dict[str, Moments] = {}
    for probe in probes:
        found |= dict.fromkeys([layer.name for layer in probe.layers], probe.sums.moments())
    return found, [
        layer.name for layer in graph.layers if layer.name in found and found[layer.name].kind == "separable"
    ]


class Sums:
    """Running sums for the mean and covariance of rows that come in pieces.

    Products are computed in float32, from the values less the first piece's mean, and added in float64.

    Parameters
    ----------
    kind : {"patches", "separable", "outputs"}
        As in Moments.
    taps : int
        kernel_h * kernel_w.
    """

    def __init__(self, kind: str, taps: int = 1):
        self.kind, self.taps, self.count = kind, taps, 0

    def add(self, rows: np.ndarray) -> None:
        """Add rows, float32, (group, n, values)."""
        if self.count == 0:
            self._begin(rows)
        rows = rows - self.first[:, None]
        self.count += rows.shape[1]
        self.total += rows.sum(axis=1, dtype=np.float64)
        if self.kind == "separable":
            group, count, values = rows.shape
            cubes = rows.reshape(group, count, values // self.taps, self.taps)
            lines = cubes.transpose(0, 1, 3, 2).reshape(group, -1, values // self.taps)
            self.products += lines.transpose(0, 2, 1) @ lines
            lines = cubes.reshape(group, -1, self.taps)
            self.tap_products += lines.transpose(0, 2, 1) @ lines
        else:
            self.products += rows.transpose(0, 2, 1) @ rows

    def moments(self) -> Moments:
        """Return the moments of the rows so far, at least one; the sums cannot be used after that."""
        rest = self.total / self.count
        mean = self.first + rest
        covariance, tap_covariance = self.products, None
        covariance /= self.count
        if self.kind == "separable":
            cubes = rest.reshape(len(rest), -1, self.taps)
            covariance -= cubes @ cubes.transpose(0, 2, 1)
            tap_covariance = self.tap_products / self.count - cubes.transpose(0, 2, 1) @ cubes
        else:
            covariance -= rest[:, :, None] * rest[:, None, :]
        return Moments(self.kind, mean, covariance, tap_covariance, self.count)

    def _begin(self, rows: np.ndarray) -> None:
        group, _, values = rows.shape
        self.first = rows.mean(axis=1, dtype=np.float64).astype(np.float32)
        self.total = np.zeros((group, values))
        size = values // self.taps if self.kind == "separable" else values
        self.products = np.zeros((group, size, size))
        self.tap_products = np.zeros((group, self.taps, self.taps))


@dataclass
class _Probe:
    """Layers that read the same bottom through the same windows. values: those of a patch, in each group."""

    layers: list[Layer]
    group: int
    values: int
    taps: int
    kind: str
    sums: Sums = field(init=False)

    @property
    def bytes(self) -> int:
        sizes = (self.values // self.taps, self.taps) if self.kind == "separable" else (self.values,)
        return 8 * self.group * sum(size**2 for size in sizes)

    def add(self, bottom: np.ndarray, shape: tuple[int, ...], images: Iterable[int]) -> None:
        """Add a bottom (N, …) of these images. shape: the top's. images: their numbers, which seed the places."""
        first = self.layers[0]
        if first.type == "InnerProduct":
            self.sums.add((bottom.reshape(len(bottom), -1) @ weight_of(first).T)[None])
            return
        where = np.stack([places(image, shape[-2:], PLACES) for image in images])
        rows = patches(bottom, where[..., 0], where[..., 1], first.params).reshape(where[..., 0].size, self.group, -1)
        self.sums.add(np.ascontiguousarray(rows.transpose(1, 0, 2)))


def places(seed: int, size: tuple[int, int], most: int) -> np.ndarray:
    """Return (n, 2) places (y, x) in a top of (height, width): all, or `most` at random, the same for the same seed."""
    height, width = size
    if height * width <= most:
        return np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    return np.minimum(np.random.default_rng(seed).random((most, 2)) * size, (height - 1, width - 1)).astype(np.int64)


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
    found = _limit(list(probes.values()))
    for probe in found:
        probe.sums = Sums(probe.kind, probe.taps)
    return found


def _limit(probes: list[_Probe]) -> list[_Probe]:
    """Make the largest patches separable until the rest fits; return all but those that do not fit by themselves."""
    total = 0
    for probe in sorted(probes, key=lambda probe: probe.values):
        total += probe.bytes if probe.values <= MOST_VALUES else 0
        if probe.kind == "patches" and probe.taps > 1 and (probe.values > MOST_VALUES or total > MOST_BYTES):
            probe.kind = "separable"
    return [probe for probe in probes if probe.bytes <= MOST_BYTES]


def filled(batches: Iterable[np.ndarray], graph: Graph) -> Iterator[tuple[np.ndarray, int]]:
    """Yield batches with their numbers of images; a network with a fixed batch gets that size, filled up at the end."""
    size = None if runs_at_any_batch(graph) else declared_batch(graph)
    for batch in batches:
        for start in range(0, len(batch), size or len(batch)):
            part = batch[start : start + (size or len(batch))]
            count = len(part)
            if size and count < size:
                part = np.concatenate([part, np.repeat(part[-1:], size - count, axis=0)])
            yield part, count

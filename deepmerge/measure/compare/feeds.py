"""What both networks are fed: random images, or real ones, in chunks that fit into memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from deepmerge.data import Images, Loader, Preprocessing
from deepmerge.errors import GraphError, ReadError
from deepmerge.graph import Graph
from deepmerge.graph.batching import declared_batch, runs_at_any_batch
from deepmerge.graph.memory import activation_bytes
from deepmerge.graph.shapes import Shape, infer_shapes

CHUNK = 8  # images
CHUNK_BYTES = 256 << 20  # of activations

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Chunk:
    """What one run takes. images: how many of the first entries count; the others fill up a batch of fixed size."""

    feeds: Feeds
    images: int


@dataclass(frozen=True)
class Batching:
    """How many images a run takes, and whether it must be exactly so many (else: at most)."""

    size: int
    fixed: bool


def choose_batching(graphs: Iterable[Graph], all_blobs: bool) -> Batching:
    """Eight images, fewer where their activations are large; the declared batch where a network holds at no other.

    all_blobs: every blob will be looked at, and thus kept. GraphError where the networks want different batches.
    """
    graphs = list(graphs)
    fixed = {declared_batch(graph) for graph in graphs if not runs_at_any_batch(graph)}
    if len(fixed) > 1:
        raise GraphError(
            f"the networks cannot be compared: they hold at a batch of {' and of '.join(map(str, sorted(fixed)))} only"
        )
    if fixed:
        return Batching(fixed.pop(), True)
    if not all_blobs:
        return Batching(CHUNK, False)
    each = max(activation_bytes(graph, infer_shapes(graph, strict=False, batch=1))["unique"] for graph in graphs)
    return Batching(int(np.clip(CHUNK_BYTES // max(each, 1), 1, CHUNK)), False)


def random_chunks(
    inputs: dict[str, Shape], count: int, seed: int, batching: Batching, preprocessing: Preprocessing
) -> Iterator[Chunk]:
    """`count` images, each value uniform in 0..255 before the mean is subtracted and the scale applied; inputs that
    have no four axes get values uniform in 0..1. The same seed gives the same images in chunks of any size.
    """
    draws = {name: np.random.default_rng([seed, index]) for index, name in enumerate(inputs)}
    together = len({shape[0] for shape in inputs.values() if shape}) == 1
    for start in range(0, count, batching.size):
        wanted = min(batching.size, count - start)
        size = batching.size if batching.fixed else wanted
        feeds = {}
        for name, shape in inputs.items():
            made = draws[name].random((size, *shape[1:]) if together and shape else shape, dtype=np.float32)
            feeds[name] = _image(made * np.float32(255), preprocessing) if len(shape) == 4 else made
        yield Chunk(feeds, wanted)


def _image(values: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The mean may be another input's, of other channels or size, where a network has several."""
    if not preprocessing.fits(values.shape):
        preprocessing = Preprocessing(scale=preprocessing.scale)
    return preprocessing.normalised(values)


def image_chunks(
    inputs: dict[str, Shape], images: Images, limit: int | None, batching: Batching, preprocessing: Preprocessing,
    strict: bool, skipped: list[str],
) -> tuple[int, Iterator[Chunk]]:  # fmt: skip
    """How many images there are at most, and the chunks; why some could not be read is appended to `skipped`."""
    name, shape = image_input(inputs, images.ready)
    loader = Loader(images, preprocessing, shape, batching.size, limit=limit, strict=strict, cache_bytes=0)
    return loader.count, _chunked(name, loader, batching, skipped)


def image_input(inputs: dict[str, Shape], ready: bool = False) -> tuple[str, Shape]:
    """The only input, if images can go there (what is `ready` needs no preprocessing, and has any shape); else ReadError."""
    if len(inputs) != 1:
        raise ReadError(
            f"--images feeds one input, and the network has {len(inputs)} ({', '.join(inputs)}); use --random"
        )
    ((name, shape),) = inputs.items()
    if not ready and (len(shape) != 4 or shape[1] not in (1, 3)):
        raise ReadError(
            f"--images wants an input of 3 channels (or 1), height and width; {name!r} is {shape}; use --random"
        )
    return name, shape


def _chunked(name: str, loader: Loader, batching: Batching, skipped: list[str]) -> Iterator[Chunk]:
    for batch in loader.once():
        data, wanted = batch.data, len(batch.data)
        if batching.fixed and wanted < batching.size:
            data = np.concatenate([data, np.repeat(data[-1:], batching.size - wanted, axis=0)])
        yield Chunk({name: data}, wanted)
    skipped += loader.skipped

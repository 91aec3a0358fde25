"""What both networks are fed: random images or real ones, in chunks that fit into memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepmerge.data import Loader, Preprocessing
from deepmerge.graph.shapes import Shape
from deepmerge.measure.batching import Batching

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Chunk:
    """What one run takes. images: how many of the first entries count; the others only fill a batch of fixed size."""

    feeds: Feeds
    images: int


def random_chunks(
    inputs: dict[str, Shape], count: int, seed: int, batching: Batching, preprocessing: Preprocessing
) -> Iterator[Chunk]:
    """Yield `count` random images: values uniform in 0..255, with mean and scale applied.

    Inputs without four axes get values uniform in 0..1. The same seed gives the same images in chunks of any size.
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
    # the mean may be that of another input, of other channels or size
    if not preprocessing.fits(values.shape):
        preprocessing = Preprocessing(scale=preprocessing.scale)
    return preprocessing.normalised(values)


def image_chunks(input: str, loader: Loader, batching: Batching) -> Iterator[Chunk]:
    """Yield the loader's images, each once, for the blob `input`."""
    for batch in loader.once():
        data, wanted = batch.data, len(batch.data)
        if batching.fixed and wanted < batching.size:
            data = np.concatenate([data, np.repeat(data[-1:], batching.size - wanted, axis=0)])
        yield Chunk({input: data}, wanted)

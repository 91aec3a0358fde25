"""The images that a choice is made by: some to fit on, some to judge choices by, some to check the result on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from deepmerge.choose.replay import MEMORY, Replay
from deepmerge.data import ImageWishes, Loader, Loading, network_transform, open_network_images
from deepmerge.errors import ReadError
from deepmerge.graph.batching import require_rows
from deepmerge.graph.graph import Graph

BATCH = 16
FEWEST = 30  # with fewer images, nothing can be said
TURNS = ("fit", "judge", "check", "check")  # what the images are for, one after the other
LEAST = FEWEST // len(TURNS)  # images for one of these that can be read


@dataclass(frozen=True)
class ImageSets:
    """Images in batches, float32 (N, C, H, W), as in the TEST phase, for the input blob `input`.

    fit, judge: those that choices are fitted on and judged by. check: those that took part in nothing before; they are
    not read yet. notes: warnings; those about `check` come when it is read.
    """

    input: str
    fit: Replay
    judge: Replay
    check: Replay
    notes: list[str]


def image_sets(spec: str, graph: Graph, prototxt: Path, wishes: ImageWishes, count: int, strict: bool) -> ImageSets:
    """Read `count` images of a source, spread evenly, and divide them.

    Raises ReadError if there are too few, or if `strict` and there is a note; GraphError if the network is bound to its
    batch.
    """
    opened = open_network_images(spec, graph)
    require_rows(graph)
    how, notes = opened.preprocessing(network_transform(graph, prototxt, "TEST"), wishes)
    if strict and notes:
        raise ReadError(f"--strict: {notes[0]} (a warning, without --strict)")
    source = opened.source
    count = min(count, source.count)
    if count < FEWEST:
        raise ReadError(f"{spec}: has {count} images; choosing takes {FEWEST} or more")
    places = [place * source.count // count for place in range(count)]
    kinds = (TURNS * count)[:count]  # in turn: a source is often sorted by class
    loaders = {}
    in_batches = 4 * prod(opened.shape[1:]) * count <= MEMORY  # then no decoded picture is needed again
    loading = Loading(strict=strict, cache_bytes=0) if in_batches else Loading(strict=strict)
    for kind in dict.fromkeys(TURNS):
        own = source.some([place for place, one in zip(places, kinds, strict=True) if one == kind])
        loaders[kind] = Loader(own, how, opened.shape, BATCH, loading)
    sets = {kind: Replay(partial(_read, one, kind, notes)) for kind, one in loaders.items()}
    for kind in ("fit", "judge"):
        for _ in sets[kind]:  # read once, to know which cannot be read
            pass
    return ImageSets(opened.input, **sets, notes=notes)


def _read(loader: Loader, kind: str, notes: list[str]) -> Iterator[np.ndarray]:
    """Yield the batches, and add to `notes` which images cannot be read. ReadError if too few can."""
    yield from (batch.data for batch in loader.once())
    skipped = loader.skipped
    if (left := loader.count - len(skipped)) < LEAST:
        text = f"only {left} of the {loader.count} images to {kind} could be read, and choosing takes {LEAST}"
        raise ReadError(f"{loader.images.spec}: {text}; the first: {skipped[0]}", remedy="repair them, or give more")
    notes.extend(why for why in skipped if why not in notes)

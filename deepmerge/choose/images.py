"""The images that a choice is made by: some to fit on, some to judge choices by, some to check the result on."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from deepmerge.choose.replay import MEMORY, Replay
from deepmerge.data import ImageWishes, Loader, Loading, network_transform, open_network_images
from deepmerge.errors import ReadError
from deepmerge.graph.batching import require_rows
from deepmerge.graph.graph import Graph

BATCH = 16
FEWEST = 30  # with fewer images, nothing can be said
TURNS = ("fit", "judge", "check", "check")  # what the images are for, one after the other


@dataclass(frozen=True)
class ImageSets:
    """Images in batches, float32 (N, C, H, W), as in the TEST phase, for the input blob `input`.

    fit, judge: those that choices are fitted on and judged by. check: those that took part in nothing before; they are
    not read yet. notes: warnings.
    """

    input: str
    fit: Replay
    judge: Replay
    check: Replay
    notes: list[str]


def image_sets(spec: str, graph: Graph, prototxt: Path, wishes: ImageWishes, count: int, strict: bool) -> ImageSets:
    """Read `count` images of a source, spread evenly, and divide them.

    Raises ReadError if there are too few, GraphError if the network is bound to its batch.
    """
    opened = open_network_images(spec, graph)
    require_rows(graph)
    how, notes = opened.preprocessing(network_transform(graph, prototxt, "TEST"), wishes)
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
    sets = {kind: Replay(lambda one=one: (batch.data for batch in one.once())) for kind, one in loaders.items()}
    skipped = []
    for kind in ("fit", "judge"):
        for _ in sets[kind]:  # read once, to know which cannot be read
            pass
        skipped += loaders[kind].skipped
    return ImageSets(opened.input, **sets, notes=notes + skipped)

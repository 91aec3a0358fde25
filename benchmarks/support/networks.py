"""The networks of the zoo, and their converted versions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepmerge.data import Preprocessing, open_images
from deepmerge.data.batches import make_batch
from deepmerge.formats.read import read_network
from deepmerge.graph import Graph
from deepmerge.graph.shapes import infer_shapes
from deepmerge.passes.support.base import Options
from deepmerge.plan import Wishes, make_plan, run_recipe

LRN = Wishes(options=Options(absorb=("lrn",)))
FULL = Wishes(steps="inception_4a", options=Options(width="full", absorb=("branches",)))
# network → version → what is asked for; RANK and FAST_RANK are those of the command line
ALL: dict[str, Wishes | str] = {
    "--exact": Wishes(exact=True),
    "default": Wishes(),
    "--tucker": "RANK",
    "--width 1.0": Wishes(options=Options(width=1.0)),
    "--kernel cover": Wishes(options=Options(kernel="cover")),
}
VARIANTS: dict[str, dict[str, Wishes | str]] = {
    "inception_mini": ALL,
    "alexnet": ALL | {"--absorb lrn": LRN},
    "squeezenet": ALL,
    "resnet50": ALL,
    "googlenet": ALL | {"inception_4a at full width": FULL, "--tucker, fast": "FAST_RANK"},
}


@dataclass(frozen=True)
class Network:
    """One version of a network; title: "original", or what was asked for."""

    name: str
    title: str
    graph: Graph

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images."""
        return infer_shapes(self.graph)[self.graph.inputs[0]][2:]


def converted(zoo: Path, name: str, rank: str, fast_rank: str) -> list[Network]:
    """Return the original and each version of it."""
    ranks = {"RANK": rank, "FAST_RANK": fast_rank}
    versions = [Network(name, "original", _read(zoo, name))]
    for title, wishes in VARIANTS[name].items():
        if isinstance(wishes, str):
            wishes = Wishes(tucker=True, options=Options(rank=ranks[wishes]))
        graph = _read(zoo, name)
        for _ in run_recipe(graph, make_plan(graph, wishes).recipe):
            pass
        versions.append(Network(name, title, graph))
    return versions


def _read(zoo: Path, name: str) -> Graph:
    return read_network(zoo / f"{name}.prototxt", zoo / f"{name}.caffemodel")


def read_images(path: Path, count: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the first images as the zoo's networks take them, float32 (count, 3, height, width), and their labels."""
    images = open_images(f"npz:{path}")
    prepare = Preprocessing(mean=(104.0, 117.0, 123.0), resize=size[::-1])
    found = [images.read(i) for i in range(min(count, images.count))]
    return make_batch([p.pixels for p in found], prepare, 3), np.array([p.label for p in found])

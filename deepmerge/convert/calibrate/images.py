"""Calibration images for a conversion: looked at once, sent through the network as it stands when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.convert.calibrate.collect import collect
from deepmerge.data import ImageWishes, Loader, open_loader
from deepmerge.engines import engine
from deepmerge.graph.graph import Graph
from deepmerge.kernels.moments import Moments
from deepmerge.progress import Progress, silent

COUNT = 500
BATCH = 8


class CalibrationImages:
    """Images of a source, for `convert` (a plan.Calibration). Labels are of no interest.

    spec: as open_images takes it. count: at most so many, spread evenly over the source. prototxt: the network's, see
    open_loader. progress: called with what begins, how many images are done, how many there are.

    about: what a recipe says of them. notes: what to tell the user. images: how many could be read. separable: the layers
    whose covariance was too large (see collect). All after `prepare`.
    """

    def __init__(
        self, spec: str, prototxt: Path, count: int = COUNT, wishes: ImageWishes | None = None, strict: bool = False,
        progress: Progress = silent,
    ):  # fmt: skip
        self.spec, self.prototxt, self.count, self.wishes, self.strict = (
            spec,
            prototxt,
            count,
            wishes or ImageWishes(),
            strict,
        )
        self.progress = progress
        self.about, self.images, self.sha256 = "", 0, ""
        self.notes: list[str] = []
        self.separable: list[str] = []
        self._loader: Loader | None = None
        self._seen: tuple[str, frozenset[str], Mapping[str, Moments]] = "", frozenset(), {}

    def prepare(self, graph: Graph) -> None:
        """Read all images, as the graph's input takes them; ReadError where there are none that fit."""
        loader, notes = open_loader(
            self.spec, graph, self.prototxt, BATCH, self.wishes, shuffle=False, limit=self.count, strict=self.strict
        )
        digest = hashlib.sha256()
        for batch in loader.once():
            digest.update(batch.data)
            self.images += len(batch.data)
        self._loader, self.sha256 = loader, digest.hexdigest()
        self.about = f"{self.images} image{'' if self.images == 1 else 's'}, sha256:{self.sha256[:16]}"
        self.notes = notes + loader.skipped

    def moments(self, graph: Graph, names: Collection[str]) -> Mapping[str, Moments]:
        """What those of the layers that have weights are fed, in the graph as it is. The last answer is kept."""
        key, (old_key, old_names, found) = _fingerprint(graph), self._seen
        if key != old_key or not old_names.issuperset(names):
            found, self._seen = {}, ("", frozenset(), {})  # room for the new ones
            found, separable = collect(graph, names, self._arrays(), engine(), self._tell)
            self.separable += [name for name in separable if name not in self.separable]
            self._seen = key, frozenset(names), found
        return found

    def entry(self) -> dict[str, Any]:
        """For the report."""
        return {"source": self.spec, "images": self.images, "sha256": self.sha256, "separable": self.separable}

    def _arrays(self) -> Iterator[np.ndarray]:
        assert self._loader is not None, "prepare comes first"
        return (batch.data for batch in self._loader.once())

    def _tell(self, images: int) -> None:
        self.progress("calibration", images, self.images)


def _fingerprint(graph: Graph) -> str:
    """The same for the same network with the same weights."""
    digest = hashlib.sha256()
    for layer in graph.layers:
        ends = [blob.name for blob in layer.bottoms], [blob.name for blob in layer.tops]
        digest.update(repr((layer.name, layer.type, layer.params, ends)).encode())
        for array in layer.weights:
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()

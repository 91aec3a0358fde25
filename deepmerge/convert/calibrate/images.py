"""Calibration images for a conversion: read once, then run through the network as it is at each step."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.convert.calibrate.collect import collect, filled
from deepmerge.data import ImageWishes, Loader, Loading, open_loader
from deepmerge.engines import engine
from deepmerge.graph.fingerprint import fingerprint
from deepmerge.graph.graph import Graph
from deepmerge.kernels.moments import Moments
from deepmerge.progress import Progress, silent

COUNT = 500
BATCH = 8


class CalibrationImages:
    """Calibration images from a source (a plan.Calibration). Labels are ignored.

    Parameters
    ----------
    spec : str
        The source, as open_images takes it.
    prototxt : Path
        The network's prototxt, see open_loader.
    count : int
        Use at most this many images, sampled evenly.
    wishes : ImageWishes, optional
        The preprocessing.
    strict : bool
        An image that cannot be read is an error.
    progress : Progress
        Called with the number of images that are done.

    Attributes
    ----------
    about : str
        The images as recipes name them. This and the others are set by `prepare`.
    notes : list of str
        Warnings.
    images : int
        How many could be read.
    separable : list of str
        The layers whose covariance was too large (see collect).
    unmeasured : list of str
        The layers that have no moments (see collect).
    """

    def __init__(
        self,
        spec: str,
        prototxt: Path,
        count: int = COUNT,
        wishes: ImageWishes | None = None,
        strict: bool = False,
        progress: Progress = silent,
    ):
        self.spec, self.prototxt, self.count, self.strict = spec, prototxt, count, strict
        self.wishes, self.progress = wishes or ImageWishes(), progress
        self.about, self.images, self.sha256 = "", 0, ""
        self.notes: list[str] = []
        self.separable: list[str] = []
        self.unmeasured: list[str] = []
        self._loader: Loader | None = None
        self._seen: tuple[str, frozenset[str], Mapping[str, Moments]] = "", frozenset(), {}

    def prepare(self, graph: Graph) -> None:
        """Read all images as the graph's input needs them; ReadError if none fits."""
        loader, notes = open_loader(
            self.spec, graph, self.prototxt, BATCH, self.wishes, Loading(limit=self.count, strict=self.strict)
        )
        digest = hashlib.sha256()
        for batch in loader.once():
            digest.update(batch.data)
            self.images += len(batch.data)
        self._loader, self.sha256 = loader, digest.hexdigest()
        self.about = f"{self.images} image{'' if self.images == 1 else 's'}, sha256:{self.sha256[:16]}"
        self.notes = notes + loader.skipped

    def moments(self, graph: Graph, names: Collection[str]) -> Mapping[str, Moments]:
        """Return the moments of these layers' inputs in the graph as it is. The last answer is kept."""
        key, (old_key, old_names, found) = fingerprint(graph), self._seen
        if key != old_key or not old_names.issuperset(names):
            found, self._seen = {}, ("", frozenset(), {})  # frees the memory of the old ones
            found, separable = collect(graph, names, self._arrays(), engine(), self._report)
            self.separable += [name for name in separable if name not in self.separable]
            self.unmeasured += [name for name in names if name not in {*found, *self.unmeasured}]
            self._seen = key, frozenset(names), found
        return found

    def half(self, which: int, graph: Graph) -> Iterator[tuple[np.ndarray, int]]:
        """Yield every other image in batches (N, …), float32, that the graph runs at, with their numbers of images.

        A number is less than N where a network of a fixed batch needs the last one filled up. which: 0 for the first,
        third … image, 1 for the second, fourth …
        """
        return filled(_every_other(self._arrays(), which), graph)

    def entry(self) -> dict[str, Any]:
        """Return what the report says about the images."""
        wishes = {key: value for key, value in asdict(self.wishes).items() if value != getattr(ImageWishes(), key)}
        about = {"source": self.spec, "images": self.images, "sha256": self.sha256, "preprocessing": wishes}
        return about | {"separable": self.separable, "unmeasured": self.unmeasured}

    def _arrays(self) -> Iterator[np.ndarray]:
        assert self._loader is not None, "prepare comes first"
        return (batch.data for batch in self._loader.once())

    def _report(self, images: int) -> None:
        self.progress("calibration", images, self.images)


def _every_other(batches: Iterator[np.ndarray], which: int) -> Iterator[np.ndarray]:
    images = (image for batch in batches for image in batch)
    chosen = islice(images, which, None, 2)
    while batch := list(islice(chosen, BATCH)):
        yield np.stack(batch)

"""What is to be measured, and how; and the file of the user's cache that keeps it."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from deepmerge import __version__
from deepmerge.data import ImageWishes, network_transform, source_path
from deepmerge.data.mean_file import find_mean_file
from deepmerge.data.sources import SUFFIXES
from deepmerge.formats.read.files import walk
from deepmerge.graph.fingerprint import fingerprint
from deepmerge.graph.graph import Graph
from deepmerge.machine import processor
from deepmerge.passes.support.base import Options
from deepmerge.text import count


@dataclass(frozen=True)
class ChooseJob:
    """What is measured, and how.

    graph: the network, with weights. prototxt: its file. data: the images' SPEC. images: the most to use.
    engine, threads: what times are measured on. file: the measurements, None for the user's cache. steps: --steps.
    seconds: the limit for the times of one region.
    """

    graph: Graph
    prototxt: Path
    data: str
    wishes: ImageWishes = field(default_factory=ImageWishes)
    images: int = 800
    engine: str = "ort"
    threads: int = 1
    file: Path | None = None
    steps: str = "all"
    options: Options = field(default_factory=Options)
    strict: bool = False
    seconds: float = 5.0

    @property
    def on(self) -> str:
        """What measures the times, as the file names it: virtual machines of one name may have other processors."""
        return f"{self.engine}, {count(self.threads, 'thread')}, {platform.node()}, {processor()}"

    def cache(self) -> Path:
        """Return the file of the user's cache for this network and these images."""
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        told = [__version__, fingerprint(self.graph), *self.images_key()]
        key = hashlib.sha256(repr(told).encode()).hexdigest()
        return base / "deepmerge" / "measurements" / f"{key[:32]}.csv"

    def images_key(self) -> list[Any]:
        """Return what differs once other images, or images prepared in another way, are looked at."""
        transform = network_transform(self.graph, self.prototxt)
        mean = transform.mean_file and find_mean_file(transform.mean_file, transform.folder)
        images = [self.data, *_changed(self.data), self.images, *([_state(mean)] if mean else [])]
        return [images, [transform, asdict(self.wishes)]]


def _changed(data: str) -> list[Any]:
    """Return what differs once the images of a SPEC have changed. What a list names is not looked at."""
    source = source_path(data)
    if data.startswith("folder:"):
        places = [os.path.join(folder, name) for folder, _, names in walk(source) for name in names]
        files = sorted(place for place in places if Path(place).suffix.lower() in SUFFIXES)
        return [(os.path.relpath(file, source), _state(file)) for file in files]
    if data.startswith("lmdb:"):
        return [_state(source / "data.mdb" if source.is_dir() else source)]
    return [source.stat().st_mtime_ns] if source.exists() else []


def _state(file: str | Path) -> tuple[int, int] | None:
    """Return a file's size, and when it was changed last in nanoseconds; None if it is not there."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns

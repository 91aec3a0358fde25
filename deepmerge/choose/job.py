"""What is to be measured, and how; and the file of the user's cache that keeps it."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

from deepmerge import __version__
from deepmerge.data import ImageWishes, network_transform
from deepmerge.graph.fingerprint import fingerprint
from deepmerge.graph.graph import Graph
from deepmerge.machine import processor
from deepmerge.passes.support.base import Options
from deepmerge.text import count


@dataclass(frozen=True)
class Job:
    """What is measured, and how.

    graph: the network, with weights. prototxt: its file. data: the images' SPEC. images: at most so many are used.
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
        images = [self.data, *_changed(Path(self.data.partition(":")[2])), self.images]
        how = [network_transform(self.graph, self.prototxt), asdict(self.wishes)]
        told = [__version__, fingerprint(self.graph), images, how]
        key = hashlib.sha256(repr(told).encode()).hexdigest()
        return base / "deepmerge" / "measurements" / f"{key[:32]}.csv"


def _changed(source: Path) -> list[int]:
    """Return when a source was changed last: a file, or a folder and those in it; nanoseconds."""
    folders = sorted(folder for folder, _, _ in os.walk(source))
    return [Path(place).stat().st_mtime_ns for place in (folders or [source]) if os.path.exists(place)]

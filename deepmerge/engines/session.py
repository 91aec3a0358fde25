"""The base of sessions in engines that read files."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from deepmerge.engines.base import checked_blobs, checked_feeds
from deepmerge.errors import EngineError
from deepmerge.graph.shapes import infer_shapes
from deepmerge.text import flat

if TYPE_CHECKING:
    from deepmerge.engines.base import Feeds
    from deepmerge.graph import Graph


class FileSession:
    """A Session (see base.Session) that runs one network at its declared batch.

    A subclass says how the network is fed (`_feed`) and run (`_run`). blobs: the names that `forward` can return.
    shapes: those of all blobs, as declared. forward_seconds: see `time_layers` of the subclasses.
    """

    def __init__(self, engine: str, graph: Graph, blobs: Sequence[str] | None = None) -> None:
        shapes = infer_shapes(graph)
        unknown = next((blob for blob, shape in shapes.items() if shape is None), None)
        if unknown is not None:
            layer = unknown.producer
            text = f"layer {layer.name!r} ({layer.type}): the shape of top {unknown.name!r} is not known"
            raise EngineError(text, layer=layer.name, remedy="use --engine caffe")
        last = graph.finals
        self.engine = engine
        self.inputs: dict[str, tuple[int, ...]] = {blob.name: shapes[blob] for blob in graph.inputs}
        self.outputs: tuple[str, ...] = tuple(b.name for b in graph.outputs if b.producer.type != "Input")
        self.blobs: tuple[str, ...] = self.outputs if blobs is None else tuple(blobs)
        self.types = {layer.name: layer.type for layer in graph.layers}
        self.forward_seconds: list[float] | None = None
        self.shapes = {name: shapes[blob] for name, blob in last.items()}
        self._last = {name: np.zeros(shape, np.float32) for name, shape in self.inputs.items()}
        self._closed = False

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; see base.Session. The batch is the declared one."""
        self._open()
        arrays = checked_feeds(self.inputs, feeds)
        for name, array in arrays.items():
            if array.shape != self.inputs[name]:
                raise EngineError(
                    f"engine {self.engine!r} runs the declared batch alone: {self.inputs[name]}, not {array.shape}"
                )
        wanted = checked_blobs(self.blobs, self.outputs if blobs is None else blobs)
        self._last = arrays
        with refusals(self.engine, "run"):
            self._feed(arrays)
            values = self._run(wanted)
        return {name: self._shaped(name, np.array(value, np.float32)) for name, value in values.items()}

    def time_once(self) -> float:
        """Return the seconds of one forward on the last feeds (zeros if there are none). Feeding is not counted."""
        self._open()
        with refusals(self.engine, "run"):
            self._feed(self._last)
            start = time.perf_counter()
            self._run(self.outputs)
            return time.perf_counter() - start

    def close(self) -> None:
        """Release the network."""
        self._closed = True

    def _shaped(self, name: str, value: np.ndarray) -> np.ndarray:
        """Return the value in Caffe's shape: engines leave out axes of one, and some read parameters differently."""
        shape = self.shapes[name]
        if value.size != np.prod(shape):
            raise EngineError(f"{self.engine} makes blob {name!r} {value.shape}, where Caffe makes it {shape}")
        return value.reshape(shape)

    def _open(self) -> None:
        if self._closed:
            raise EngineError("the session is closed")

    def _feed(self, arrays: Mapping[str, np.ndarray]) -> None:
        raise NotImplementedError

    def _run(self, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class refusals:  # noqa: N801  # used like a function
    """Turn what an engine raises inside into an EngineError: `opencv cannot run the network: …`."""

    def __init__(self, engine: str, doing: str) -> None:
        self.engine, self.doing = engine, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind, error: BaseException | None, _trace) -> None:
        if isinstance(error, Exception) and not isinstance(error, EngineError):
            text = flat(error) or type(error).__name__
            raise EngineError(f"{self.engine} cannot {self.doing} the network: {text}") from None

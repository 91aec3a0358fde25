"""The interface of engines: an engine loads a network and returns a session, which runs it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deepmerge.errors import EngineError
from deepmerge.text import did_you_mean

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from deepmerge.graph import Graph

    Feeds = Mapping[str, np.ndarray]


class Engine(Protocol):
    """Something that runs a graph, such as ONNX Runtime, real Caffe or PyTorch."""

    name: str

    def load(self, graph: Graph, threads: int = 1) -> Session:
        """Load the network, to run on that number of CPU threads. EngineError if the engine cannot run it."""
        ...

    # those that `verify` runs also have `lacks(layer)`: whether no network with such a layer can be loaded
    # those that read ONNX also have `load_onnx(file, graph, threads)`: a file that convert wrote of the network; its
    # session has `shapes`, those of its outputs at least


class Session(Protocol):
    """A loaded network. As a context manager, it closes itself.

    inputs: input blob → declared shape, batch first (N, C, H, W for images). outputs: the blobs that no layer reads, in
    the network's order.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run the network once and return float32 copies of blobs.

        feeds: a float32 array for each input, of the declared shape; the batch may differ. blobs: the blobs to return,
        None for the network's outputs. EngineError for an input or a blob that the network does not have.
        """
        ...

    def time_once(self) -> float:
        """Return the wall-clock seconds of one forward, on the last feeds given to `forward`."""
        ...

    def close(self) -> None:
        """Release the network."""
        ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def reads_onnx(engine: Engine) -> bool:
    """Return whether the engine loads the ONNX files that convert writes."""
    return hasattr(engine, "load_onnx")


def load_onnx(engine: Engine, file: Path, graph: Graph, threads: int = 1) -> Session:
    """Load an ONNX file that convert wrote of the network. EngineError if the engine reads no ONNX files."""
    if not reads_onnx(engine):
        raise EngineError(f"engine {engine.name!r} does not read ONNX files ({file})", remedy="use --engine ort")
    return engine.load_onnx(file, graph, threads)


def checked_feeds(inputs: Mapping[str, tuple[int, ...]], feeds: Feeds) -> dict[str, np.ndarray]:
    """Return `feeds` as C-contiguous float32 arrays, in the order of `inputs`.

    Only the first axis (the batch) may differ from the declared shape: a fully convolutional network would accept a
    wrong height, and silently give a wrong answer. EngineError names the input.
    """
    for name in feeds:
        if name not in inputs:
            raise EngineError(f"the network has no input {name!r}", remedy=did_you_mean(name, inputs))
    checked = {}
    for name, shape in inputs.items():
        if name not in feeds:
            raise EngineError(f"input {name!r} {shape} gets no values")
        array = np.ascontiguousarray(feeds[name], dtype=np.float32)
        if array.ndim != len(shape) or array.shape[1:] != tuple(shape[1:]):
            text = f"input {name!r} is declared as {tuple(shape)}, but {array.shape} was fed"
            raise EngineError(f"{text}: only the first axis, the batch, may differ")
        checked[name] = array
    return checked


def checked_blobs(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Return `wanted` without repeats. EngineError for one that is not in `names`."""
    known = list(names)
    for name in wanted:
        if name not in known:
            raise EngineError(f"the network has no blob {name!r}", remedy=did_you_mean(name, known))
    return list(dict.fromkeys(wanted))

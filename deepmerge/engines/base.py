"""What every engine offers: a network goes in, a session comes out, a session runs forward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deepmerge.errors import EngineError
from deepmerge.text import did_you_mean

if TYPE_CHECKING:
    from types import TracebackType

    from deepmerge.graph import Graph

    Feeds = Mapping[str, np.ndarray]


class Engine(Protocol):
    """Something that can run a graph: ONNX Runtime, real Caffe, PyTorch."""

    name: str

    def load(self, graph: Graph, threads: int = 1) -> Session:
        """Make ``graph`` ready to run on ``threads`` CPU threads.

        Raises EngineError where the engine cannot run the network.
        """
        ...


class Session(Protocol):
    """One network, loaded. Also a context manager: leaving it closes it.

    ``inputs`` maps each input blob to its declared shape, batch first (N, C, H, W for images);
    ``outputs`` are the blobs that no layer reads, in the network's order.
    """

    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run the network once.

        ``feeds``: float32 arrays, one for each input, shaped as declared; the batch may differ.
        ``blobs``: the blobs wanted, None for the network's outputs. Returns float32 copies.
        Raises EngineError for a feed or a blob that the network does not have.
        """
        ...

    def time_once(self) -> float:
        """Seconds of wall clock that one forward takes, on the last feeds given to ``forward``."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Session: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def checked_feeds(inputs: Mapping[str, tuple[int, ...]], feeds: Feeds) -> dict[str, np.ndarray]:
    """``feeds`` as C-contiguous float32 arrays in the order of ``inputs``.

    Only the first axis (the batch) may differ from the declared shape: a wrong height would
    otherwise be taken by a fully convolutional network and give a silent wrong answer.
    Raises EngineError that names the input.
    """
    for name in feeds:
        if name not in inputs:
            raise EngineError(f"the network has no input {name!r}; {did_you_mean(name, inputs)}")
    checked = {}
    for name, shape in inputs.items():
        if name not in feeds:
            raise EngineError(f"input {name!r} {shape} is not fed")
        array = np.ascontiguousarray(feeds[name], dtype=np.float32)
        if array.ndim != len(shape) or array.shape[1:] != tuple(shape[1:]):
            raise EngineError(
                f"input {name!r} is declared as {tuple(shape)}, but {array.shape} was fed: only the first axis, the batch, may differ"
            )
        checked[name] = array
    return checked


def checked_blobs(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """``wanted`` without repeats; raises EngineError for one that is not in ``names``."""
    known = list(names)
    for name in wanted:
        if name not in known:
            raise EngineError(f"the network has no blob {name!r}; {did_you_mean(name, known)}")
    return list(dict.fromkeys(wanted))

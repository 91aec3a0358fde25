"""PyTorch as an engine: a Session around a TorchNet.

    with TorchEngine().load(graph, threads=2) as session:
        prob = session.forward({"data": images})["prob"]

The same feeds on the same number of CPU threads give the same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepmerge.engines.base import checked_blobs, checked_feeds
from deepmerge.engines.pytorch.net import TorchNet
from deepmerge.engines.pytorch.table import lacks
from deepmerge.errors import EngineError
from deepmerge.text import input_option

if TYPE_CHECKING:
    from deepmerge.engines.base import Feeds
    from deepmerge.graph import Graph, Layer


class TorchEngine:
    """PyTorch on a device: "cpu", "cuda" or "cuda:1". EngineError if there is no such device."""

    name = "torch"

    def __init__(self, device: str = "cpu") -> None:
        self.device = find_device(device)

    def load(self, graph: Graph, threads: int = 1) -> TorchSession:
        """Load the network. EngineError for a layer that the engine does not have, or that has no weights."""
        return TorchSession(graph, threads, self.device)

    def lacks(self, layer: Layer) -> bool:
        """Return whether no network with such a layer can be loaded."""
        return lacks(layer)


def find_device(name: str) -> torch.device:
    """Return the device of that name. EngineError if there is none."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise EngineError(f"device {name!r} is not one of cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise EngineError(f"device {name!r} is not one of cpu, cuda, cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            built = "" if torch.version.cuda else f" (PyTorch {torch.__version__} is built without CUDA)"
            raise EngineError(f"device {name!r}: PyTorch finds no CUDA device{built}", remedy="use --device cpu")
        if (device.index or 0) >= count:
            raise EngineError(f"device {name!r}: there are {count} CUDA devices, counted from 0")
    return device


class TorchSession:
    """A network in PyTorch, in the phase TEST. inputs: blob → declared shape. outputs, blobs: names."""

    def __init__(self, graph: Graph, threads: int = 1, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        net = TorchNet(graph).to(self._device).requires_grad_(False)
        for name, shape in net.inputs.items():
            if shape is None:
                raise EngineError(f"input {name!r} has no shape", remedy=f"give it: {input_option(name)}")
        self._net: TorchNet | None = net
        self._threads = threads
        self.inputs: dict[str, tuple[int, ...]] = dict(net.inputs)
        self.outputs: tuple[str, ...] = net.outputs
        self.blobs: tuple[str, ...] = tuple(dict.fromkeys(blob.name for blob in graph.blobs))
        self._last = {name: torch.zeros(shape, device=self._device) for name, shape in self.inputs.items()}

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; see base.Session. A blob that layers in place write has the value of the last one."""
        net = self._open()
        arrays = checked_feeds(self.inputs, feeds)
        names = checked_blobs(self.blobs, self.outputs if blobs is None else blobs)
        fed = {name: torch.from_numpy(array.copy()).to(self._device) for name, array in arrays.items()}
        with self._running():
            results = net(fed, names)
            found = {name: value.to(torch.float32).cpu().numpy().copy() for name, value in results.items()}
        self._last = fed
        return found

    def time_once(self) -> float:
        """Return the seconds of one forward of the outputs, on the last feeds (zeros if there are none)."""
        net = self._open()
        with self._running():
            return self._seconds(lambda: net(self._last))

    def time_layers(self, repeat: int = 15, warmup: int = 2) -> list[tuple[str, str, list[float]]]:
        """Return (layer, type, seconds of each forward) in running order, on the last feeds."""
        net = self._open()
        turns = net.schedule(tuple(self._last), self.outputs).turns
        seconds: list[list[float]] = [[] for _ in turns]
        with self._running():
            for turn in range(warmup + repeat):
                for times, layer in zip(seconds, net.walk(self._last), strict=True):
                    took = self._seconds(layer)
                    if turn >= warmup:
                        times.append(took)
        return [(t.step.layer.name, t.step.layer.type, times) for t, times in zip(turns, seconds, strict=True)]

    def close(self) -> None:
        """Release the network."""
        self._net = None
        self._last = {}

    def _seconds(self, run: Callable[[], object]) -> float:
        """Return the wall-clock seconds of one call; on a GPU, until the GPU is done."""
        wait = torch.cuda.synchronize if self._device.type == "cuda" else lambda _device: None
        wait(self._device)
        start = time.perf_counter()
        run()
        wait(self._device)
        return time.perf_counter() - start

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Run the body without gradients and TF32, on this session's number of threads."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            with torch.inference_mode(), exact_floats(self._device):
                yield
        finally:
            torch.set_num_threads(before)

    def _open(self) -> TorchNet:
        if self._net is None:
            raise EngineError("the session is closed")
        return self._net

    def __enter__(self) -> TorchSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def exact_floats(device: torch.device) -> Iterator[None]:
    """Run the body in full float32 on GPUs, too: TF32 has the range of float32 and the digits of float16."""
    if device.type != "cuda":
        yield
        return
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before

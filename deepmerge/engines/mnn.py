"""MNN as an engine. Its converter gets Caffe's files, and ONNX if it refuses those."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.engines.session import FileSession, refusals
from deepmerge.errors import EngineError
from deepmerge.formats import OPERATOR
from deepmerge.temporary import temporary_folder

if TYPE_CHECKING:
    from deepmerge.graph import Graph

SECONDS = 300.0

# The converter runs in its own process, since it ends its process if it does not know a layer. It is not started by the
# command `mnnconvert`, which installs a package for telemetry with pip.
_CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
# MNN's helper operations, and the parts of an LRN: pool1/norm1_raster_7 belongs to pool1/norm1
_PART = re.compile(r"_raster_\d+$")


class MnnEngine:
    """MNN on the CPU, in full precision. EngineError if MNN is not installed."""

    name = "mnn"

    def __init__(self) -> None:
        from importlib.util import find_spec

        # Not imported yet: MNN prints a line on stdout when it is.
        if find_spec("MNN") is None or find_spec("_tools") is None:
            raise EngineError("engine 'mnn' needs MNN", remedy="pip install MNN")

    def load(self, graph: Graph, threads: int = 1) -> MnnSession:
        """Convert the network from Caffe's files if MNN takes them, else from ONNX, and load it."""
        with temporary_folder() as folder:
            model, source = convert(graph, Path(folder))
            return MnnSession(graph, model, threads, source)


def convert(graph: Graph, folder: Path) -> tuple[Path, str]:
    """Write MNN's file into the folder. Return its path, and what it was made from: "caffe" or "onnx".

    EngineError with the converter's message if it takes neither.
    """
    from deepmerge.formats.write import write_pair

    prototxt, caffemodel, model = folder / "deploy.prototxt", folder / "weights.caffemodel", folder / "model.mnn"
    write_pair(graph, prototxt, caffemodel)
    refusal = _convert(model, "-f", "CAFFE", "--modelFile", caffemodel, "--prototxt", prototxt)
    if refusal is None:
        return model, "caffe"
    from deepmerge.formats.onnx import write_onnx

    write_onnx(graph, folder / "model.onnx", lrn=OPERATOR)
    other = _convert(model, "-f", "ONNX", "--modelFile", folder / "model.onnx")
    if other is None:
        return model, "onnx"
    raise EngineError(f"MNN cannot convert the network: {refusal}")


def _convert(model: Path, *words: str | Path) -> str | None:
    """Run the converter. Return None if it has written the model, else its last message."""
    command = [sys.executable, "-c", _CONVERT, *map(str, words), "--MNNModel", str(model), "--bizCode", "deepmerge"]
    model.unlink(missing_ok=True)  # a part that a refused attempt has left
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:g} s"
    if done.returncode == 0 and model.exists() and model.stat().st_size:
        return None
    said = [line.strip() for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    wrong = [line for line in said if re.search(r"error|not support|fail|unknown", line, re.IGNORECASE)]
    return (wrong or said or [f"it ended with status {done.returncode}"])[-1]


class MnnSession(FileSession):
    """A network in MNN. source: what it was converted from. MNN's converter fuses ReLUs into convolutions."""

    def __init__(self, graph: Graph, model: Path, threads: int, source: str) -> None:
        super().__init__("mnn", graph)
        self.source = source
        makers = {blob.name: blob.producer.name for blob in graph.blobs}
        with refusals("mnn", "load"), _stdout_on_stderr():
            import MNN

            self._mnn = MNN
            self._net = MNN.Interpreter(str(model))
            self._session = self._net.createSession({"backend": "CPU", "numThread": threads, "precision": "high"})
        given = self._net.getSessionInputAll(self._session)
        made = self._net.getSessionOutputAll(self._session)
        self._fed = {name: _named(given, [name], f"input {name!r}", len(self.inputs)) for name in self.inputs}
        self._made = {n: _named(made, [n, makers[n]], f"output {n!r}", len(self.outputs)) for n in self.outputs}

    def _feed(self, arrays: Mapping[str, np.ndarray]) -> None:
        kind, axes = self._mnn.Halide_Type_Float, self._mnn.Tensor_DimensionType_Caffe
        for name, array in arrays.items():
            self._fed[name].copyFrom(self._mnn.Tensor(array.shape, kind, array, axes))

    def _run(self, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        self._net.runSession(self._session)
        return {name: self._value(name) for name in wanted}

    def _value(self, name: str) -> np.ndarray:
        tensor, shape = self._made[name], self._made[name].getShape()
        host = self._mnn.Tensor(
            shape, self._mnn.Halide_Type_Float, np.zeros(shape, np.float32), self._mnn.Tensor_DimensionType_Caffe
        )
        tensor.copyToHostTensor(host)
        return np.array(host.getData(), np.float32).ravel()

    def time_layers(self, repeat: int = 15, warmup: int = 2) -> list[tuple[str, str, list[float]]]:
        """Return (layer, type, seconds of each forward). MNN's helper operations count as their layer's."""
        self._open()
        rows: dict[str, list[float]] = {}
        kinds: dict[str, str] = {}
        start = 0.0

        def begin(_tensors, _info) -> bool:
            nonlocal start
            start = time.perf_counter()
            return True

        def end(_tensors, info) -> bool:
            seconds = time.perf_counter() - start
            name = _PART.sub("", info.getName())
            kinds.setdefault(name, self.types.get(name) or info.getType())
            rows.setdefault(name, [0.0])[-1] += seconds
            return True

        for turn in range(warmup + repeat):
            with refusals("mnn", "run"):
                self._feed(self._last)
                self._net.runSessionWithCallBackInfo(self._session, begin, end)
            for times in rows.values():
                times[:] = times if turn >= warmup else []
                times.append(0.0)
        return [(name, kinds[name], times[:repeat]) for name, times in rows.items()]

    def close(self) -> None:
        """Release the network."""
        super().close()
        self._net = self._session = None
        self._fed = self._made = {}


def _named(tensors: Mapping[str, Any], names: Sequence[str], what: str, expected: int) -> Any:
    """Return MNN's tensor with one of these names, or the only one."""
    found = next((tensors[name] for name in names if name in tensors), None)
    if found is None and len(tensors) == expected == 1:
        return next(iter(tensors.values()))
    if found is None:
        raise EngineError(f"MNN's model has no {what}; it has {', '.join(map(repr, tensors))}")
    return found


class _stdout_on_stderr:  # noqa: N801  # used like a function
    """Send what native code prints on stdout to stderr, as MNN does when it is imported: stdout is for results."""

    def __enter__(self) -> None:
        sys.stdout.flush()
        self._kept = os.dup(1)
        os.dup2(2, 1)

    def __exit__(self, *_: object) -> None:
        os.dup2(self._kept, 1)
        os.close(self._kept)

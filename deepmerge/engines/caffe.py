"""Real Caffe as an engine: the reference for everything deepmerge writes. It runs in its own process.

    engine = CaffeEngine()
    with engine.load_files("deploy.prototxt", "weights.caffemodel") as session:
        prob = session.forward({"data": images})["prob"]

Caffe ends its process when a check fails. Here that is an EngineError with Caffe's message, and the next session starts
a new process. Only the CPU is used.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmerge.engines.base import checked_blobs, checked_feeds
from deepmerge.engines.caffe_process import CaffeProcess
from deepmerge.engines.find_caffe import VARIABLE, describe, find_python
from deepmerge.engines.timing.timing import Sample
from deepmerge.errors import EngineError
from deepmerge.temporary import temporary_folder

if TYPE_CHECKING:
    from deepmerge.engines.base import Feeds
    from deepmerge.graph import Graph, Layer

    Weights = str | os.PathLike | Sequence[str | os.PathLike] | None


class CaffeEngine:
    """Real Caffe under another interpreter.

    python: that interpreter; None looks for one, see `find_python`. timeout: seconds that one request (a load, a
    forward, a solve) may take. EngineError if no interpreter can `import caffe`.
    """

    name = "caffe"

    def __init__(self, python: str | os.PathLike | None = None, timeout: float = 600.0) -> None:
        found = find_python() if python is None else Path(python)
        if found is None:
            make = "run `make caffe` (CPython 3.7 to 3.9 on x86-64 Linux)"
            remedy = f"{make}, or set {VARIABLE} to a python that can `import caffe`"
            raise EngineError("no interpreter with real Caffe was found", remedy=remedy)
        self.python = found
        self.timeout = timeout

    def start(self, threads: int = 1) -> CaffeWorker:
        """Start a worker process, to load several networks at once or to run solvers."""
        return CaffeWorker(self.python, threads, self.timeout)

    def lacks(self, layer: Layer) -> bool:
        """Return whether no network with such a layer can be loaded: this build does not have its type."""
        return (layer.kind.fork or layer.params is None) and layer.type not in describe(self.python)["types"]

    def load(self, graph: Graph, threads: int = 1) -> CaffeSession:
        """Write the network as Caffe's files into a temporary folder, and load them."""
        from deepmerge.formats.write import write_pair

        with temporary_folder() as folder:
            prototxt, caffemodel = Path(folder, "deploy.prototxt"), Path(folder, "weights.caffemodel")
            write_pair(graph, prototxt, caffemodel)
            return self.load_files(prototxt, caffemodel, threads=threads)

    def load_files(
        self,
        prototxt: str | os.PathLike,
        caffemodel: Weights = None,
        phase: str = "TEST",
        threads: int = 1,
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> CaffeSession:
        """Load a network from its files, in a new process. See CaffeWorker.load."""
        worker = self.start(threads)
        try:
            session = worker.load(prototxt, caffemodel, phase, shapes)
        except BaseException:
            worker.close()
            raise
        session._owns_worker = True
        return session

    def solve(
        self, solver: str | os.PathLike, weights: Weights = None, steps: int = 3, threads: int = 1, **options: Any
    ) -> Solved:
        """Run a solver for some steps, in a new process. See CaffeWorker.solve."""
        with self.start(threads) as worker:
            return worker.solve(solver, weights, steps, **options)


@dataclass(frozen=True)
class Solved:
    """The result of a solver. losses: the training loss of each step. tests: each test net's outputs, name → values."""

    losses: list[float]
    tests: list[dict[str, list[float]]]
    iteration: int


class CaffeWorker:
    """A process that runs real Caffe. A failed check ends it, with all its networks."""

    def __init__(self, python: Path, threads: int = 1, timeout: float = 600.0) -> None:
        self.process, self.threads = CaffeProcess(python, threads, timeout), threads
        self._ids = itertools.count()

    def load(
        self,
        prototxt: str | os.PathLike,
        caffemodel: Weights = None,
        phase: str = "TEST",
        shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> CaffeSession:
        """Load a network.

        caffemodel: one file, or several to copy in one after the other, or None to keep what the fillers made (seeded:
        always the same). phase: TEST or TRAIN. shapes: input → shape, for inputs that differ from the declared shape.
        EngineError with Caffe's message if it refuses the files.
        """
        if phase not in ("TEST", "TRAIN"):
            raise EngineError(f"phase {phase!r} is not one of TEST, TRAIN")
        prototxt, weights = _readable(prototxt), [_readable(path) for path in _listed(caffemodel)]
        about = " with ".join(["loading " + prototxt, *weights])
        number = next(self._ids)
        new_shapes = {name: [int(size) for size in shape] for name, shape in (shapes or {}).items()}
        reply, _ = self.process.request(
            "load", about, id=number, prototxt=prototxt, weights=weights, phase=phase, shapes=new_shapes
        )
        return CaffeSession(self, number, prototxt, reply)

    def solve(
        self,
        solver: str | os.PathLike,
        weights: Weights = None,
        steps: int = 3,
        save: str | os.PathLike | None = None,
        cwd: str | os.PathLike | None = None,
        test: bool = False,
    ) -> Solved:
        """Take some steps of a solver on the CPU.

        weights: caffemodels to copy in first, as with `caffe train -weights A,B`. save: where to write the trained
        weights. cwd: the folder of relative paths in the solver and its nets; by default the solver's. test: whether to
        run each test net once at the end.
        """
        path = _readable(solver)
        reply, _ = self.process.request(
            "solve",
            f"solving {path}",
            solver=path,
            weights=[_readable(item) for item in _listed(weights)],
            steps=steps,
            save=None if save is None else os.path.abspath(save),
            cwd=os.path.abspath(cwd or os.path.dirname(path)),
            test=test,
        )
        return Solved(reply["losses"], reply["tests"], reply["iteration"])

    def open_solver(
        self,
        solver: str | os.PathLike,
        weights: Weights = None,
        restore: str | os.PathLike | None = None,
        cwd: str | os.PathLike | None = None,
        seed: int = 1,
    ) -> CaffeSolver:
        """Open a solver to run in pieces. restore: a .solverstate to continue from; for the rest see `solve`."""
        path, number = _readable(solver), next(self._ids)
        reply, _ = self.process.request(
            "open_solver",
            f"opening {path}",
            id=number,
            solver=path,
            weights=[_readable(item) for item in _listed(weights)],
            restore=None if restore is None else _readable(restore),
            cwd=os.path.abspath(cwd or os.path.dirname(path)),
            seed=seed,
        )
        return CaffeSolver(self, number, path, reply["iteration"])

    def close(self) -> None:
        """End the process."""
        self.process.close()

    def __enter__(self) -> CaffeWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class CaffeSolver:
    """A solver in a worker. iteration: the number of updates so far."""

    def __init__(self, worker: CaffeWorker, number: int, path: str, iteration: int) -> None:
        self.worker, self.path, self.iteration = worker, path, iteration
        self._number = number

    def step(self, steps: int) -> list[float]:
        """Take some steps, with the tests and snapshots that are due. Return the loss of each step's last batch."""
        reply = self._request("run_solver", "solving", steps=steps)
        self.iteration = reply["iteration"]
        return reply["losses"]

    def test(self, number: int, batches: int) -> dict[str, list[float]]:
        """Run a test net on its next batches. Return its outputs, name → the mean in each batch."""
        return self._request("test_solver", "testing", net=number, batches=batches)["outputs"]

    def save(self, path: str | os.PathLike) -> None:
        """Let Caffe write the weights."""
        self._request("save_solver", f"writing {path} from", path=os.path.abspath(path), state=False)

    def snapshot(self) -> None:
        """Let Caffe write PREFIX_iter_N.caffemodel and .solverstate, with the solver's snapshot_prefix."""
        self._request("save_solver", "writing a snapshot of", path="", state=True)

    def close(self) -> None:
        """Release the solver and its networks."""
        if self.worker.process.alive:
            self._request("close_solver", "closing")

    def _request(self, command: str, doing: str, **fields: Any) -> dict[str, Any]:
        return self.worker.process.request(command, f"{doing} {self.path}", id=self._number, **fields)[0]


class CaffeSession:
    """A network in a worker. inputs: blob → declared shape. outputs, blobs: names.

    After a forward, the blob of layers in place has the value of the last one.
    """

    def __init__(self, worker: CaffeWorker, number: int, prototxt: str, reply: dict[str, Any]) -> None:
        self.worker = worker
        self.prototxt = prototxt
        self.inputs: dict[str, tuple[int, ...]] = {name: tuple(shape) for name, shape in reply["inputs"]}
        self.outputs: tuple[str, ...] = tuple(reply["outputs"])
        self.blobs: tuple[str, ...] = tuple(reply["blobs"])
        self._number = number
        self._owns_worker = False

    def forward(self, feeds: Feeds, blobs: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Run once; see base.Session. A network with data layers takes no feeds."""
        arrays = list(checked_feeds(self.inputs, feeds).items())
        wanted = checked_blobs(self.blobs, self.outputs if blobs is None else blobs)
        _, results = self._request("forward", "running", arrays, blobs=wanted)
        return dict(results)

    def backward(
        self, diffs: Feeds | None = None, blobs: Sequence[str] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, list[np.ndarray]]]:
        """Return gradients for the last feeds: of blobs (None: the inputs), and layer → of its parameter blobs.

        diffs: output → the gradient to start from. Outputs that are left out start from their loss weights. Caffe goes
        back as far as there are parameters to learn; `force_backward: true` in the file takes it to the inputs.
        """
        wanted = checked_blobs(self.blobs, list(self.inputs) if blobs is None else blobs)
        checked_blobs(self.outputs, list(diffs or {}))
        arrays = [(name, np.ascontiguousarray(array, np.float32)) for name, array in (diffs or {}).items()]
        reply, results = self._request("backward", "running backwards", arrays, blobs=wanted)
        found, rest = dict(results[: len(wanted)]), iter(results[len(wanted) :])
        return found, {name: [next(rest)[1] for _ in range(count)] for name, count in reply["layers"]}

    def time_once(self) -> float:
        """Return the seconds of one forward inside the worker, on the last feeds (zeros if there are none)."""
        return self.time(repeat=1, warmup=0)[0]

    def time(self, repeat: int = 15, warmup: int = 2) -> list[float]:
        """Return the seconds of each of `repeat` forwards, after `warmup` ones that are not counted."""
        reply, _ = self._request("timing", "timing", repeat=repeat, warmup=warmup)
        return reply["seconds"]

    def time_sample(self) -> Sample:
        """Run once, and return the time and how long the worker waited for a core; see timing.Sample."""
        reply, _ = self._request("timing", "timing", repeat=1, warmup=0)
        wall, waited = reply["seconds"][0], reply["waited"][0]
        return Sample(wall, None if waited is None else min(waited, wall * self.worker.threads))

    def time_layers(self, repeat: int = 15, warmup: int = 2) -> list[tuple[str, str, list[float]]]:
        """Return (layer, type, seconds of each forward) in running order, with Caffe's Splits."""
        reply, _ = self._request("layer_timing", "timing", repeat=repeat, warmup=warmup)
        return [(name, kind, seconds) for name, kind, seconds in reply["layers"]]

    def info(self) -> dict[str, Any]:
        """Return the network as Caffe has it.

        Keys: layers, a list of {name, type, bottoms, tops, params: shapes}; blobs, name → shape; inputs; outputs;
        memory_bytes, which Caffe logs as "Memory required for data".
        """
        reply, _ = self._request("net_info", "describing")
        reply["blobs"] = {name: tuple(shape) for name, shape in reply["blobs"]}
        del reply["arrays"]
        return reply

    def params(self) -> dict[str, list[np.ndarray]]:
        """Return layer → its parameter blobs in float32, for the layers that have any."""
        _, results = self._request("params", "reading the weights of")
        layers: dict[str, list[np.ndarray]] = {}
        for name, array in results:
            layers.setdefault(name, []).append(array)
        return layers

    def save(self, path: str | os.PathLike) -> None:
        """Let Caffe write the weights: as an HDF5 snapshot if the path ends with .h5, else as a caffemodel."""
        self._request("save", f"writing {path} from", path=os.path.abspath(path))

    def close(self) -> None:
        """Release the network, and end the process if it was started for this network."""
        if self._owns_worker:
            self.worker.close()
        elif self.worker.process.alive:
            self._request("unload", "closing")

    def _request(self, command: str, doing: str, arrays: Sequence[tuple[str, np.ndarray]] = (), **fields: Any):
        about = f"{doing} {self.prototxt}"
        return self.worker.process.request(command, about, arrays, id=self._number, **fields)

    def __enter__(self) -> CaffeSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _listed(paths: Weights) -> list[str | os.PathLike]:
    if paths is None:
        return []
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths)


def _readable(path: str | os.PathLike) -> str:
    """Return a file's absolute path. EngineError if it cannot be read: Caffe's own message does not always name it."""
    try:
        with open(path, "rb"):
            return os.path.abspath(path)
    except OSError as error:
        raise EngineError(f"{os.fspath(path)}: {error.strerror}") from None

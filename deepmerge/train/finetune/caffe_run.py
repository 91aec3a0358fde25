"""The stages of a job in real Caffe, which a worker process runs."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepmerge.engines.caffe import CaffeEngine, CaffeSolver, CaffeWorker
from deepmerge.errors import EngineError
from deepmerge.formats.read.training import TrainingNet, read_training
from deepmerge.formats.read.weights import Weights, load_weights
from deepmerge.graph.graph import Graph
from deepmerge.graph.tree import Token
from deepmerge.machine import cores
from deepmerge.train.finetune.caffe_data import caffe_data, ways_of
from deepmerge.train.finetune.caffe_files import CaffeStage, write_solver, write_start
from deepmerge.train.finetune.learner import Arrays, Learner
from deepmerge.train.finetune.spec import Job, Stage, solver_tests
from deepmerge.train.shared.guards import writing

_PIECE, _SECONDS = 20, 60.0  # most iterations or batches in one request, and about how long it may take
_TIMEOUT = 3600.0  # seconds after which a request is given up


@dataclass
class Pieces:
    """The sizes of requests to real Caffe: one iteration or batch at first, then as many as take about _SECONDS."""

    clock: Callable[[], float] = time.monotonic
    size: int = 1

    @contextmanager
    def piece(self, left: int) -> Iterator[int]:
        """Yield how many of those that are left to ask for, and time that for the next ones."""
        size, start = min(self.size, left), self.clock()
        yield size
        each = max(self.clock() - start, 1e-9) / size
        self.size = min(_PIECE, max(1, int(_SECONDS / each)))


@dataclass(frozen=True)
class Setup:
    """What all stages of a job share. folder: for the files that real Caffe reads."""

    job: Job
    seed: int
    folder: Path


@contextmanager
def open_learner(stage: Stage, starts: Sequence[Path | Weights], setup: Setup) -> Iterator[CaffeLearner]:
    """Yield a stage that is ready to run. starts: its weights, later ones overriding.

    EngineError without real Caffe, or where there are several processes.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise EngineError("--engine caffe runs in one process", remedy="start it without torchrun")
    engine, job = CaffeEngine(timeout=_TIMEOUT), setup.job
    with writing(setup.folder):
        folder = Path(tempfile.mkdtemp(dir=setup.folder))
    nets = _nets(stage, job)
    train = caffe_data(job.data, folder / "train", setup.seed, job.shuffle, ways_of(nets[:1], job.wishes))
    test = None
    if job.test_data:
        test = caffe_data(job.test_data, folder / "test", setup.seed, False, ways_of(nets[1:], job.wishes))
    files = CaffeStage(stage.solver, nets, train, test, job.wishes, setup.seed, job.shuffle)
    begin, notes = write_start(nets, starts, setup.seed, folder)
    if job.shuffle and job.data.startswith(("lmdb:", "hdf5:")):
        notes.append(f"Caffe reads {job.data} in its order, unshuffled")
    write_solver(files, folder)
    try:
        with engine.start(job.threads or cores()) as worker:
            yield CaffeLearner(worker, files, folder, begin, notes)
    finally:  # the next stage writes images of its own; the trained weights are still to be read
        for name in ("train", "test"):
            shutil.rmtree(folder / name, ignore_errors=True)


def _nets(stage: Stage, job: Job) -> list[TrainingNet]:
    """Return the TRAIN network, then one for each test."""
    shape = stage.image_shape(stage.pair.read())
    nets = [read_training(stage.solver.train, "TRAIN", shape, job.batch_size)]
    if job.test_data:
        nets += [read_training(source, "TEST", shape, job.batch_size) for source, _ in solver_tests(stage.solver)]
    return nets


class CaffeLearner(Learner):
    """A solver in a worker process. folder: its files. begin: caffemodels of the weights to start from.

    A run that continues from a checkpoint reads the images from the beginning: Caffe's state has no position.
    """

    def __init__(
        self, worker: CaffeWorker, files: CaffeStage, folder: Path, begin: Sequence[Path], notes: Sequence[str] = ()
    ):
        self.worker, self.files, self.folder, self.begin, self.notes = worker, files, folder, begin, list(notes)
        self.net, *self.test_nets = files.nets
        self.batch_size, self.tests = self.net.batch_size, len(self.test_nets)
        self.count, self.skipped = files.train.count + len(files.train.skipped), files.train.skipped
        self.test_count, self.test_skipped = (files.test.count, files.test.skipped) if files.test else (0, [])
        self.opened: CaffeSolver | None = None
        self._steps, self._tests = Pieces(), [Pieces() for _ in self.test_nets]

    def load(self, arrays: Arrays, iteration: int) -> None:
        """See Learner."""
        with writing(self.folder):
            for name, array in arrays.items():
                (self.folder / name).write_bytes(array.tobytes())
        state = self.folder / f"state_iter_{iteration}.solverstate" if arrays else None
        path = self.folder / "solver.prototxt"
        if self.slowed != 1:
            tree = self.files.solver.tree.copy()
            tree.set("base_lr", Token(f"{self.files.solver.base_lr * self.slowed:.9g}"))
            write_solver(replace(self.files, solver=replace(self.files.solver, tree=tree)), self.folder)
        if self.opened is not None:
            self.opened.close()
        self.opened = self.worker.open_solver(path, self.begin, state, self.folder, self.files.seed)

    def state(self) -> Arrays:
        """Return Caffe's own state, the bytes of its files. See Learner."""
        self.opened.snapshot()
        arrays = {}
        with writing(self.folder):
            for file in self.folder.glob("state_iter_*"):
                arrays[file.name] = np.frombuffer(file.read_bytes(), np.uint8)
                file.unlink()
        return arrays

    def step(self, most: int, position: int) -> list[float]:
        """See Learner."""
        with self._steps.piece(most) as size:
            return self.opened.step(size)

    def test(self, whole: bool, most: int | None = None) -> list[dict[str, float]]:
        """Caffe fills the last batch with the first images. See Learner."""
        batches = [math.ceil(self.files.test.count / net.batch_size) for net in self.test_nets]
        if not whole:
            tests = solver_tests(self.files.solver)
            batches = [min(count or every, every) for (_, count), every in zip(tests, batches, strict=True)]
        batches = [min(count, most or count) for count in batches]
        return [
            {**self._means(number, count), "images": count * net.batch_size}
            for number, (count, net) in enumerate(zip(batches, self.test_nets, strict=True))
        ]

    def _means(self, number: int, batches: int) -> dict[str, float]:
        """Return the means of a test net's outputs, by name: Caffe's order changes from process to process."""
        values: dict[str, list[float]] = {}
        left = batches
        while left:
            with self._tests[number].piece(left) as size:
                outputs = self.opened.test(number, size)
            for name, means in outputs.items():
                values.setdefault(name, []).extend(means)
            left -= size
        return {name: sum(means) / batches for name, means in sorted(values.items())}

    def trained(self) -> Graph:
        """See Learner."""
        path = self.folder / "trained.caffemodel"
        self.opened.save(path)
        load_weights(self.net.graph, path, self.net.shapes)
        return self.net.graph

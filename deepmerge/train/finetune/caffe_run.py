"""The stages of a job in real Caffe: the same solver and networks, run by a worker process."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepmerge.engines.caffe import CaffeEngine, CaffeSolver
from deepmerge.errors import DeepmergeError, EngineError, TrainingError
from deepmerge.formats.read.training import TrainingNet, read_training
from deepmerge.formats.read.weights import load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.machine import cores
from deepmerge.train.finetune.caffe_files import CaffeData, CaffeStage, caffe_data, write_solver
from deepmerge.train.finetune.report import Arrays, TrainingLog, stage_entry
from deepmerge.train.finetune.runner import Runner
from deepmerge.train.finetune.spec import Stage
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.guards import writing

_PIECE = 20  # most iterations between two looks at the clock
_TIMEOUT = 3600.0  # seconds for one piece


class CaffeRunner(Runner):
    """Run the stages in real Caffe.

    A run that continues from a checkpoint reads the images from the beginning: Caffe's state has no position.
    """

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise EngineError("--engine caffe runs in one process", remedy="start it without torchrun")
        self.engine = CaffeEngine(timeout=_TIMEOUT)

    def train(
        self, number: int, starts: list[Path], arrays: Arrays, log: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        """See Runner.train."""
        if log is None:
            self.save(self.place(number, 0), {}, asdict(TrainingLog()))  # makes the checkpoint's folder
        ended = TrainingLog(**(log or {}))
        try:
            run = _StageRun(self, number, ended)
            run.train(starts)
        except DeepmergeError:
            if not self.done and not ended.iteration:
                self.checkpoint.remove()  # nothing is lost, and another command may start
            raise
        net = run.files.nets[0]
        load_weights(net.graph, run.weights, net.shapes)
        entry = stage_entry(self.stages[number], ended, net.batch_size)
        return net.graph, entry | {"images": {"count": run.files.train.count, "skipped": []}}


class _StageRun:
    """One stage in Caffe. folder: its files, in the checkpoint's folder. weights: the result."""

    def __init__(self, runner: CaffeRunner, number: int, log: TrainingLog):
        self.runner, self.number, self.log, self.job = runner, number, log, runner.job
        self.stage: Stage = runner.stages[number]
        self.solver = self.stage.solver
        self.folder = runner.checkpoint.folder / f"caffe-{number + 1:02d}"
        self.snapshots = runner.snapshots(number)
        self.weights = self.folder / "trained.caffemodel"
        nets = self._nets()
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            self.snapshots.mkdir(exist_ok=True)
        train = self._images(self.job.data, "train")
        test = self._images(self.job.test_data, "test") if self.job.test_data else None
        self.files = CaffeStage(self.solver, nets, train, test, self.job.wishes, runner.seed, self.job.shuffle)

    def _nets(self) -> list[TrainingNet]:
        """Return the TRAIN network, then one for each test."""
        shape = self.stage.image_shape(self.stage.pair.read())
        size = self.job.batch_size
        nets = [read_training(self.solver.train, "TRAIN", shape, size)]
        if self.job.test_data:
            nets += [read_training(source, "TEST", shape, size) for source, _ in self.solver.tests]
        return nets

    def _images(self, spec: str, name: str) -> CaffeData:
        shuffle = self.job.shuffle and name == "train"
        if shuffle and spec.startswith(("lmdb:", "hdf5:")):
            self.runner.note([f"Caffe reads {spec} in its order, unshuffled"])
        return caffe_data(spec, self.runner.checkpoint.folder / f"{name}-images", self.runner.seed, shuffle)

    def train(self, starts: list[Path]) -> None:
        """Train from the log's iteration to the end, and write `weights`."""
        begin = _start(self.files.nets[0], starts, self.folder / "start.caffemodel")
        path = write_solver(self.files, self.folder)
        with self.runner.engine.start(self.job.threads or cores()) as worker:
            state = self.folder / f"state_iter_{self.log.iteration}.solverstate"
            resumed = state if self.log.iteration else None
            opened = worker.open_solver(path, begin, resumed, self.folder, self.runner.seed)
            with self._errors_with_place():
                self._iterate(opened)
            opened.save(self.weights)

    @contextmanager
    def _errors_with_place(self) -> Iterator[None]:
        """Turn Caffe's errors into TrainingErrors that say where the run is: images may be gone, for example."""
        try:
            yield
        except TrainingError:
            raise
        except DeepmergeError as error:
            raise TrainingError(f"{self._place()}: {error}") from None

    def _iterate(self, opened: CaffeSolver) -> None:
        solver, log, runner = self.solver, self.log, self.runner
        left, clock = runner.time_left(), runner.clock
        start = saved = clock()
        before = log.seconds
        self._test(opened)
        while log.iteration < solver.max_iter and (left is None or log.seconds < left):
            if runner.pause_at is not None and clock() >= runner.pause_at:
                self._save(opened)
                raise Paused
            for loss in opened.step(self._piece()):
                log.add_iteration(solver, loss, self._place(), runner.say)
            log.seconds = before + clock() - start
            if log.snapshot_is_due(solver):
                self._snapshot(opened)
            if clock() - saved >= self.job.checkpoint_seconds:
                self._save(opened)
                saved = clock()
            if log.iteration < solver.max_iter:
                self._test(opened)
        if log.iteration < solver.max_iter:
            log.stop(solver)
        if solver.snapshot_after_train and not log.snapshot_is_due(solver):
            self._snapshot(opened)
        self._test(opened, last=True)
        log.seconds = before + clock() - start

    def _piece(self) -> int:
        """Return how many iterations to run until something is due."""
        solver, done = self.solver, self.log.iteration
        intervals = [solver.test_interval if self.files.nets[1:] else 0, solver.snapshot]
        due = [interval - done % interval for interval in intervals if interval]
        return min([_PIECE, solver.max_iter - done, *due])

    def _test(self, opened: CaffeSolver, last: bool = False) -> None:
        """Run the tests that are due, as loop.Loop does; Caffe fills the last batch with the first images."""
        solver, log, tests = self.solver, self.log, self.files.nets[1:]
        if not tests or not log.test_is_due(solver, last):
            return
        batches = [math.ceil(self.files.test.count / net.batch_size) for net in tests]
        if not last:
            batches = [min(count, most) for (_, count), most in zip(solver.tests, batches, strict=True)]
        for number, values in enumerate(opened.test(batches)):
            images = batches[number] * tests[number].batch_size
            log.add_test(number, last, {**values, "images": images})
            results = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
            self.runner.say(f"iteration {log.iteration}, test on {images} images: {results}")

    def _snapshot(self, opened: CaffeSolver) -> None:
        opened.save(self.snapshots / self.log.snapshot_name(self.solver))

    def _place(self) -> str:
        return self.runner.place(self.number, self.log.iteration)

    def _save(self, opened: CaffeSolver) -> None:
        """Write a checkpoint, then delete Caffe's earlier states."""
        old = list(self.folder.glob("state_iter_*"))
        opened.snapshot()
        self.runner.save(self._place(), {}, asdict(self.log))
        for file in old:
            if f"_iter_{self.log.iteration}." not in file.name:
                file.unlink(missing_ok=True)


def _start(net: TrainingNet, starts: list[Path], path: Path) -> Path:
    """Write one caffemodel with the stage's first weights; Caffe's own fillers make those that no file has."""
    load_weights(net.graph, starts[0], net.shapes)
    for file in starts[1:]:
        load_weights(net.graph, file, misfits="skip")
    with writing(path):
        write_caffemodel(net.graph, path)
    return path

"""The stages of a job in real Caffe: the very same solver and networks, run by a worker process."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepmerge.engines.caffe import CaffeEngine, CaffeSolver
from deepmerge.errors import DeepmergeError, EngineError, TrainingError
from deepmerge.formats.read.training import TrainingNet, load_weights, read_training
from deepmerge.formats.write import write_caffemodel
from deepmerge.graph.graph import Graph
from deepmerge.train.finetune.caffe_files import CaffeData, caffe_data, write_solver
from deepmerge.train.finetune.policies import learning_rate
from deepmerge.train.finetune.progress import Arrays, Paused, Story, smooth, snapshot_prefix, way_out
from deepmerge.train.finetune.run import image_shape
from deepmerge.train.finetune.runner import Runner
from deepmerge.train.finetune.stages import Stage, override_weights
from deepmerge.train.finetune.story import run_entry
from deepmerge.train.shared.device import cores
from deepmerge.train.shared.guards import require_finite, writing

_PIECE = 20  # iterations between two looks at the clock
_PATIENCE = 3600.0  # seconds that one piece may take


class CaffeRunner(Runner):
    """Caffe reads its images from their beginning again when a run goes on from a checkpoint: its state does not hold the place."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise EngineError("--engine caffe runs in one process; start it without torchrun")
        self.engine = CaffeEngine(timeout=_PATIENCE)

    def train(
        self, number: int, starts: list[Path], arrays: Arrays, story: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        if story is None:
            self.save(self.place(number, 0), {}, asdict(Story()))  # the folder is the checkpoint's
        ended = Story(**(story or {}))
        try:
            run = _CaffeStage(self, number, ended)
            run.train(starts)
        except DeepmergeError:
            if not self.done and not ended.iteration:
                self.checkpoint.remove()  # nothing is lost, and another command may start
            raise
        graph = run.nets[0].graph
        load_weights(run.nets[0], [run.weights])
        return graph, run_entry(self.stages[number], ended, run.nets[0].batch_size) | {
            "images": {"count": run.data.count, "skipped": []}
        }


class _CaffeStage:
    """One stage in Caffe. folder: its files, below the checkpoint's. nets: TRAIN, then one for each test."""

    def __init__(self, runner: CaffeRunner, number: int, story: Story):
        self.runner, self.number, self.story, self.job = runner, number, story, runner.job
        self.stage: Stage = runner.stages[number]
        self.solver = self.stage.solver
        self.folder = runner.checkpoint.folder / f"caffe-{number + 1:02d}"
        self.snapshots = runner.snapshots(number)
        self.weights = self.folder / "trained.caffemodel"
        shape = image_shape(self.stage.pair.read(), self.stage)
        size = self.job.batch_size
        self.nets = [read_training(self.solver.train, "TRAIN", shape, size)]
        if self.job.test_data:
            self.nets += [read_training(source, "TEST", shape, size) for source, _ in self.solver.tests]
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            self.snapshots.mkdir(exist_ok=True)
        self.data = self._data(self.job.data, "train")
        self.test_data = self._data(self.job.test_data, "test") if self.job.test_data else None

    def _data(self, spec: str, name: str) -> CaffeData:
        shuffle = self.job.shuffle and name == "train"
        if shuffle and spec.startswith(("lmdb:", "hdf5:")):
            self.runner.note([f"Caffe reads {spec} in its order, unshuffled"])
        return caffe_data(spec, self.runner.checkpoint.folder / f"{name}-images", self.runner.seed, shuffle)

    def train(self, starts: list[Path]) -> None:
        """From where the story stands to the end; leaves `weights`."""
        job, story = self.job, self.story
        begin = _start(self.nets[0], starts, self.folder / "start.caffemodel")
        path = write_solver(
            self.solver, self.data, self.test_data, self.nets, job.wishes, self.folder, self.runner.seed, job.shuffle
        )
        with self.runner.engine.start(job.threads or cores()) as worker:
            state = self.folder / f"state_iter_{story.iteration}.solverstate"
            opened = worker.open_solver(path, begin, state if story.iteration else None, self.folder, self.runner.seed)
            with self._explained():
                self._iterate(opened)
            opened.save(self.weights)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What Caffe dies of may be images that have gone."""
        try:
            yield
        except TrainingError:
            raise
        except DeepmergeError as error:
            raise TrainingError(f"{self.runner.place(self.number, self.story.iteration)}: {error}") from None

    def _iterate(self, opened: CaffeSolver) -> None:
        solver, story, left = self.solver, self.story, self.runner.time_left()
        start = saved = time.monotonic()
        before = story.seconds
        self._test(opened)
        while story.iteration < solver.max_iter and (left is None or story.seconds < left):
            if self.runner.pause is not None and time.monotonic() >= self.runner.pause:
                self._keep(opened)
                raise Paused
            for loss in opened.step(self._piece()):
                self._one(loss)
            story.seconds = before + time.monotonic() - start
            if solver.snapshot and story.iteration % solver.snapshot == 0:
                opened.save(self._snapshot())
            if time.monotonic() - saved >= self.job.checkpoint_seconds:
                self._keep(opened)
                saved = time.monotonic()
            if story.iteration < solver.max_iter:
                self._test(opened)
        if story.iteration < solver.max_iter:
            story.stopped = f"the time was up at iteration {story.iteration} of {solver.max_iter}"
        if solver.snapshot_after_train and not (solver.snapshot and story.iteration % solver.snapshot == 0):
            opened.save(self._snapshot())
        self._test(opened, last=True)
        story.seconds = before + time.monotonic() - start

    def _piece(self) -> int:
        """How many iterations until something is due."""
        solver, at = self.solver, self.story.iteration
        due = [_PIECE, solver.max_iter - at]
        due += [
            every - at % every for every in (solver.test_interval if self.nets[1:] else 0, solver.snapshot) if every
        ]
        return min(due)

    def _one(self, loss: float) -> None:
        solver, story = self.solver, self.story
        rate = learning_rate(solver, story.iteration)
        require_finite(loss, self.runner.place(self.number, story.iteration), way_out(rate))
        smooth(story, loss, solver.average_loss)
        if solver.display and story.iteration % solver.display == 0:
            self.runner.tell(
                f"iteration {story.iteration} of {solver.max_iter}: loss {story.smoothed:.5g}, learning rate {rate:.3g}"
            )
            story.losses.append([story.iteration, story.smoothed])
        story.iteration += 1

    def _test(self, opened: CaffeSolver, last: bool = False) -> None:
        """As loop.Loop tests; a batch that the images do not fill begins with the first of them again."""
        solver, story = self.solver, self.story
        due = last or (solver.test_interval and story.iteration % solver.test_interval == 0)
        due = due and (last or story.iteration or solver.test_initialization)
        if (
            not self.nets[1:]
            or not due
            or any(t["iteration"] == story.iteration and t["all"] >= last for t in story.tests)
        ):
            return
        whole = [math.ceil(self.test_data.count / net.batch_size) for net in self.nets[1:]]
        batches = whole if last else [min(count, most) for (_, count), most in zip(solver.tests, whole, strict=True)]
        for number, values in enumerate(opened.test(batches)):
            images = batches[number] * self.nets[1 + number].batch_size
            story.tests.append({"iteration": story.iteration, "test": number, "all": last, **values, "images": images})
            told = ", ".join(f"{key} {value:.4g}" for key, value in values.items())
            self.runner.tell(f"iteration {story.iteration}, test on {images} images: {told}")

    def _snapshot(self) -> Path:
        return self.snapshots / f"{snapshot_prefix(self.solver)}_iter_{self.story.iteration}.caffemodel"

    def _keep(self, opened: CaffeSolver) -> None:
        old = list(self.folder.glob("state_iter_*"))
        opened.snapshot()
        self.runner.save(self.runner.place(self.number, self.story.iteration), {}, asdict(self.story))
        for file in old:
            if f"_iter_{self.story.iteration}." not in file.name:
                file.unlink(missing_ok=True)


def _start(net: TrainingNet, starts: list[Path], path: Path) -> Path:
    """One caffemodel of what the stage starts from. Layers that no file has weights for start from Caffe's own fillers."""
    load_weights(net, starts[:1])
    for file in starts[1:]:
        override_weights(net.graph, file)
    with writing(path):
        write_caffemodel(net.graph, path)
    return path

"""The stages of a job in real Caffe: copies of its solver and networks that read the given images.

A worker process runs them. Caffe's own data layers read `lmdb:`, `list:` and `hdf5:`; other images are written as files
with a list.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepmerge.data import (
    Images,
    ImageWishes,
    Preprocessing,
    choose_preprocessing,
    network_transform,
    open_images,
    pictures,
)
from deepmerge.engines.caffe import CaffeEngine, CaffeSolver
from deepmerge.errors import DeepmergeError, EngineError, ReadError, TrainingError
from deepmerge.formats.read.heads import is_data
from deepmerge.formats.read.solver import NetSource, Solver
from deepmerge.formats.read.training import TrainingNet, phase_layers, read_training
from deepmerge.formats.read.weights import load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.formats.write.data_layers import Source, data_layer, from_anywhere, hdf5_list
from deepmerge.formats.write.prototxt import format_tree, message
from deepmerge.graph.graph import Graph
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.machine import cores
from deepmerge.out.staging import encoded
from deepmerge.train.finetune.report import Arrays, TrainingLog, stage_entry
from deepmerge.train.finetune.runner import Runner
from deepmerge.train.finetune.spec import Stage
from deepmerge.train.shared.checkpoint import Paused
from deepmerge.train.shared.guards import writing

NEVER = 2**31 - 1
_OWN = ("lmdb", "list", "hdf5")  # Caffe reads these itself
_NOT_COPIED = (
    *("train_state", "test_state", "test_iter", "test_interval", "test_initialization"),
    *("weights", "snapshot_after_train"),
)
_NETS = ("net", "net_param", "train_net", "train_net_param", "test_net", "test_net_param")


@dataclass(frozen=True)
class CaffeData:
    """Images for one phase, and how many there are."""

    source: Source
    count: int


def caffe_data(spec: str, folder: Path, seed: int, shuffle: bool) -> CaffeData:
    """Return images that Caffe can read. Those of npz: and folder: are written into `folder`, shuffled if asked for.

    ReadError where there are none, or one has no label; TrainingError where they cannot be written.
    """
    kind = spec.partition(":")[0]
    images = open_images(spec)
    if kind in _OWN:
        return CaffeData(Source.parse(spec), images.count)
    order = np.random.default_rng(seed).permutation(images.count) if shuffle else np.arange(images.count)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lines = _written(images, folder)
    if not lines:
        raise ReadError("none of the images could be read", spec)
    chosen = [lines[place] for place in order if place < len(lines)]
    with writing(folder):
        (folder / "list.txt").write_bytes(encoded("".join(chosen)))
    return CaffeData(Source("list", str((folder / "list.txt").absolute())), len(chosen))


def _written(images: Images, folder: Path) -> list[str]:
    """Write every readable image as a PNG, and return the lines of the list."""
    from PIL import Image

    lines = []
    for number, picture in enumerate(pictures(images)):
        if picture.label is None:
            raise ReadError("has no label, and labels are needed", picture.name)
        name = f"{number:07d}.png"
        Image.fromarray(picture.pixels[..., 0] if picture.pixels.shape[2] == 1 else picture.pixels).save(folder / name)
        lines.append(f"{name} {picture.label}\n")
    return lines


@dataclass(frozen=True)
class CaffeStage:
    """What real Caffe runs in one stage.

    nets: the networks that read_training made of the solver's, the TRAIN one first. test: None without test images.
    """

    solver: Solver
    nets: Sequence[TrainingNet]
    train: CaffeData
    test: CaffeData | None
    wishes: ImageWishes
    seed: int
    shuffle: bool


def write_solver(stage: CaffeStage, folder: Path) -> Path:
    """Write solver.prototxt and its networks into `folder`, and return its path.

    By itself the solver tests, displays and saves nothing.
    """
    solver = stage.solver
    tree = solver.tree.copy()
    tree.remove(*_NETS, *_NOT_COPIED)
    phases = [(solver.train, "TRAIN", stage.train)]
    if stage.test is not None:
        phases += [(source, "TEST", stage.test) for source, _ in solver.tests]
    for number, ((source, phase, data), net) in enumerate(zip(phases, stage.nets, strict=False)):
        name = f"net_{number}.prototxt"
        _write(folder / name, format_tree(_net_tree(stage, source, phase, data.source, net, folder)))
        tree.add("train_net" if number == 0 else "test_net", Quoted(name))
        if number:
            tree.add("test_iter", Token("1"))
    if len(phases) > 1:
        tree.set("test_interval", Token(str(NEVER)))
        tree.set("test_initialization", Token("false"))
    for key, value in (("display", 0), ("snapshot", 0), ("random_seed", stage.seed), ("solver_mode", "CPU")):
        tree.set(key, Token(str(value)))
    tree.set("snapshot_prefix", Quoted("state"))
    tree.set("snapshot_format", Token("BINARYPROTO"))
    with writing(folder):
        (folder / "solver.prototxt").write_bytes(encoded(format_tree(tree)))
    return folder / "solver.prototxt"


def _net_tree(
    stage: CaffeStage, source: NetSource, phase: str, images: Source, net: TrainingNet, folder: Path
) -> Message:
    """Return the network of one phase, with a data layer for `images` in place of its own and the phase resolved."""
    tree, layers, _ = phase_layers(source, phase)
    others = from_anywhere((layer for layer in layers if not is_data(layer)), (source.path.parent,))
    net_tree = Message([field for field in tree if field.name not in ("layer", "state")])
    net_tree.add("layer", _data_layer(phase, images, net, stage))
    net_tree.fields += [Field("layer", _always(layer)) for layer in others]
    listed = hdf5_list(phase, images)
    if listed:
        _write(folder / listed[0], listed[1])
    return net_tree


def _write(file: Path, text: str) -> None:
    with writing(file):
        file.write_bytes(encoded(text))


def _always(layer: Message) -> Message:
    copy = layer.copy()
    copy.remove("include", "exclude")
    return copy


def _data_layer(phase: str, source: Source, net: TrainingNet, stage: CaffeStage) -> Message:
    """Return the layer that reads `source`, transforming as the network's own data layer or the user says."""
    shape = next(shape for blob, shape in net.shapes.items() if blob.name == net.images)
    tops = (net.images, net.labels or "label")
    layer = data_layer(phase, tops, shape, source, net.batch_size)
    layer.remove("transform_param", "include")
    if source.kind == "hdf5":
        return layer
    how, _ = choose_preprocessing(network_transform(net.graph, net.file, net.phase), shape, stage.wishes)
    if source.kind == "list":
        param = layer.message("image_data_param")
        param.remove("new_height", "new_width", "shuffle")
        width, height = how.resize or (shape[3], shape[2])
        shuffle = True if stage.shuffle and phase == "TRAIN" else None
        param.fields += message(new_height=height, new_width=width, shuffle=shuffle).fields
    layer.add("transform_param", _transform(how, net, phase))
    return layer


def _transform(how: Preprocessing, net: TrainingNet, phase: str) -> Message:
    file = None
    if how.mean_file is not None:
        own = next(m.message("transform_param") for m in net.graph.train_layers if m.message("transform_param"))
        absolute = from_anywhere([message(transform_param=own)], (net.file.parent,))[0].message("transform_param")
        file = absolute.value("mean_file")
    return message(
        mean_file=file,
        mean_value=[] if file else [float(mean) for mean in how.mean],
        scale=how.scale,
        crop_size=how.crop,
        mirror=True if how.mirror and phase == "TRAIN" else None,
    )


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

"""The stages of a job in real Caffe: copies of its solver and networks that read the given images.

A worker process runs them. Caffe's own data layers read `lmdb:`, `list:` and `hdf5:`; other images, and those of
`list:` that are to be cropped, are written as files with a list.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

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
from deepmerge.data.resize import resize
from deepmerge.engines.caffe import CaffeEngine, CaffeSolver, CaffeWorker
from deepmerge.errors import EngineError, ReadError
from deepmerge.formats.messages import kind_of
from deepmerge.formats.read.heads import blobs, is_data
from deepmerge.formats.read.solver import NetSource, Solver
from deepmerge.formats.read.training import TrainingNet, phase_layers, read_training
from deepmerge.formats.read.weights import Weights, load_weights
from deepmerge.formats.write import write_caffemodel
from deepmerge.formats.write.data_layers import Source, data_layer, from_anywhere, hdf5_list
from deepmerge.formats.write.prototxt import format_tree, message
from deepmerge.graph.graph import Graph
from deepmerge.graph.tree import Field, Message, Quoted, Token
from deepmerge.machine import cores
from deepmerge.names import encoded
from deepmerge.train.finetune.learner import Arrays, Learner
from deepmerge.train.finetune.spec import Job, Stage, solver_tests
from deepmerge.train.finetune.start import load_start
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
    """Images for one phase. count: of those that Caffe reads. skipped: why others could not be read, a line each."""

    source: Source
    count: int
    skipped: list[str] = field(default_factory=list)


def caffe_data(spec: str, folder: Path, seed: int, shuffle: bool, ways: Iterable[Preprocessing] = ()) -> CaffeData:
    """Return images that Caffe can read. Those of npz: and folder: are written into `folder`, shuffled if asked for.

    ways: how the networks prepare them. Caffe does so, except that it refuses images smaller than the crop: they are
    written enlarged, those of list: too.
    ReadError where there are none, or one has no label; TrainingError where they cannot be written.
    """
    kind = spec.partition(":")[0]
    images = open_images(spec)
    ways = () if images.ready else ways  # what the network is fed need not be a picture
    crop = max((how.crop for how in ways if how.enlarge and how.resize is None), default=0)
    if kind in _OWN and not (kind == "list" and crop):
        return CaffeData(Source.parse(spec), images.count)
    order = np.random.default_rng(seed).permutation(images.count) if shuffle else np.arange(images.count)
    skipped: list[str] = []
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lines = _written(images, folder, crop, skipped)
    if not lines:
        raise ReadError(f"none of the {images.count} images could be read; the first: {skipped[0]}", spec)
    chosen = [lines[place] for place in order if place < len(lines)]
    with writing(folder):
        (folder / "list.txt").write_bytes(encoded("".join(chosen)))
    return CaffeData(Source("list", str((folder / "list.txt").absolute())), len(chosen), skipped)


def _written(images: Images, folder: Path, crop: int, skipped: list[str]) -> list[str]:
    """Write every readable image as a PNG, smaller ones enlarged to the crop, and return the lines of the list.

    skipped: gets a line for each of the others.
    """
    from PIL import Image

    lines = []
    for number, picture in enumerate(pictures(images, skipped=skipped)):
        if picture.label is None:
            raise ReadError("has no label, and labels are needed", picture.name)
        name, pixels = f"{number:07d}.png", picture.pixels
        if min(pixels.shape[:2]) < crop:
            pixels = resize(pixels, crop, crop).round().astype(np.uint8)
        Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(folder / name)
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
        phases += [(source, "TEST", stage.test) for source, _ in solver_tests(solver)]
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
    others = from_anywhere((layer for layer in layers if not _feeds(layer, net)), (source.path.parent,))
    net_tree = Message([field for field in tree if field.name not in ("layer", "state")])
    net_tree.add("layer", _data_layer(phase, images, net, stage))
    net_tree.fields += [Field("layer", _always(layer)) for layer in others]
    listed = hdf5_list(phase, images)
    if listed:
        _write(folder / listed[0], listed[1])
    return net_tree


def _feeds(layer: Message, net: TrainingNet) -> bool:
    """Return whether the new data layer replaces a layer: one that reads data, or an Input of images or labels."""
    fed = {net.images, net.labels}
    return is_data(layer) or (kind_of(layer) == "Input" and not fed.isdisjoint(blobs(layer, "top")))


def _write(file: Path, text: str) -> None:
    with writing(file):
        file.write_bytes(encoded(text))


def _always(layer: Message) -> Message:
    copy = layer.copy()
    copy.remove("include", "exclude")
    return copy


def _data_layer(phase: str, source: Source, net: TrainingNet, stage: CaffeStage) -> Message:
    """Return the layer that reads `source`, transforming as the network's own data layer or the user says."""
    tops = (net.images, net.labels or "label")
    layer = data_layer(phase, tops, _shape(net), source, net.batch_size)
    layer.remove("transform_param", "include")
    if source.kind == "hdf5":
        return layer
    (how,) = _ways([net], stage.wishes)
    if source.kind == "list":
        param = layer.message("image_data_param")
        param.remove("new_height", "new_width", "shuffle")
        width, height = how.resize or (None, None)  # a crop takes images of any size
        shuffle = True if stage.shuffle and phase == "TRAIN" else None
        param.fields += message(new_height=height, new_width=width, shuffle=shuffle).fields
    layer.add("transform_param", _transform(how, net, phase))
    return layer


def _shape(net: TrainingNet) -> tuple[int, ...]:
    return next(shape for blob, shape in net.shapes.items() if blob.name == net.images)


def _ways(nets: Sequence[TrainingNet], wishes: ImageWishes) -> Iterator[Preprocessing]:
    """Yield how each network's images are prepared, as its own data layer or the user says.

    ReadError where a network takes no images.
    """
    for net in nets:
        if len(shape := _shape(net)) != 4:
            text = f"images need an input of channels, height and width; {net.images!r} is {shape}"
            raise ReadError(text, net.file, remedy="give its values in hdf5:FILE")
        yield choose_preprocessing(network_transform(net.graph, net.file, net.phase), shape, wishes)[0]


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
    train = caffe_data(job.data, folder / "train", setup.seed, job.shuffle, _ways(nets[:1], job.wishes))
    test = None
    if job.test_data:
        test = caffe_data(job.test_data, folder / "test", setup.seed, False, _ways(nets[1:], job.wishes))
    files = CaffeStage(stage.solver, nets, train, test, job.wishes, setup.seed, job.shuffle)
    begin, notes = _start(nets, starts, setup.seed, folder)
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


def _start(
    nets: Sequence[TrainingNet], starts: Sequence[Path | Weights], seed: int, folder: Path
) -> tuple[list[Path], list[str]]:
    """Write the networks' first weights as caffemodels, each layer's once; return them, and notes for the user.

    Layers that still have none, of unknown types, are left to Caffe's own fillers: it refuses them without their blobs.
    """
    notes = [load_start(net, starts, seed) for net in nets][0]  # the TRAIN network's
    files, stored = [], set()
    for number, net in enumerate(nets):
        layers = [layer for layer in net.graph.layers if layer.weights and layer.name not in stored]
        if layers:
            files.append(folder / f"start_{number}.caffemodel")
            with writing(files[-1]):
                write_caffemodel(net.graph, files[-1], layers)
        stored.update(layer.name for layer in layers)
    return files, notes

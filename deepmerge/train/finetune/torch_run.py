"""The stages of a job on PyTorch: networks, images and start weights.

Layers that no caffemodel has weights for start as Caffe's fillers (filler.hpp) draw them, seeded. Usually these layers
are an auxiliary head of a train_val network. The distributions are Caffe's, the numbers are not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepmerge.data import Loader, Loading, network_transform, open_network_images
from deepmerge.errors import ReadError
from deepmerge.formats.read.caffemodel import read_caffemodel
from deepmerge.formats.read.scalars import Reader
from deepmerge.formats.read.solver import NetSource
from deepmerge.formats.read.training import TrainingNet, losses, read_training
from deepmerge.formats.read.weights import load_weights
from deepmerge.graph.graph import Blob, Graph, Layer
from deepmerge.graph.shapes import Shape, expected_weights
from deepmerge.text import listed
from deepmerge.train.finetune.loop import Control, Loop
from deepmerge.train.finetune.processes import Processes
from deepmerge.train.finetune.report import Arrays, stage_entry
from deepmerge.train.finetune.runner import Runner
from deepmerge.train.finetune.spec import Job, Stage
from deepmerge.train.finetune.student import Student, Teacher, Tester
from deepmerge.train.shared.device import prepare


def fill(graph: Graph, shapes: dict[Blob, Shape | None], seed: int, known: Collection[str] = ()) -> list[str]:
    """Give each layer without weights those of its fillers, and return notes for the user.

    The weights depend only on the seed and the layer's name. known: layers that get other weights later, and need no
    note. ReadError for a filler that Caffe does not have.
    """
    filled, zeros = [], []
    for layer in graph.layers:
        wanted = expected_weights(layer, [shapes.get(bottom) for bottom in layer.bottoms])
        if not wanted or layer.weights:
            continue
        random = np.random.default_rng([seed, zlib.crc32(layer.name.encode("utf-8", "surrogateescape"))])
        layer.weights = [_filled(layer, index, shape, random) for index, shape in enumerate(wanted)]
        if layer.type != "BatchNorm" and layer.name not in known:
            (filled if layer.weights[0].any() else zeros).append(layer.name)
    notes = [f"no caffemodel has weights for {listed(filled)}; fillers make them"] if filled else []
    if zeros:
        notes.append(
            f"no caffemodel has weights for {listed(zeros)}, and there is no weight_filler: all 0, as in Caffe"
        )
    return notes


def _filled(layer: Layer, index: int, shape: Shape, random: np.random.Generator) -> np.ndarray:
    fields = layer.kind.fillers
    matrix = layer.kind.tensor and len(shape) > 1  # a recurrent layer has several
    name, usual = fields[0 if matrix else min(index, len(fields) - 1)]
    params = layer.tree.message(layer.params.FIELD) if layer.params is not None and layer.params.FIELD else None
    message = params.message(name) if params is not None and name else None
    if message is None:
        return np.full(shape, usual, np.float32)
    reader = Reader(message, "FillerParameter", None, f"layer {layer.name!r} ({layer.type}), {name}")
    kind = reader.one("type")
    if kind not in _FILLERS:
        raise reader.error(f"{kind!r} is not a filler of Caffe's; give one of {', '.join(_FILLERS)}")
    return np.ascontiguousarray(_FILLERS[kind](reader, shape, random), dtype=np.float32).reshape(shape)


def _fan(reader: Reader, shape: Shape) -> float:
    """Return the number of values that an element of the blob is connected to, as variance_norm says."""
    count = int(np.prod(shape))
    fan_in, fan_out = count / shape[0], count / shape[1] if len(shape) > 1 else count
    fans = {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}
    norm = reader.one("variance_norm")
    if norm not in fans:
        raise reader.error(f"variance_norm {norm} is not one of {', '.join(fans)}")
    return fans[norm]


def _gaussian(reader: Reader, shape: Shape, random: np.random.Generator) -> np.ndarray:
    values = random.normal(reader.one("mean"), reader.one("std"), shape)
    sparse = reader.one("sparse")
    return values if sparse < 0 else values * (random.random(shape) < sparse / shape[0])


def _xavier(reader: Reader, shape: Shape, random: np.random.Generator) -> np.ndarray:
    limit = sqrt(3 / _fan(reader, shape))
    return random.uniform(-limit, limit, shape)


def _unitball(_reader: Reader, shape: Shape, random: np.random.Generator) -> np.ndarray:
    rows = random.random((shape[0], -(-int(np.prod(shape)) // shape[0])))
    return rows / rows.sum(axis=1, keepdims=True)


def _bilinear(reader: Reader, shape: Shape, _random: np.random.Generator) -> np.ndarray:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ReadError(f"{reader.where}: bilinear is for square kernels, and this blob is {shape}")
    half = ceil(shape[3] / 2)
    line = 1 - np.abs(np.arange(shape[3]) / half - (shape[3] - 1) / (2 * half))
    return np.broadcast_to(np.outer(line, line), shape)


_FILLERS: dict[str, Callable[[Reader, Shape, np.random.Generator], np.ndarray]] = {
    "constant": lambda reader, shape, _random: np.full(shape, reader.one("value")),
    "uniform": lambda reader, shape, random: random.uniform(reader.one("min"), reader.one("max"), shape),
    "gaussian": _gaussian,
    "positive_unitball": _unitball,
    "xavier": _xavier,
    "msra": lambda reader, shape, random: random.normal(0, sqrt(2 / _fan(reader, shape)), shape),
    "bilinear": _bilinear,
}


_SCORED = ("HingeLoss", "InfogainLoss", "MultinomialLogisticLoss", "SoftmaxWithLoss")  # labels are class indices


class TorchRunner(Runner):
    """Run the stages on --device; of several processes each has a GPU of its own."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        job, device = self.job, self.job.device
        if device == "cuda" and self.processes.size > 1:
            device = f"cuda:{self.processes.local_rank}"
        teacher = self.converted.original.read() if job.distill else None
        self.setup = Setup(job, self.seed, prepare(device, job.threads, self.seed), self.processes, teacher)

    def run(self):
        """See Runner.run."""
        trained, entry = super().run()
        return trained, entry | {"device": str(self.setup.device), "processes": self.processes.size}

    def train(
        self, number: int, starts: list[Path], arrays: Arrays, log: dict[str, Any] | None
    ) -> tuple[Graph, dict[str, Any]]:
        """See Runner.train."""
        loop, notes = make_loop(self.stages[number], starts, self.setup, self._control(number))
        self.note(notes)
        if log is not None:
            loop.load(arrays, log)
        ended, student = loop.run(), loop.student
        student.store()
        if skipped := loop.loader.skipped:
            self.note([f"{len(skipped)} of {loop.loader.count} images could not be read; the first: {skipped[0]}"])
        entry = stage_entry(self.stages[number], ended, student.net.batch_size)
        return student.net.graph, entry | {"images": {"count": loop.loader.count, "skipped": skipped}}

    def _control(self, number: int) -> Control:
        def save(arrays: Arrays, log: dict[str, Any]) -> None:
            self.save(self.place(number, log["iteration"]), arrays, log)
            self.snapshots(number).mkdir(exist_ok=True)

        return Control(
            save=save,
            snapshots=self.snapshots(number),
            checkpoint_seconds=self.job.checkpoint_seconds,
            say=self.say,
            seconds=self.time_left(),
            pause_at=self.pause_at,
            clock=self.clock,
        )


@dataclass(frozen=True)
class Setup:
    """What all stages of a job share. teacher: the original, None without --distill."""

    job: Job
    seed: int
    device: torch.device
    processes: Processes = Processes()
    teacher: Graph | None = None


def make_loop(stage: Stage, starts: Sequence[Path], setup: Setup, control: Control) -> tuple[Loop, list[str]]:
    """Return a stage that is ready to run, and notes for the user. starts: its caffemodels, later ones overriding.

    ReadError, GraphError or ShapeError where networks, weights or images do not fit together.
    """
    job, processes = setup.job, setup.processes
    deploy = stage.pair.read()
    shape = stage.image_shape(deploy)
    if job.vary and len(shape) != 3:
        size = " x ".join(map(str, shape))
        raise ReadError(f"the input is {size}, and --vary shifts images, which are channels x height x width")
    net = read_training(stage.solver.train, "TRAIN", shape, job.batch_size)
    notes = net.graph.warnings + _start(net, starts, setup.seed)
    loss = main_loss(net.graph)
    teacher = None
    if setup.teacher is not None:
        teacher = Teacher(setup.teacher, loss.bottoms[0].name, job, setup.device)
    student = Student(net, setup.device, processes, setup.seed, teacher, job.vary)
    if not student.blobs:
        raise ReadError(
            "every layer's lr_mult is 0, so nothing can learn",
            stage.solver.train.path,
            remedy="check its `param` messages",
        )
    options = {"seed": setup.seed, "shuffle": job.shuffle, "limit": job.limit, "classes": _classes(net, loss)}
    loader, image_notes = _loader(job.data, job, deploy, net, processes.share(net.batch_size), **options)
    testers = []
    if job.test_data and processes.first:
        testers = _testers(stage, net, deploy, starts, setup)
    return Loop(stage.solver, student, loader, testers, control), notes + image_notes


def _loader(
    spec: str, job: Job, deploy: Graph, net: TrainingNet, batch_size: int, **options: Any
) -> tuple[Loader, list[str]]:
    """Return the images for a network of either phase, preprocessed as its data layers or the user say, and notes."""
    images = open_network_images(spec, deploy)
    train, labelled = net.phase == "TRAIN", net.labels is not None
    how, notes = images.preprocessing(network_transform(net.graph, net.file, net.phase), job.wishes, train)
    loading = Loading(train=train, labelled=labelled, strict=job.strict, cache_bytes=job.cache_bytes, **options)
    return Loader(images.source, how, images.shape, batch_size, loading), notes


def _start(net: TrainingNet, starts: Sequence[Path], seed: int) -> list[str]:
    """Load the first file's weights, then the others' where they fit; fill the rest. Returns notes for the user."""
    load_weights(net.graph, starts[0], net.shapes)
    later = {layer.name for file in starts[1:] for layer in read_caffemodel(file) if layer.blobs}
    notes = fill(net.graph, net.shapes, seed, later)
    for file in starts[1:]:
        load_weights(net.graph, file, misfits="skip")
    return notes


def main_loss(graph: Graph) -> Layer:
    """Return the loss layer of the largest weight, the last one if there are several."""
    weighted = losses(graph)
    largest = max(weight for _, weight in weighted)
    return [blob.producer for blob, weight in weighted if weight == largest][-1]


def _classes(net: TrainingNet, loss: Layer) -> int | None:
    """Return the number of classes; None where labels are not classes."""
    shape = net.shapes.get(loss.bottoms[0])
    if loss.type not in _SCORED or shape is None or len(shape) < 2:
        return None
    return shape[getattr(loss.params, "axis", 1)]


def _testers(stage: Stage, train: TrainingNet, deploy: Graph, starts: Sequence[Path], setup: Setup) -> list[Tester]:
    """Return the solver's tests, all on the same images; without any, its training network in the TEST phase."""
    job, loss = setup.job, main_loss(train.graph)
    scores = loss.bottoms[0].name
    sources: Sequence[tuple[NetSource, int]] = stage.solver.tests or ((stage.solver.train, 0),)
    testers = []
    for source, batches in sources:
        net = read_training(source, "TEST", stage.image_shape(deploy), job.batch_size)
        _start(net, starts, setup.seed)
        classes = _classes(train, loss)
        loader, _ = _loader(job.test_data, job, deploy, net, net.batch_size, shuffle=False, classes=classes)
        known = loss.type in _SCORED and any(blob.name == scores for blob in net.graph.blobs)
        testers.append(Tester(net, loader, batches or loader.count, scores if known else None))
    return testers
